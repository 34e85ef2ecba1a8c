/** What is read from an image's own bytes before anything is decoded, and that no bytes make a reader stumble. */
import { readdirSync } from 'node:fs'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { finish } from '../src/concurrency/turns.js'
import { corrected } from '../src/image/corrected.js'
import { openImage } from '../src/image/decode.js'
import { readHeader } from '../src/image/headers/header.js'
import { sniffImage } from '../src/image/headers/sniff.js'
import type { ImageHeader } from '../src/image/headers/types.js'
import { fixture, fixtures, refusal, servedInput, servedLimits } from './images.js'
import { Random } from './random.js'

const folder = new URL('images/', fixtures)
const draw = new Random(19)

function header(bytes: Uint8Array): ImageHeader {
  return finish(readHeader(bytes, sniffImage(bytes)!))
}

function noise(width: number, height: number, channels: 1 | 3 | 4 = 3): Sharp {
  return sharp(draw.bytes(width * height * channels), { raw: { width, height, channels } })
}

async function codeOf(bytes: Uint8Array): Promise<string | null> {
  const type = sniffImage(bytes)
  if (type === null) return null
  const reading = async () => finish(readHeader(bytes, type))
  return (await refusal(reading()))?.code ?? null
}

t.test('every kind of image that is read has the sides and channels that libvips sees', async (t) => {
  const names = readdirSync(folder).filter((name) => !name.endsWith('.golden.png') && /\.[a-z]+$/.test(name))
  for (const name of names) {
    const bytes = fixture(name)
    const found = header(bytes)
    const { width, height, channels, depth, hasAlpha, icc } = await sharp(corrected(bytes, found)).metadata()
    const sides = [found.width, found.height]
    // libvips turns AVIF images while it reads them.
    if (found.type === 'avif' && sides[0] !== width) sides.reverse()
    t.same(sides, [width, height], name)
    t.ok(found.channels >= channels, `${name}: ${found.channels} of ${channels} channels`)
    t.equal(found.depth, depth === 'ushort' ? 2 : 1, name)
    if (found.type !== 'gif') t.equal(found.alpha, hasAlpha, name)
    t.ok(found.profileBytes >= (icc?.length ?? 0), `${name}: a profile of ${icc?.length} bytes`)
  }
  t.ok(names.length > 40)
})

t.test('what decides over the cost of a format is read', async (t) => {
  const image = noise(48, 40)
  const cases: [string, Buffer, object][] = [
    [
      'baseline',
      await image.clone().jpeg().toBuffer(),
      { progressive: false, scans: 1, samples: 48 * 48 * 1.5 },
    ],
    [
      'grey',
      await image.clone().toColourspace('b-w').jpeg().toBuffer(),
      { scans: 1, samples: 48 * 40, channels: 1 },
    ],
    [
      'progressive',
      await image.clone().jpeg({ progressive: true }).toBuffer(),
      { progressive: true, scans: 10 },
    ],
    ['4:4:4', await image.clone().jpeg({ chromaSubsampling: '4:4:4' }).toBuffer(), { samples: 48 * 40 * 3 }],
    ['interlaced', await image.clone().png({ progressive: true }).toBuffer(), { interlaced: true, depth: 1 }],
    ['palette', await image.clone().png({ palette: true }).toBuffer(), { palette: true, channels: 3 }],
    [
      '16 bit',
      await noise(9, 9, 4).toColourspace('rgb16').png().toBuffer(),
      { depth: 2, channels: 4, alpha: true },
    ],
    ['lossy', await image.clone().webp().toBuffer(), { lossless: false, alpha: false, frames: 1 }],
    ['lossless', await image.clone().webp({ lossless: true }).toBuffer(), { lossless: true }],
    ['alpha', await noise(9, 9, 4).webp().toBuffer(), { lossless: false, alpha: true }],
    [
      'avif',
      await image.clone().avif({ effort: 0 }).toBuffer(),
      { tiles: 1, codedPixels: 1920, codedSamples: 5760 },
    ],
    [
      '4:2:0',
      await image.clone().avif({ effort: 0, chromaSubsampling: '4:2:0' }).toBuffer(),
      { codedPixels: 1920, codedSamples: 2880 },
    ],
    ['10 bit', await image.clone().avif({ effort: 0, bitdepth: 10 }).toBuffer(), { bits: 10, depth: 2 }],
    ['avif alpha', await noise(16, 16, 4).avif({ effort: 0 }).toBuffer(), { alpha: true, codedPixels: 512 }],
    [
      'tiles',
      await image.clone().tiff({ tile: true, tileWidth: 32, tileHeight: 16 }).toBuffer(),
      { blocks: 6 },
    ],
    [
      'strips',
      await image.clone().tiff({ compression: 'lzw' }).toBuffer(),
      { block: { width: 48 }, compression: 5 },
    ],
  ]
  for (const [name, bytes, wanted] of cases) t.match(header(bytes), wanted, name)
  const frames = await Promise.all([1, 2, 3].map(() => noise(8, 8).png().toBuffer()))
  const animation = sharp(frames, { join: { animated: true } })
  t.match(header(await animation.clone().gif().toBuffer()), { frames: 3, width: 8, height: 8 })
  t.match(header(await animation.clone().webp().toBuffer()), {
    frames: 3,
    animated: true,
    alpha: false,
  })
})

