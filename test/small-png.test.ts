/** Small PNGs are decoded without libvips, to equal pixels, or left to it. */
import { readFileSync } from 'node:fs'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { finish } from '../src/concurrency/turns.js'
import { readPng } from '../src/image/headers/png.js'
import type { PngHeader } from '../src/image/headers/types.js'
import { decodeSmallPng } from '../src/image/small-png.js'
import { drawPng } from './png.js'
import { Random } from './random.js'

const draw = new Random(11)
const fixture = (name: string): Buffer => readFileSync(new URL(`./fixtures/images/${name}`, import.meta.url))

function headerOf(bytes: Uint8Array): PngHeader | null {
  try {
    return finish(readPng(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)))
  } catch {
    return null
  }
}

function small(bytes: Uint8Array): Uint8Array | null {
  const header = headerOf(bytes)
  return header?.plain ? decodeSmallPng(bytes, header) : null
}

/** The pixels from libvips; null if it refuses the file. */
async function wanted(bytes: Uint8Array): Promise<Buffer | null> {
  const image = sharp(bytes, { failOn: 'warning' }).removeAlpha().toColourspace('srgb')
  return image
    .raw()
    .toBuffer()
    .catch(() => null)
}

async function equal(bytes: Uint8Array): Promise<boolean> {
  const [mine, theirs] = [small(bytes), await wanted(bytes)]
  return mine !== null && theirs?.equals(mine) === true
}

/** Smooth shapes with `noise`, which are to a codec like a photograph. */
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

t.test('grey and RGB, every filter', async (t) => {
  for (let i = 0; i < 40; i++) {
    const [width, height] = [1 + draw.below(128), 1 + draw.below(128)]
    let image = await picture(width, height, draw.pick([0, 24]))
    if (i % 4 === 0) image = image.toColourspace('b-w')
    const png = await image.png({ adaptiveFiltering: draw.pick([true, false]) }).toBuffer()
    t.ok(await equal(png), `${width}x${height} ${i % 4}`)
  }
  const lines = Array.from({ length: 50 }, (_, y) => Buffer.from([y % 5, ...draw.bytes(40)]))
  t.ok(await equal(drawPng(40, 50, deflateSync(Buffer.concat(lines)))), 'filters in turn')
})

t.test('images that are not small or not simple are left to libvips', async (t) => {
  const files = [
    'exif-6.png',
    'colour-16bit.png',
    'colour-alpha.png',
    'grey-alpha.png',
    'animated.png',
    'bilevel.png',
    'colour-palette.png',
  ]
  for (const name of files) t.equal(small(fixture(name)), null, name)
  const image = await picture(100, 100, 10)
  t.equal(small(await image.clone().withIccProfile('p3').png().toBuffer()), null, 'a profile')
  t.equal(small(await image.clone().png({ progressive: true }).toBuffer()), null, 'interlaced')
  t.equal(small(await (await picture(129, 128, 0)).png().toBuffer()), null, 'many pixels')
  t.equal(small(drawPng(40, 50, draw.bytes(70_000))), null, 'many bytes')
})

t.test(
  'a decompression bomb is not inflated, and only one valid stream of exactly the right size is accepted',
  async (t) => {
    const lines = Buffer.from(Array.from({ length: 50 }, () => [0, ...draw.bytes(40)]).flat())
    const stream = deflateSync(lines)
    t.ok(small(drawPng(40, 50, stream)))
    const wrongSum = Buffer.from(stream)
    wrongSum[stream.length - 1]! ^= 1
    const bad = {
      bomb: deflateSync(Buffer.alloc(50_000_000)),
      'a line short': deflateSync(lines.subarray(41)),
      'more behind it': Buffer.concat([stream, Buffer.from('more')]),
      'no such filter': deflateSync(Buffer.alloc(41 * 50, 5)),
      'cut in its sum': stream.subarray(0, -2),
      'without its sum': stream.subarray(0, -4),
      'cut in its data': stream.subarray(0, -10),
      'a wrong sum': wrongSum,
      noise: draw.bytes(1000),
    }
    for (const [what, data] of Object.entries(bad)) t.equal(small(drawPng(40, 50, data)), null, what)
  },
)

t.test('however a file is damaged, if it is accepted libvips decodes the same pixels', async (t) => {
  const bytes = await (await picture(70, 60, 24)).png().toBuffer()
  let [accepted, refused] = [0, 0]
  for (let i = 0; i < 150; i++) {
    const length = i % 3 === 0 ? 20 + draw.below(bytes.length - 20) : bytes.length
    const damaged = Buffer.from(bytes.subarray(0, length))
    if (i % 3 !== 0) damaged[16 + draw.below(Math.min(120, length - 16))] = draw.below(256)
    if (small(damaged) === null) refused++
    else {
      accepted++
      t.ok(await equal(damaged), `${i}`)
    }
  }
  t.ok(refused > 100, `${accepted} accepted, ${refused} refused`)
})

t.test('a chunk with a wrong checksum is not accepted', async (t) => {
  const png = Buffer.from(await (await picture(30, 30, 0)).png().toBuffer())
  const end = png.length - 12
  t.equal(png.readUInt32BE(end + 8), crc32(png.subarray(end + 4, end + 8)))
  png[end + 8]! ^= 1
  t.equal(small(png), null)
})
