/**
 * JPEGs by the add-on's decoder: which ones it gets, the pixels of libvips and of training, and a refusal wherever libvips
 * refuses.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { finish } from '../src/concurrency/turns.js'
import { decodeCost } from '../src/image/cost.js'
import { decodeImage, openImage } from '../src/image/decode.js'
import { readHeader } from '../src/image/headers/header.js'
import { decodeOrdinary, isOrdinaryJpeg } from '../src/image/jpeg-decoder.js'
import type { InputSpec } from '../src/manifest/manifest.js'
import type { NativeDecodeJpeg } from '../src/native/addon.js'
import { addon, compare, fixture, input, refusal, servedInput } from './images.js'
import { Random } from './random.js'

const limits = { maxPixels: 16_000_000 }
const skip = addon === undefined && 'it is not built: npm run native:build'
const ofAddon: NativeDecodeJpeg = (bytes, options) => addon!.decodeJpeg(bytes, options)
const random = new Random(11)

function isOrdinary(bytes: Uint8Array, spec: InputSpec = input): boolean {
  return isOrdinaryJpeg(finish(readHeader(bytes, 'jpeg')), spec)
}

/** A blurred picture of noise. */
function soft(width: number, height: number): Sharp {
  const noise = random.bytes(width * height * 3)
  return sharp(noise, { raw: { width, height, channels: 3 } }).blur(1.5)
}

/** The pixels of the add-on, or a refusal; libvips is not asked. */
async function byAddonAlone(bytes: Uint8Array, spec: InputSpec = input): Promise<Uint8Array | undefined> {
  const { header } = await openImage(bytes, spec, limits)
  if (!isOrdinaryJpeg(header, spec)) throw new Error('the add-on does not get it')
  return decodeOrdinary(ofAddon, bytes, header, spec, 10_000)
}

t.test('the add-on gets small baseline JPEGs without anything unusual', async (t) => {
  const plain = await soft(64, 48).jpeg().toBuffer()
  t.ok(isOrdinary(plain))
  for (const name of ['colour.jpg', 'grey.jpg', 'sos-bytes.jpg', 'jfif-version.jpg'])
    t.ok(isOrdinary(fixture(name)), name)
  for (const name of [
    'colour-progressive.jpg',
    'restart.jpg',
    'separate-scans.jpg',
    'arithmetic.jpg',
    'cmyk.jpg',
    'exif-6.jpg',
    'rgb-profile.jpg',
  ])
    t.notOk(isOrdinary(fixture(name)), name)
  t.notOk(isOrdinary(await soft(1000, 501).jpeg().toBuffer()), 'large')
  t.notOk(isOrdinary(plain, { ...input, kernel: 'cubic' }), 'another kernel')
  const behind = (bytes: number[]) =>
    Buffer.concat([plain.subarray(0, 2), Buffer.from(bytes), plain.subarray(2)])
  const adobe = (transform: number) => [
    0xff,
    0xee,
    0,
    14,
    ...Buffer.from('Adobe'),
    0,
    100,
    0,
    0,
    0,
    0,
    transform,
  ]
  t.ok(isOrdinary(behind(adobe(1))), 'Adobe, luma and chroma')
  t.notOk(isOrdinary(behind(adobe(0))), 'Adobe, RGB')
  t.notOk(isOrdinary(behind([0x00])), 'a byte between segments')
  const frame = plain.indexOf(Buffer.from([0xff, 0xc0]))
  const changed = (at: number, byte: number) => {
    const copy = Buffer.from(plain)
    copy[frame + at] = byte
    return copy
  }
  t.notOk(isOrdinary(changed(11, 0x41)), 'luma four times as wide')
})

t.test('its pixels are those of libvips where nothing is shrunk', { skip }, async (t) => {
  const files: [string, Buffer][] = [['grey', await soft(72, 75).toColourspace('b-w').jpeg().toBuffer()]]
  for (const [width, height] of [
    [72, 72],
    [64, 64],
    [33, 47],
    [72, 131],
    [7, 5],
    [2, 3],
    [1, 1],
    [128, 200],
  ] as const)
    for (const chromaSubsampling of ['4:4:4', '4:2:0'] as const)
      files.push([
        `${width}x${height} ${chromaSubsampling}`,
        await soft(width, height).jpeg({ chromaSubsampling }).toBuffer(),
      ])
  for (const [name, bytes] of files) {
    const spec = name === '128x200 4:4:4' || name === '128x200 4:2:0' ? servedInput : input
    const found = await byAddonAlone(bytes, spec)
    const { mean, max } = compare(found!, await decodeImage(bytes, spec, limits))
    t.ok(mean <= 0.1 && max <= 3, `${name}: mean ${mean}, max ${max}`)
  }
})

t.test('its pixels are those of libvips where it shrinks, nearly', { skip }, async (t) => {
  const samples = readdirSync('samples', { recursive: true, encoding: 'utf8' })
  const real = samples
    .filter((name) => name.endsWith('.jpg'))
    .map((name) => readFileSync(join('samples', name)))
  for (const [index, bytes] of [...real, fixture('large.jpg')].entries()) {
    if (!isOrdinary(bytes)) continue
    const { mean, max } = compare((await byAddonAlone(bytes))!, await decodeImage(bytes, input, limits))
    t.ok(mean <= 0.3 && max <= 6, `${index}: mean ${mean}, max ${max}`)
  }
})

