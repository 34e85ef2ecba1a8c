/** Small plain PNGs are decoded without libvips: to its pixels, bit for bit, or not at all. */
import { readFileSync } from 'node:fs'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { decodeImage } from '../src/image.js'
import type { InputSpec } from '../src/manifest/manifest.js'
import { smallImage } from '../src/pixels/small.js'
import { drawPng } from './png.js'
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
function small(bytes: Uint8Array, spec = input, most = maxPixels): Uint8Array | null | undefined {
  return smallImage(bytes, 'png', spec, most)?.()
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

t.test('PNGs: grey, RGB and palette, every filter, smaller and larger than the input', async (t) => {
  for (let i = 0; i < 60; i++) {
    const [width, height] = [1 + draw.below(128), 1 + draw.below(128)]
    let image = await picture(width, height, draw.pick([0, 24]))
    if (i % 4 === 0) image = image.toColourspace('b-w')
    const palette = i % 4 === 1
    const options = palette ? { palette, colours: 200 } : { adaptiveFiltering: draw.pick([true, false]) }
    const png = await image.png(options).toBuffer()
    if (palette && png[24]! < 8) continue
    t.ok(await equal(png), `${width}x${height} ${i % 4}`)
  }
  const filtered = Buffer.concat(
    Array.from({ length: 50 }, (_, y) => Buffer.from([y % 5, ...draw.bytes(40)])),
  )
  t.ok(await equal(drawPng(40, 50, deflateSync(filtered))), 'filters in turn')
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
      const image = await picture(width, height, 20)
      t.ok(await equal(await image.png().toBuffer(), spec), `${width} to ${spec.resize}`)
    }
  }
})

t.test('what is not small or not plain is left to libvips', async (t) => {
  for (const name of [
    'exif-6.png',
    'colour-16bit.png',
    'colour-alpha.png',
    'grey-alpha.png',
    'animated.png',
    'bilevel.png',
  ])
    t.notOk(small(fixture(name)), name)
  const image = await picture(100, 100, 10)
  t.notOk(small(await image.clone().withIccProfile('p3').png().toBuffer()), 'a profile')
  t.notOk(small(await image.clone().png({ progressive: true }).toBuffer()), 'interlaced')
  const png = await image.png().toBuffer()
  t.equal(small(png, { ...input, kernel: 'cubic' }), undefined)
  t.equal(small(png, input, 100 * 100 - 1), undefined, 'more pixels than are accepted')
  t.ok(small(png, input, 100 * 100))
})

t.test('a bomb is not inflated, nor what is too short or goes on', async (t) => {
  const rows = Buffer.alloc(41 * 50)
  t.ok(small(drawPng(40, 50, deflateSync(rows))))
  t.equal(small(drawPng(40, 50, deflateSync(Buffer.alloc(50_000_000)))), null)
  t.equal(small(drawPng(40, 50, draw.bytes(70_000))), undefined, 'too many bytes')
  t.equal(small(drawPng(40, 50, deflateSync(rows.subarray(1)))), null)
  t.equal(small(drawPng(40, 50, Buffer.concat([deflateSync(rows), Buffer.from('more')]))), null)
  t.equal(small(drawPng(40, 50, deflateSync(Buffer.alloc(41 * 50, 5)))), null, 'no such filter')
})

t.test('whatever is cut off or changed, libvips makes the same of what is accepted', async (t) => {
  const bytes = await (await picture(90, 80, 24)).png().toBuffer()
  let [accepted, refused] = [0, 0]
  for (let i = 0; i < 150; i++) {
    const length = i % 3 === 0 ? 20 + draw.below(bytes.length - 20) : bytes.length
    const damaged = Buffer.from(bytes.subarray(0, length))
    if (i % 3 !== 0) damaged[16 + draw.below(Math.min(120, length - 16))] = draw.below(256)
    if (small(damaged) == null) refused++
    else {
      accepted++
      t.ok(await equal(damaged), `${i}`)
    }
  }
  t.ok(refused > 100, `${accepted} accepted, ${refused} refused`)
})

t.test('a chunk whose sum is wrong is not trusted', async (t) => {
  const png = Buffer.from(await (await picture(30, 30, 0)).png().toBuffer())
  const end = png.length - 12
  t.equal(png.readUInt32BE(end + 8), crc32(png.subarray(end + 4, end + 8)))
  png[end + 8]! ^= 1
  t.equal(small(png), null)
})
