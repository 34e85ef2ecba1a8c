/** Small baseline JPEGs are decoded without libvips: to its pixels, bit for bit, or not at all. */
import { readFileSync } from 'node:fs'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { decodeImage } from '../src/image.js'
import type { InputSpec } from '../src/manifest/manifest.js'
import { smallImage } from '../src/pixels/small.js'
import { Random } from './random.js'

const input: InputSpec = {
  height: 64,
  width: 64,
  resize: 72,
  kernel: 'linear',
  mean: [0, 0, 0],
  std: [1, 1, 1],
}
const maxPixels = 1_000_000
const draw = new Random(11)
const fixture = (name: string): Buffer => readFileSync(new URL(`./fixtures/images/${name}`, import.meta.url))

/** Undefined where the image is left to libvips by its header, null where only by what stands behind it. */
function small(bytes: Uint8Array, spec = input): Uint8Array | null | undefined {
  return smallImage(bytes, 'jpeg', spec, maxPixels)?.()
}

async function equal(bytes: Uint8Array, spec = input): Promise<boolean> {
  const mine = small(bytes, spec)
  return mine != null && Buffer.from(mine).equals(await decodeImage(bytes, spec, { maxPixels }))
}

/** Smooth shapes under `noise`: what a photograph is to a codec. */
async function picture(width: number, height: number, noise: number): Promise<Sharp> {
  const shapes = { raw: { width: 9, height: 9, channels: 3 } } as const
  const pixels = await sharp(draw.bytes(9 * 9 * 3), shapes)
    .resize(width, height, { fit: 'fill', kernel: 'cubic' })
    .raw()
    .toBuffer()
  for (let i = 0; i < pixels.length; i++)
    pixels[i] = Math.max(0, Math.min(255, pixels[i]! + noise * (draw.next() - 0.5)))
  return sharp(pixels, { raw: { width, height, channels: 3 } })
}

t.test('JPEGs of any size, sampling, quality and depth of colour', async (t) => {
  const kinds = new Set<string>()
  for (let i = 0; i < 150; i++) {
    const [width, height] = [17 + draw.below(360), 17 + draw.below(360)]
    const noise = draw.pick([0, 24, 90])
    const chromaSubsampling = draw.pick(['4:2:0', '4:4:4'])
    const quality = draw.pick([30, 75, 85, 95])
    const optimiseCoding = draw.pick([true, false])
    let image = await picture(width, height, noise)
    if (draw.below(5) === 0) image = image.toColourspace('b-w')
    const jpeg = await image.jpeg({ quality, chromaSubsampling, optimiseCoding }).toBuffer()
    if (smallImage(jpeg, 'jpeg', input, maxPixels) === null) continue
    t.ok(await equal(jpeg), `${width}x${height} ${chromaSubsampling} ${quality} noise ${noise}`)
    const side = Math.min(width, height)
    kinds.add(`${side <= 72 ? 'larger' : `by ${Math.floor(side / 72)}`} ${chromaSubsampling}`)
  }
  t.ok(kinds.size >= 8, [...kinds].join(', '))
})

t.test('JPEGs at the sizes where libvips begins to shrink them otherwise', async (t) => {
  for (const side of [
    71, 72, 73, 143, 144, 145, 180, 215, 216, 217, 287, 288, 289, 359, 360, 361, 577, 648,
  ]) {
    const jpeg = await (await picture(side, side + 3, 0)).jpeg({ quality: 40 }).toBuffer()
    if (smallImage(jpeg, 'jpeg', input, maxPixels) !== null) t.ok(await equal(jpeg), `${side}`)
  }
})

t.test('JPEGs by other encoders: 4:2:2, restart markers, both', async (t) => {
  for (const name of ['sampled-422.jpg', 'restart.jpg', 'restart-422.jpg'])
    t.ok(await equal(fixture(name)), name)
})

t.test('other inputs: not square, larger than the image, as large', async (t) => {
  const specs = [
    { ...input, height: 20, width: 48, resize: 50 },
    { ...input, height: 112, width: 112, resize: 128 },
    { ...input, height: 60, width: 60, resize: 60 },
  ]
  for (const spec of specs) {
    for (const [width, height] of [
      [60, 90],
      [101, 87],
      [128, 60],
    ] as const) {
      const jpeg = await (await picture(width, height, 20)).jpeg().toBuffer()
      t.ok(await equal(jpeg, spec), `${width} to ${spec.resize}`)
    }
  }
})

t.test('answers do not share memory with the next image', async (t) => {
  for (const resize of [64, 72, 100]) {
    const spec = { ...input, resize }
    const [one, other] = await Promise.all(
      [10, 200].map(async (grey) =>
        sharp({ create: { width: 64, height: 64, channels: 3, background: { r: grey, g: grey, b: grey } } })
          .jpeg()
          .toBuffer(),
      ),
    )
    const first = small(one!, spec)!
    const before = Uint8Array.from(first)
    small(other!, spec)
    t.same(first, before)
  }
})

t.test('what is not small or not plain is left to libvips', async (t) => {
  for (const name of ['exif-6.jpg', 'cmyk.jpg', 'large.jpg', 'colour-progressive.jpg'])
    t.notOk(small(fixture(name)), name)
  const image = await picture(100, 100, 10)
  t.notOk(small(await image.withIccProfile('p3').jpeg().toBuffer()), 'a profile')
})

t.test('whatever is cut off or changed, libvips makes the same of what is accepted', async (t) => {
  const files = [
    await (await picture(90, 80, 24)).jpeg({ quality: 60 }).toBuffer(),
    fixture('restart-422.jpg'),
  ]
  let [accepted, refused] = [0, 0]
  for (const bytes of files) {
    for (let i = 0; i < 120; i++) {
      const damaged = damage(bytes, i)
      if (small(damaged) == null) refused++
      else {
        accepted++
        t.ok(await equal(damaged), `${i}`)
      }
    }
  }
  t.ok(accepted > 10 && refused > 100, `${accepted} accepted, ${refused} refused`)
})

/** Every third time cut off, else with a few bytes changed. */
function damage(bytes: Buffer, turn: number): Buffer {
  const length = turn % 3 === 0 ? 20 + draw.below(bytes.length - 20) : bytes.length
  const damaged = Buffer.from(bytes.subarray(0, length))
  if (turn % 3 === 0) return damaged
  for (let change = draw.below(3); change >= 0; change--)
    damaged[4 + draw.below(length - 4)] = draw.below(256)
  return damaged
}
