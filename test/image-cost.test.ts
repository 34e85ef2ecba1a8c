/** Images that ask for too much are refused by their header, and ordinary photographs are not. */
import { crc32, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import { decodeCost } from '../src/image/cost.js'
import { openImage } from '../src/image/decode.js'
import type { ImageHeader } from '../src/image/headers/types.js'
import { checkCost, checkSize } from '../src/image/limits.js'
import { refusal, servedInput, servedLimits } from './images.js'

/** The refusal of an image; null where it is accepted. */
function refusalOf(bytes: Uint8Array, limits = servedLimits) {
  return refusal(openImage(bytes, servedInput, limits))
}

/** A PNG with hardly more than its header and its end: no pixels are read before it is accepted. */
function png(width: number, height: number, bits: number, colour: number, interlaced: boolean): Buffer {
  const body = Buffer.from(`IHDR\0\0\0\0\0\0\0\0\0\0\0\0\0`, 'latin1')
  body.writeUInt32BE(width, 4)
  body.writeUInt32BE(height, 8)
  body.set([bits, colour, 0, 0, interlaced ? 1 : 0], 12)
  const check = Buffer.alloc(4)
  check.writeUInt32BE(crc32(body))
  const data = deflateSync(Buffer.alloc(10))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  const signature = Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\r', 'latin1')
  const end = Buffer.from('\0\0\0\0IEND\xae\x42\x60\x82', 'latin1')
  return Buffer.concat([signature, body, check, length, Buffer.from('IDAT'), data, Buffer.alloc(4), end])
}

t.test('a few bytes that would take gigabytes or seconds are refused, with what was counted', async (t) => {
  const flat = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: 'red' } })
  const scan = Buffer.from([0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0])
  const jpeg = await flat(4000, 3000).jpeg({ progressive: true }).toBuffer()
  const scans = Buffer.concat([
    jpeg.subarray(0, -2),
    Buffer.alloc(scan.length * 400, scan),
    jpeg.subarray(-2),
  ])
  const avif = await flat(64, 64).avif({ effort: 0 }).toBuffer()
  // The sizes in the box alone: the sequence header keeps its own.
  const size = avif.indexOf('ispe') + 8
  const wideAvif = Buffer.from(avif)
  wideAvif.writeUInt32BE(10_000, size)
  wideAvif.writeUInt32BE(5000, size + 4)
  const cases: [string, Buffer, RegExp][] = [
    ['a line', png(50_000_000, 1, 16, 6, false), /side of at most 65535/],
    ['a thread', png(60, 65_000, 8, 2, false), /1000 times/],
    [
      'wide',
      png(65_000, 760, 16, 6, false),
      /4 channels of 16 bits\) takes up to \d+ MiB .* 512 MiB .*--decode-memory/,
    ],
    ['Adam7', png(7000, 7000, 16, 6, true), /4 channels of 16 bits, interlaced\) takes up to \d+ MiB/],
    ['scans', scans, /4000 x 3000 pixels, stored in 410 scans, takes up to \d\.\d s to decode; at most 2 s/],
    ['AVIF', wideAvif, /AVIF .* takes up to/],
    ['pixels', png(10_000, 5001, 8, 2, false), /--max-image-pixels/],
  ]
  for (const [name, bytes, message] of cases)
    t.match(await refusalOf(bytes), { code: 'image_too_large', status: 413, message }, name)
})

t.test('ordinary photographs of 12 to 50 megapixels are accepted', async (t) => {
  const common = {
    width: 8160,
    height: 6120,
    bits: 8,
    depth: 1,
    alpha: false,
    profileBytes: 0,
    plain: true,
  } as const
  const pixels = common.width * common.height
  const jpeg = {
    type: 'jpeg',
    channels: 3,
    samples: 1.5 * pixels,
    arithmetic: false,
    usual: true,
    scanStart: 600,
    corrections: [],
  } as const
  const accepted: [string, ImageHeader][] = [
    [
      'JPEG',
      {
        ...common,
        ...jpeg,
        progressive: false,
        scans: 1,
        scannedSamples: 1.5 * pixels,
        refinedCoefficients: 0,
        bytes: 15_000_000,
      },
    ],
    [
      'progressive JPEG',
      {
        ...common,
        ...jpeg,
        progressive: true,
        scans: 10,
        scannedSamples: 7 * pixels,
        refinedCoefficients: 3 * pixels,
        bytes: 12_000_000,
      },
    ],
    [
      'PNG',
      {
        ...common,
        type: 'png',
        channels: 3,
        interlaced: false,
        palette: false,
        textBytes: 1000,
        bytes: 16_000_000,
      },
    ],
    [
      'WebP',
      {
        ...common,
        type: 'webp',
        channels: 3,
        lossless: false,
        animated: false,
        frames: 1,
        bytes: 6_000_000,
      },
    ],
    [
      'AVIF of 24 megapixels',
      {
        ...common,
        type: 'avif',
        width: 6000,
        height: 4000,
        channels: 3,
        tiles: 1,
        codedPixels: 24e6,
        codedSamples: 36e6,
        codedBytes: 1_500_000,
        corrections: [],
        bytes: 1_500_000,
      },
    ],
  ]
  for (const [name, header] of accepted) {
    const cost = decodeCost(header, servedInput)
    t.doesNotThrow(
      () => {
        checkSize(header, servedLimits)
        checkCost(header, cost, servedLimits)
      },
      `${name}: ${JSON.stringify(cost)}`,
    )
  }
})

t.test('the memory that one image may take is that of the option', async (t) => {
  const image = png(4000, 3000, 8, 6, true)
  t.equal(await refusalOf(image), null)
  t.match(await refusalOf(image, { ...servedLimits, memory: 64 * 2 ** 20 }), {
    code: 'image_too_large',
    message: /at most 64 MiB are given \(--decode-memory\)/,
  })
})