t.test('a header that is cut off anywhere is refused or read, and nothing else', async (t) => {
  const names = [
    'colour.jpg',
    'colour-progressive.jpg',
    'cmyk.jpg',
    'exif-6.jpg',
    'colour.png',
    'animated.png',
    'colour.webp',
    'colour-alpha.webp',
    'animated.webp',
    'colour.gif',
    'animated.gif',
    'colour.avif',
    'colour-alpha.avif',
    'exif-6.avif',
    'colour.tiff',
    'colour-big.tiff',
    'animated.tiff',
  ]
  for (const name of names) {
    const bytes = fixture(name)
    const codes = new Set<string | null>()
    for (let end = 0; end < bytes.length; end++) codes.add(await codeOf(bytes.subarray(0, end)))
    codes.delete(null)
    t.same([...codes], ['undecodable_image'], name)
  }
})

t.test('damaged headers are refused or read, and nothing else', async (t) => {
  for (const name of readdirSync(folder)) {
    const bytes = fixture(name)
    for (let attempt = 0; attempt < 60; attempt++) {
      const damaged = Buffer.from(bytes)
      for (let i = 0; i < 1 + draw.below(3); i++)
        damaged[draw.below(Math.min(damaged.length, 600))] = draw.pick([0, 1, 0x7f, 0xff, draw.below(256)])
      const code = await codeOf(damaged)
      if (code !== null && code !== 'undecodable_image' && code !== 'image_too_large')
        t.fail(`${name}: ${code}: ${damaged.toString('base64')}`)
    }
  }
  t.pass()
})

t.test('scans, frames and pages are counted only so far', async (t) => {
  const jpeg = await noise(16, 16).jpeg({ progressive: true }).toBuffer()
  const scan = Buffer.from([0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0])
  const withScans = (count: number) =>
    Buffer.concat([jpeg.subarray(0, -2), Buffer.alloc(scan.length * count, scan), jpeg.subarray(-2)])
  t.match(header(withScans(900)), { scans: 910, scannedSamples: 900 * 256 + 2048 })
  t.equal(await codeOf(withScans(1000)), 'image_too_large')

  const gif = await noise(8, 8).gif().toBuffer()
  const image = gif.indexOf(0x2c, 13 + 3 * 2 ** ((gif[10]! & 7) + 1))
  const withFrames = (count: number) =>
    Buffer.concat([gif.subarray(0, image), ...Array(count).fill(gif.subarray(image, -1)), gif.subarray(-1)])
  t.match(header(withFrames(10_000)), { frames: 10_000 })
  t.equal(await codeOf(withFrames(10_001)), 'image_too_large')

  const tiff = await noise(8, 8).tiff({ compression: 'none' }).toBuffer()
  const pages = (count: number) => {
    // Empty pages, each of no tags and the offset of the next.
    const chain = Buffer.alloc(6 * count)
    for (let page = 1; page < count; page++) chain.writeUInt32LE(tiff.length + 6 * page, 6 * (page - 1) + 2)
    const first = tiff.readUInt32LE(4)
    const whole = Buffer.concat([tiff, chain])
    whole.writeUInt32LE(tiff.length, first + 2 + 12 * tiff.readUInt16LE(first))
    return whole
  }
  t.match(header(pages(900)), { pages: 901 })
  t.equal(await codeOf(pages(1000)), 'image_too_large')
  const loop = Buffer.from(tiff)
  const first = tiff.readUInt32LE(4)
  loop.writeUInt32LE(first, first + 2 + 12 * tiff.readUInt16LE(first))
  t.match(header(loop), { pages: 1 })
})

t.test('kinds of images that are not read are named', async (t) => {
  const jpeg = await noise(16, 16).jpeg().toBuffer()
  const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]))
  const lossless = Buffer.from(jpeg)
  lossless[frame + 1] = 0xc3
  t.throws(() => header(lossless), { code: 'undecodable_image', message: /lossless \(SOF3\)/ })
  const deep = Buffer.from(jpeg)
  deep[frame + 4] = 12
  t.throws(() => header(deep), { code: 'undecodable_image', message: /12 bits a sample/ })
  const avif = await noise(16, 16).avif({ effort: 0 }).toBuffer()
  const overlay = Buffer.from(avif)
  overlay.write('iovl', avif.indexOf('av01', avif.indexOf('infe')))
  t.throws(() => header(overlay), { code: 'undecodable_image', message: /"iovl" where AV1 is read/ })
})

