/**
 * What is no image, is broken or too large gets a clear error, never a hang, a crash or a half-grey answer: by libvips
 * alone, and with `FACET_RUNTIME=native` by the add-on's decoder before it.
 */
import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import type { FacetError } from '../src/errors.js'
import { decodeImage } from '../src/image/decode.js'
import { decodeJpeg, fixture, input, refusal } from './images.js'
import { drawPng } from './png.js'
import { Random } from './random.js'

const limits = { maxPixels: 16_000_000 }

function failureOf(bytes: Uint8Array, own = limits): Promise<FacetError | null> {
  return refusal(decodeImage(bytes, input, { ...own, decodeJpeg }))
}

t.test('formats that are not supported are named', async (t) => {
  const attempts: [RegExp, string][] = [
    [/SVG/, '<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    [/SVG/, '  <svg width="9" height="9"></svg>'],
    [/PDF/, '%PDF-1.7\n'],
    [/BMP/, 'BM\x46\0\0\0\0\0'],
    [/HEIC/, '\0\0\0\x18ftypheic\0\0\0\0mif1heic'],
    [/JPEG XL/, '\0\0\0\x0cJXL \r\n\x87\n'],
    [/JPEG 2000/, '\0\0\0\x0cjP  \r\n\x87\n'],
    [/not a known image format/, 'hello, world'],
    [/JSON text, which is read with Content-Type: application\/json/, '{"images": []}'],
    [/not a known image format/, '\0'],
  ]
  for (const [pattern, text] of attempts) {
    const error = await failureOf(Buffer.from(text, 'latin1'))
    t.equal(error?.code, 'unsupported_media_type', text.slice(0, 12))
    t.match(error?.message, pattern)
    t.match(error?.message, 'JPEG, PNG, WebP, GIF, AVIF and TIFF')
  }
})

t.test('libvips itself opens none of the formats that are not supported', async (t) => {
  const svg = Buffer.from(
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>',
  )
  await t.rejects(sharp(svg).metadata())
})

t.test('an empty image', async (t) => {
  t.match(await failureOf(new Uint8Array()), { code: 'undecodable_image', message: 'The image is empty.' })
})

t.test('a hundred megapixels are refused by the header, whatever the data', async (t) => {
  const honest = drawPng(10_000, 10_000, deflateSync(Buffer.alloc(10_001 * 10_000)))
  t.match(await failureOf(honest), {
    code: 'image_too_large',
    message: /10000 x 10000 pixels; at most 16000000/,
  })
  t.equal((await failureOf(drawPng(10_000, 10_000, Buffer.from('none'))))?.code, 'image_too_large')

  const size = '\x20\x4e\x20\x4e' // 20000 x 20000
  const gif = Buffer.from(`GIF89a${size}\x80\0\0\0\0\0abc,\0\0\0\0${size}\0\x02\x02\x4c\x01\0;`, 'latin1')
  t.equal((await failureOf(gif))?.code, 'image_too_large')

  const jpeg = Buffer.from(fixture('colour.jpg'))
  const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]))
  jpeg.writeUInt16BE(60_000, frame + 5)
  jpeg.writeUInt16BE(60_000, frame + 7)
  t.equal((await failureOf(jpeg))?.code, 'image_too_large')

  t.equal(await failureOf(fixture('colour.png'), { maxPixels: 96 * 75 }), null)
  t.equal((await failureOf(fixture('colour.png'), { maxPixels: 96 * 75 - 1 }))?.code, 'image_too_large')
})

t.test('truncated at any place, below what the crop shows too', async (t) => {
  const names = [
    'colour.jpg',
    'colour-progressive.jpg',
    'colour.png',
    'colour-alpha.png',
    'colour.webp',
    'colour-alpha.webp',
    'colour.gif',
    'colour.avif',
    'colour.tiff',
    'colour-palette.tiff',
    'cmyk.jpg',
    'large.jpg',
  ]
  const files: [string, Buffer][] = names.map((name) => [name, fixture(name)])
  const tall = sharp(new Random(3).bytes(72 * 400 * 3), { raw: { width: 72, height: 400, channels: 3 } })
  for (const format of ['jpeg', 'png', 'webp', 'gif', 'avif', 'tiff'] as const)
    files.push([`tall ${format}`, await tall.clone().toFormat(format, { effort: 1 }).toBuffer()])
  for (const [name, bytes] of files) {
    t.equal(await failureOf(bytes), null, name)
    const step = Math.max(1, Math.floor(bytes.length / 40))
    const lengths = [bytes.length - 2, bytes.length - 1]
    for (let length = 1; length < bytes.length - 2; length += step) lengths.push(length)
    const codes = await Promise.all(
      lengths.map(async (length) => (await failureOf(bytes.subarray(0, length)))?.code),
    )
    const refused = (i: number) =>
      codes[i] === 'undecodable_image' || (lengths[i]! < 16 && codes[i] === 'unsupported_media_type')
    const accepted = lengths.filter((_, i) => !refused(i))
    // The trailer of a GIF says no more than the end of its first frame has said.
    t.same(
      accepted,
      /gif$/.test(name) ? [bytes.length - 1] : [],
      `${name}, ${bytes.length} bytes, every ${step}`,
    )
  }
})

t.test('damaged data', async (t) => {
  for (const name of ['colour.jpg', 'colour.png', 'colour.avif', 'colour.tiff']) {
    const bytes = Buffer.from(fixture(name))
    const middle = bytes.length >> 1
    bytes.fill(0xff, middle, middle + 40)
    const error = await failureOf(bytes)
    t.match(error, { code: 'undecodable_image', status: 422, message: /damaged/ }, name)
    t.notMatch(error?.message, /\/|node_modules/, 'no path of the server')
  }
})

t.test('an image whose client has left is not decoded', async (t) => {
  const aborted = { ...limits, signal: AbortSignal.abort() }
  t.equal((await failureOf(fixture('colour.png'), aborted))?.code, 'client_closed')
})