t.test('truncated at any length it is refused, with an end marker put behind it too', { skip }, async (t) => {
  for (const name of ['colour.jpg', 'grey.jpg', 'sos-bytes.jpg']) {
    const bytes = fixture(name)
    const scan = bytes.indexOf(Buffer.from([0xff, 0xda]))
    const read: string[] = []
    const end = Buffer.from([0xff, 0xd9])
    // native/src/jpeg.rs tries each length; here some, and all of the last ones.
    const step = Math.floor(bytes.length / 60)
    for (let length = 3; length < bytes.length - 2; length += length < bytes.length - 30 ? step : 1) {
      const cut = bytes.subarray(0, length)
      if (!(await refusal(decodeImage(cut, input, { ...limits, decodeJpeg: ofAddon }))))
        read.push(`${length}`)
      if (length < scan + 20 || length >= bytes.length - 4) continue
      if ((await byAddonAlone(Buffer.concat([cut, end]))) !== undefined) read.push(`${length}, ended`)
    }
    t.same(read, [], `${name}, ${bytes.length} bytes`)
  }
})

t.test('what libvips refuses of changed files, the add-on refuses', { skip }, async (t) => {
  const photograph = await soft(120, 90).jpeg({ quality: 60 }).toBuffer()
  const files = [photograph, ...['colour.jpg', 'grey.jpg', 'sos-bytes.jpg'].map((name) => fixture(name))]
  let [refused, read] = [0, 0]
  for (let round = 0; round < 240; round++) {
    const bytes = mutated(files[round % files.length]!)
    const image = await openImage(bytes, input, limits).catch(() => undefined)
    if (image === undefined || !isOrdinaryJpeg(image.header, input)) continue
    const libvips = await refusal(image.decode())
    const way = await openImage(bytes, input, limits, { decodeJpeg: ofAddon })
    const both = await refusal(way.decode())
    if (libvips !== null) {
      refused++
      t.equal(both?.message, libvips.message, `round ${round}`)
    } else {
      read++
      t.equal(both, null, `round ${round}`)
    }
  }
  t.ok(refused > 30 && read > 30, `${refused} refused, ${read} read`)
})

/** A file with some bytes changed, left out or put in. */
function mutated(file: Buffer): Buffer {
  const at = random.below(file.length)
  const rest = (from: number) => file.subarray(Math.min(file.length, from))
  switch (random.below(3)) {
    case 0: {
      const copy = Buffer.from(file)
      copy[at] = copy[at]! ^ (1 << random.below(8))
      return copy
    }
    case 1:
      return Buffer.concat([file.subarray(0, at), rest(at + 1 + random.below(20))])
    default:
      return Buffer.concat([file.subarray(0, at), random.bytes(1 + random.below(8)), rest(at)])
  }
}

t.test('bytes that libjpeg warns of although they mean nothing change nothing', { skip }, async (t) => {
  const plain = await decodeImage(fixture('colour.jpg'), input, { ...limits, decodeJpeg: ofAddon })
  for (const name of ['sos-bytes.jpg', 'jfif-version.jpg', 'fill-bytes.jpg']) {
    const found = await decodeImage(fixture(name), input, { ...limits, decodeJpeg: ofAddon })
    t.ok(compare(found, plain).mean <= 2, name)
  }
})

t.test('libvips decodes what the add-on does not read', async (t) => {
  const bytes = fixture('colour.jpg')
  let asked = 0
  const never: NativeDecodeJpeg = async () => {
    asked++
    throw new Error('the decoder panicked')
  }
  const found = await decodeImage(bytes, input, { ...limits, decodeJpeg: never })
  t.same(Buffer.from(found), Buffer.from(await decodeImage(bytes, input, limits)))
  t.equal(asked, 1)
})

t.test('a deadline ends it, and a client that has left has nothing decoded', { skip }, async (t) => {
  const image = await openImage(fixture('colour.jpg'), input, limits, { decodeJpeg: ofAddon })
  t.match(await refusal(image.decode({ timeoutMs: 0 })), { code: 'deadline_exceeded', status: 504 })
  const left = { signal: AbortSignal.abort() }
  t.match(await refusal(image.decode(left)), { code: 'client_closed' })
})

t.test('bytes that are given back while it decodes do no harm', { skip }, async (t) => {
  const bytes = new Uint8Array(fixture('colour.jpg'))
  const wanted = (await byAddonAlone(bytes))!
  const image = await openImage(bytes, input, limits, { decodeJpeg: ofAddon })
  const found = image.decode()
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  t.equal(bytes.length, 0)
  t.ok(Buffer.from(await found).equals(wanted))
})

t.test('its cost is that of both decoders, one after the other', async (t) => {
  const header = finish(readHeader(fixture('colour.jpg'), 'jpeg'))
  const [alone, both] = [decodeCost(header, input), decodeCost(header, input, true)]
  t.ok(both.cpuMs > alone.cpuMs && both.bytes >= alone.bytes)
  const image = await openImage(fixture('colour.jpg'), input, limits, { decodeJpeg: ofAddon })
  t.same(image.cost, both)
  const progressive = await openImage(fixture('colour-progressive.jpg'), input, limits, {
    decodeJpeg: ofAddon,
  })
  t.same(progressive.cost, decodeCost(progressive.header, input))
})