t.test('strips of JPEG in a TIFF have one scan each', async (t) => {
  const inTiff = (jpeg: Buffer) => {
    const tags = [
      [256, 16],
      [257, 16],
      [258, 8],
      [259, 7],
      [262, 1],
      [273, 8],
      [277, 1],
      [278, 16],
      [279, jpeg.length],
    ]
    const page = Buffer.alloc(2 + 12 * tags.length + 4)
    page.writeUInt16LE(tags.length)
    for (const [i, [tag, value]] of tags.entries()) {
      page.writeUInt16LE(tag!, 2 + 12 * i)
      page.writeUInt16LE(4, 4 + 12 * i)
      page.writeUInt32LE(1, 6 + 12 * i)
      page.writeUInt32LE(value!, 10 + 12 * i)
    }
    const start = Buffer.from('II*\0\0\0\0\0', 'latin1')
    start.writeUInt32LE(8 + jpeg.length, 4)
    return Buffer.concat([start, jpeg, page])
  }
  const grey = noise(16, 16).toColourspace('b-w')
  t.match(header(inTiff(await grey.clone().jpeg().toBuffer())), { compression: 7, blocks: 1 })
  const progressive = inTiff(await grey.clone().jpeg({ progressive: true }).toBuffer())
  t.throws(() => header(progressive), { code: 'undecodable_image', message: /JPEG in several scans/ })
})

t.test('an AVIF is as large as its AV1 data says, whatever its boxes say', async (t) => {
  const avif = await noise(64, 48).avif({ effort: 0 }).toBuffer()
  const small = Buffer.from(avif)
  const size = avif.indexOf('ispe') + 8
  small.writeUInt32BE(8, size)
  small.writeUInt32BE(8, size + 4)
  t.match(header(small), { width: 8, height: 8, codedPixels: 64 * 48 })
})

t.test('what a file announces is not gone through beyond what is read', async (t) => {
  const tiff = await noise(8, 8).tiff({ compression: 'none' }).toBuffer()
  const page = tiff.readUInt32LE(4)
  for (let tag = 0; tag < tiff.readUInt16LE(page); tag++) {
    const at = page + 2 + 12 * tag
    const name = tiff.readUInt16LE(at)
    if (name === 258) tiff.writeUInt32LE(0xffffffff, at + 4)
    if (name !== 277) continue
    tiff.writeUInt16LE(4, at + 2)
    tiff.writeUInt32LE(0xffffffff, at + 8)
  }
  t.throws(() => header(tiff), { code: 'undecodable_image', message: /has 4294967295 samples a pixel/ })

  const tall = await noise(8, 8).tiff({ compression: 'none' }).toBuffer()
  for (let tag = 0; tag < tall.readUInt16LE(page); tag++) {
    const at = page + 2 + 12 * tag
    const [name, type] = [tall.readUInt16LE(at), tall.readUInt16LE(at + 2)]
    if (name === 257) {
      tall.writeUInt16LE(4, at + 2)
      tall.writeUInt32LE(0xffffffff, at + 8)
    } else if (name === 278) tall[type === 3 ? 'writeUInt16LE' : 'writeUInt32LE'](1, at + 8)
  }
  t.match(header(tall), { blocks: 0xffffffff })

  const box = (name: string, content: Buffer) => {
    const size = Buffer.alloc(4)
    size.writeUInt32BE(8 + content.length)
    return Buffer.concat([size, Buffer.from(name, 'latin1'), content])
  }
  const table = Buffer.alloc(8)
  table.writeUInt32BE(100_000, 4)
  const tables = Buffer.concat(Array.from({ length: 3 }, () => box('ipma', table)))
  const meta = box('meta', Buffer.concat([Buffer.alloc(4), box('iprp', tables)]))
  const type = box('ftyp', Buffer.from('avif\0\0\0\0avif', 'latin1'))
  const avif = Buffer.concat([type, meta, Buffer.alloc(400_000)])
  t.throws(() => header(avif), { code: 'undecodable_image', message: /tables have more than 5000 entries/ })
})

