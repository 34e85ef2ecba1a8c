/** Every supported kind of image gives the pixels that PIL gives (fixtures/make_images.py). */
import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import type { InputSpec } from '../src/manifest/manifest.js'
import { decodeImage, sniffImage } from '../src/image/decode.js'
import { compare, fixture, input } from './images.js'
import { drawPng } from './png.js'

const limits = { maxPixels: 16_000_000 }

async function difference(name: string, drawing: string): Promise<{ mean: number; max: number }> {
  const golden = await sharp(fixture(`${drawing}.golden.png`))
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer()
  return compare(await decodeImage(fixture(name), input, limits), golden)
}

t.test('lossless files match PIL in every form and size', async (t) => {
  const drawings = {
    colour: [
      'colour.png',
      'colour.tiff',
      'colour-big.tiff',
      'colour-16bit.png',
      'colour-16bit.tiff',
      'colour-alpha.png',
      'colour-alpha.tiff',
      'colour-alpha.webp',
      'colour-alpha-16bit.png',
      'animated.png',
      'animated.tiff',
      'exif-6.png',
      'exif-6.tiff',
    ],
    grey: ['grey.png', 'grey.tiff', 'grey.gif', 'grey-alpha.png', 'grey-16bit.png', 'grey-16bit.tiff'],
    bilevel: ['bilevel.png'],
  }
  for (const [drawing, names] of Object.entries(drawings)) {
    for (const name of names) {
      const { mean, max } = await difference(name, drawing)
      t.ok(mean <= 0.1 && max <= 3, `${name}: mean ${mean}, max ${max}`)
    }
  }
  for (const size of ['7x5', '40x30', '72x72', '75x131', '81x160', '300x211', '400x20']) {
    const { mean, max } = await difference(`size-${size}.png`, `size-${size}`)
    t.ok(mean <= 0.1 && max <= 2, `${size}: mean ${mean}, max ${max}`)
  }
})

t.test('lossy, palette and CMYK files come close', async (t) => {
  const most: Record<string, number> = {
    'colour.jpg': 2,
    'colour-progressive.jpg': 2,
    'colour.webp': 4,
    'colour.avif': 3,
    'colour-alpha.avif': 3,
    'colour.gif': 1,
    'colour-transparent.gif': 1,
    'colour-palette.png': 1,
    'colour-palette.tiff': 1,
    'animated.gif': 1,
    'animated.webp': 4,
    'exif-6.webp': 4,
    'exif-6.avif': 3,
    // Converted through the CMYK profile, where PIL only subtracts: so saturated colours are paler.
    'cmyk.jpg': 20,
    'cmyk.tiff': 20,
  }
  for (const [name, bound] of Object.entries(most)) {
    const { mean } = await difference(name, 'colour')
    t.ok(mean <= bound, `${name}: mean ${mean}`)
  }
  for (const name of ['grey.jpg', 'grey.webp', 'grey.avif']) {
    const { mean } = await difference(name, 'grey')
    t.ok(mean <= 1, `${name}: mean ${mean}`)
  }
})

t.test('each EXIF orientation stands upright', async (t) => {
  for (let orientation = 1; orientation <= 8; orientation++) {
    const { mean } = await difference(`exif-${orientation}.jpg`, 'colour')
    t.ok(mean <= 5, `orientation ${orientation}: mean ${mean}`)
  }
})

t.test('a large JPEG is decoded at reduced scale and still comes close', async (t) => {
  const { mean } = await difference('large.jpg', 'large')
  t.ok(mean <= 2, `mean ${mean}`)
})

t.test('an embedded profile is converted to sRGB', async (t) => {
  const wanted = await decodeImage(fixture('colour.png'), input, limits)
  const wide = await sharp(fixture('colour.png')).withIccProfile('p3').png().toBuffer()
  const untagged = await sharp(wide, { ignoreIcc: true }).png().toBuffer()
  t.ok(compare(await decodeImage(wide, input, limits), wanted).mean < 1.5)
  t.ok(compare(await decodeImage(untagged, input, limits), wanted).mean > 3, 'the profile matters here')
})

t.test('the crop follows the input specification', async (t) => {
  const wide: InputSpec = { ...input, height: 20, width: 48, resize: 50 }
  const pixels = await decodeImage(fixture('colour.png'), wide, limits)
  const whole = await decodeImage(
    fixture('colour.png'),
    { ...input, height: 50, width: 64, resize: 50 },
    limits,
  )
  t.equal(pixels.length, 20 * 48 * 3)
  const row = (y: number) => whole.subarray((y * 64 + 8) * 3, (y * 64 + 56) * 3)
  for (let y = 0; y < 20; y++) t.same(pixels.subarray(y * 48 * 3, (y + 1) * 48 * 3), row(y + 15))
})

t.test('each kernel is taken by its name', async (t) => {
  const results = new Set<string>()
  for (const kernel of ['nearest', 'linear', 'cubic', 'mitchell', 'lanczos2', 'lanczos3'] as const) {
    const pixels = await decodeImage(fixture('size-300x211.png'), { ...input, kernel }, limits)
    results.add(Buffer.from(pixels).toString('base64'))
  }
  t.equal(results.size, 6)
})

t.test('a very narrow image costs no more than its crop', async (t) => {
  const thread = drawPng(
    65,
    65_000,
    deflateSync(Buffer.alloc(65_000 * 66, Buffer.from([0, ...Array(65).fill(128)]))),
  )
  const pixels = await decodeImage(thread, input, limits)
  t.ok(pixels.every((value) => value === 128))
  t.equal(pixels.length, 64 * 64 * 3)
})

t.test('the type is read from the bytes', async (t) => {
  const types = { jpg: 'jpeg', png: 'png', webp: 'webp', gif: 'gif', avif: 'avif', tiff: 'tiff' } as const
  for (const [ending, type] of Object.entries(types)) t.equal(sniffImage(fixture(`colour.${ending}`)), type)
  t.equal(sniffImage(fixture('colour-big.tiff')), 'tiff')
  t.equal(sniffImage(new Uint8Array()), null)
  t.equal(sniffImage(fixture('colour.png').subarray(0, 7)), null)
  const heic = Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1')
  t.equal(sniffImage(heic), null)
  const avifInHeif = Buffer.from('\0\0\0\x18ftypmif1\0\0\0\0mif1avif', 'latin1')
  t.equal(sniffImage(avifInHeif), 'avif')
})