t.test('strips of JPEG in a TIFF do not share their data', async (t) => {
  const jpeg = await noise(16, 16).toColourspace('b-w').jpeg().toBuffer()
  const strips = 16
  const page = Buffer.alloc(2 + 12 * 9 + 4)
  const [offsets, lengths] = [Buffer.alloc(4 * strips), Buffer.alloc(4 * strips)]
  for (let strip = 0; strip < strips; strip++) {
    offsets.writeUInt32LE(8, 4 * strip)
    lengths.writeUInt32LE(jpeg.length, 4 * strip)
  }
  const end = 8 + jpeg.length + page.length
  const tags: [tag: number, value: number, count?: number][] = [
    [256, 16],
    [257, 16],
    [258, 8],
    [259, 7],
    [262, 1],
    [273, end, strips],
    [277, 1],
    [278, 1],
    [279, end + offsets.length, strips],
  ]
  page.writeUInt16LE(tags.length)
  for (const [i, [tag, value, count = 1]] of tags.entries()) {
    page.writeUInt16LE(tag, 2 + 12 * i)
    page.writeUInt16LE(4, 4 + 12 * i)
    page.writeUInt32LE(count, 6 + 12 * i)
    page.writeUInt32LE(value, 10 + 12 * i)
  }
  const start = Buffer.from('II*\0\0\0\0\0', 'latin1')
  start.writeUInt32LE(8 + jpeg.length, 4)
  const tiff = Buffer.concat([start, jpeg, page, offsets, lengths])
  t.throws(() => header(tiff), { code: 'undecodable_image', message: /share their data/ })
})

t.test('every tile of a TIFF lies in the file, wherever it stands', async (t) => {
  const tiff = await noise(48, 40).tiff({ tile: true, tileWidth: 32, tileHeight: 16 }).toBuffer()
  const page = tiff.readUInt32LE(4)
  const last = (name: number) => {
    for (let at = page + 2; ; at += 12) {
      if (tiff.readUInt16LE(at) !== name) continue
      const bytes = tiff.readUInt16LE(at + 2) === 3 ? 2 : 4
      const place = tiff.readUInt32LE(at + 8) + 5 * bytes
      return { place, value: tiff.readUIntLE(place, bytes) }
    }
  }
  const [offset, length] = [last(324), last(325)]
  const tile = tiff.subarray(offset.value, offset.value + length.value)
  const behind = Buffer.concat([tiff, tile])
  behind.writeUInt32LE(tiff.length, offset.place)
  t.match(header(behind), { blocks: 6 })
  const cut = behind.subarray(0, -1)
  t.throws(() => header(cut), { code: 'undecodable_image', message: /its end is missing/ })
})

t.test('what must be walked through whole is walked through in short steps', async (t) => {
  const jpeg = await noise(16, 16).jpeg({ progressive: true }).toBuffer()
  const baseline = await noise(16, 16).jpeg().toBuffer()
  const gif = await noise(16, 16).gif().toBuffer()
  const png = await noise(16, 16).png().toBuffer()
  const megabyte = 2 ** 20
  const comment = Buffer.from([0xff, 0xfe, 0, 2])
  const trailer = Buffer.of(0x3b)
  const cases: [string, Buffer][] = [
    [
      'segments of four bytes',
      Buffer.concat([jpeg.subarray(0, 2), repeated(comment, megabyte), jpeg.subarray(2)]),
    ],
    [
      'entropy-coded data',
      Buffer.concat([jpeg.subarray(0, -2), Buffer.alloc(megabyte, 1), jpeg.subarray(-2)]),
    ],
    [
      'data of the only scan',
      Buffer.concat([baseline.subarray(0, -2), Buffer.alloc(megabyte, 0xff), baseline.subarray(-2)]),
    ],
    [
      'chunks of no data',
      Buffer.concat([
        png.subarray(0, 33),
        repeated(Buffer.from('\0\0\0\0tEXt\0\0\0\0'), 12 * 80_000),
        png.subarray(33),
      ]),
    ],
    [
      'blocks of one byte',
      Buffer.concat([gif.subarray(0, -2), repeated(Buffer.of(1, 0), megabyte), Buffer.of(0), trailer]),
    ],
  ]
  for (const [name, bytes] of cases) {
    const steps = readHeader(bytes, sniffImage(bytes)!)
    let count = 0
    while (!steps.next().done) count++
    t.ok(count >= 60, `${name}: ${count} steps`)
  }
})

t.test('an image is looked through no longer than somebody waits for it', async (t) => {
  const jpeg = await noise(16, 16).jpeg({ progressive: true }).toBuffer()
  const comments = repeated(Buffer.from([0xff, 0xfe, 0, 2]), 2 ** 22)
  const bytes = Buffer.concat([jpeg.subarray(0, 2), comments, jpeg.subarray(2)])
  let slices = 0
  const check = () => {
    if (++slices === 3) throw new Error('the client has left')
  }
  await t.rejects(openImage(bytes, servedInput, servedLimits, { check }), { message: 'the client has left' })
})

/** The same bytes again and again, `length` in all. */
function repeated(bytes: Buffer, length: number): Buffer {
  return Buffer.alloc(length, bytes)
}
