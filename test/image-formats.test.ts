/**
 * Each way in which a format may store a picture gives the right pixels, or a refusal that names what was found: what
 * docs/images.md tells users. The same files are read by training (training/tests/test_decode.py), and compared with
 * the pixels that are kept here, `fixtures/served-pixels`.
 *
 * Fixtures: fixtures/make_images.py and fixtures/make_formats.py. FACET_WRITE_SERVED=1 writes the pixels anew.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import sharp from 'sharp'
import t from 'tap'
import type { FacetError } from '../src/errors.js'
import { decodeImage } from '../src/image/decode.js'
import { compare, fixture, fixtures, input, refusal } from './images.js'

const limits = { maxPixels: 1_000_000 }
const filesOf = (folder: string) =>
  readdirSync(new URL(folder, fixtures)).filter((name) => !name.includes('golden'))
const pixelsOf = (name: string) => decodeImage(fixture(name), input, limits)

async function drawn(name: string): Promise<Buffer> {
  return sharp(readFileSync(new URL(name, fixtures)))
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer()
}

async function refusalOf(bytes: Uint8Array): Promise<FacetError> {
  const error = await refusal(decodeImage(bytes, input, limits))
  if (error === null) throw new Error('It was read.')
  return error
}

t.test('all files of these formats give the pixels that are kept for training to compare', async (t) => {
  const folder = new URL('served-pixels/', fixtures)
  mkdirSync(folder, { recursive: true })
  const names = filesOf('images')
  for (const name of names) {
    const pixels = await pixelsOf(name)
    if (process.env.FACET_WRITE_SERVED === '1') {
      const raw = { width: 64, height: 64, channels: 3 } as const
      writeFileSync(
        new URL(`${name}.webp`, folder),
        await sharp(pixels, { raw }).webp({ lossless: true, effort: 6 }).toBuffer(),
      )
    }
    const { mean, max } = compare(pixels, await drawn(`served-pixels/${name}.webp`))
    // Vector instructions round in their own ways.
    t.ok(mean <= 0.1 && max <= 2, `${name}: mean ${mean}, max ${max}`)
  }
  t.same(filesOf('served-pixels').sort(), names.map((name) => `${name}.webp`).sort())
})

/** Files that hold the drawing, or its grey, without loss but for the depth that they store. */
async function hold(t: Tap, drawing: string, mean: number, names: string) {
  const wanted = await drawn(`images/${drawing}.golden.png`)
  for (const name of names.split(' ')) {
    const found = compare(await pixelsOf(name), wanted)
    t.ok(found.mean <= mean, `${name}: mean ${found.mean}`)
  }
}
type Tap = { ok: (found: unknown, message: string) => unknown }

t.test('alpha is dropped and not blended', async (t) => {
  await hold(
    t,
    'colour',
    0.1,
    'colour-alpha.png colour-alpha-16bit.png transparent-colour.png lossless-alpha.webp',
  )
  await hold(t, 'colour', 0.1, 'colour-alpha.tiff unspecified-alpha.tiff deep-alpha.tiff')
  await hold(
    t,
    'grey',
    0.1,
    'grey-alpha.png transparent-grey.png transparent-grey-16bit.png deep-grey-alpha.png',
  )
  await hold(t, 'grey', 0.1, 'grey-alpha.tiff deep-grey-alpha.tiff white-is-0-alpha.tiff')
  await hold(t, 'colour', 3.5, 'lossy-alpha.webp colour-alpha.avif')
  t.same(await pixelsOf('palette-alpha.png'), await pixelsOf('palette-4bit.png'), 'a palette with alpha')
})

t.test('colours that a TIFF has multiplied by alpha are divided by it', async (t) => {
  await hold(t, 'colour', 1.5, 'premultiplied-alpha.tiff')
})

t.test('what a GIF leaves transparent or free is black', async (t) => {
  const [whole, transparent] = [await pixelsOf('colour.gif'), await pixelsOf('transparent.gif')]
  const black = transparent.filter((value) => value === 0).length
  t.ok(black > 1000 && compare(transparent, whole).mean > 10, `${black} black samples`)
  const offset = await pixelsOf('offset.gif')
  t.ok(
    offset.subarray(0, 64 * 3 * 8).every((value) => value === 0),
    'above the frame',
  )
  t.ok(
    offset.subarray(64 * 3 * 30, 64 * 3 * 31).some((value) => value > 0),
    'in the frame',
  )
  t.ok(compare(offset, await pixelsOf('offset-transparent.gif')).mean > 0.5)
})

t.test('a frame that is larger than the screen of its GIF makes the screen larger', async (t) => {
  await hold(t, 'colour', 2, 'larger-than-screen.gif')
})

t.test('an animation is its first frame, a document its first page', async (t) => {
  await hold(t, 'colour', 0.1, 'animated.png animated-apart.png animated.tiff')
  await hold(t, 'colour', 4, 'animated.gif disposal.gif animated.webp sequence.avif')
})

t.test('16 bits are scaled to 8, and so are 1, 2 and 4', async (t) => {
  await hold(t, 'colour', 0.1, 'colour-16bit.png deep.png colour-16bit.tiff deep.tiff deep-big-endian.tiff')
  await hold(
    t,
    'grey',
    0.2,
    'grey-16bit.png deep-grey.png grey-16bit.tiff deep-grey.tiff deep-grey-big-endian.tiff',
  )
  await hold(t, 'grey', 6, 'grey-4bit.png 4-bit.tiff')
  await hold(t, 'grey', 26, 'grey-2bit.png 2-bit.tiff')
  t.same(await pixelsOf('1-bit.tiff'), await pixelsOf('1-bit-white-is-0.tiff'), 'black and white')
  await hold(t, 'colour', 1, '10-bit.avif 12-bit.avif')
})

t.test('a TIFF may store its samples in any order', async (t) => {
  await hold(t, 'colour', 0.1, 'planes.tiff deep-planes.tiff tiles.tiff big.tiff colour-big.tiff')
  await hold(t, 'grey', 0.2, 'white-is-0.tiff white-is-0-16bit.tiff')
})

t.test('palettes become RGB', async (t) => {
  await hold(
    t,
    'colour',
    5,
    'colour-palette.png colour-palette.tiff colour.gif palette-4bit.png palette-4bit.tiff',
  )
})

t.test('interlacing changes nothing', async (t) => {
  await hold(t, 'colour', 0.1, 'interlaced.png')
  await hold(t, 'colour', 2, 'interlaced.gif')
})

t.test('a JPEG may be stored in all of these ways', async (t) => {
  const names =
    'arithmetic.jpg restart.jpg separate-scans.jpg colour-progressive.jpg fill-bytes.jpg trailing-bytes.jpg'
  await hold(t, 'colour', 2, `${names} rgb.jpg`)
  await hold(t, 'colour', 4, 'subsampled.jpg')
})

t.test('bytes without a meaning that libjpeg warns of do not refuse a JPEG', async (t) => {
  await hold(t, 'colour', 2, 'sos-bytes.jpg separate-scans-sos-bytes.jpg jfif-version.jpg')
  t.same(await pixelsOf('separate-scans-sos-bytes.jpg'), await pixelsOf('separate-scans.jpg'))
  t.same(await pixelsOf('sos-bytes.jpg'), await pixelsOf('fill-bytes.jpg'))
  const before = fixture('sos-bytes.jpg')
  const given = Buffer.from(before)
  await decodeImage(given, input, limits)
  t.same(given, before, 'the bytes themselves stay as they were')
})

t.test('such bytes do not make damage readable', async (t) => {
  const bytes = fixture('sos-bytes.jpg')
  t.equal((await refusalOf(bytes.subarray(0, -400))).code, 'undecodable_image', 'truncated')
  const damaged = Buffer.from(bytes)
  const scan = damaged.indexOf(Buffer.from([0xff, 0xda]))
  damaged.fill(0xff, scan + 400, scan + 440)
  t.equal((await refusalOf(damaged)).code, 'undecodable_image', 'damaged')
  // In a progressive JPEG the same bytes have a meaning.
  const progressive = Buffer.from(fixture('colour-progressive.jpg'))
  const first = progressive.indexOf(Buffer.from([0xff, 0xda]))
  progressive[first + 5 + 2 * progressive[first + 4]! + 1] = 63
  t.equal((await refusalOf(progressive)).code, 'undecodable_image', 'progressive')
})

t.test('CMYK is converted by its own profile, otherwise by a common one', async (t) => {
  await hold(t, 'colour', 20, 'cmyk.jpg cmyk.tiff cmyk-16bit.tiff cmyk-alpha.tiff')
  t.ok(compare(await pixelsOf('cmyk-profile.jpg'), await pixelsOf('cmyk.jpg')).mean > 5, 'JPEG')
  t.ok(compare(await pixelsOf('cmyk-profile.tiff'), await pixelsOf('cmyk.tiff')).mean > 5, 'TIFF')
  t.ok(
    compare(await pixelsOf('cmyk-profile.tiff'), await pixelsOf('cmyk-profile.jpg')).mean < 3,
    'one profile',
  )
})

t.test('colour profiles are converted to sRGB in every format, 16 bits too', async (t) => {
  const wanted = await pixelsOf('rgb-profile.png')
  t.ok(compare(wanted, await pixelsOf('colour.png')).mean > 10, 'it matters')
  for (const [name, mean] of [
    ['deep-profile.png', 1],
    ['rgb-profile.tiff', 0.1],
    ['rgb-profile.jpg', 3],
    ['rgb-profile.webp', 5],
    ['rgb-profile.avif', 3],
  ] as const) {
    const found = compare(await pixelsOf(name), wanted)
    t.ok(found.mean <= mean, `${name}: mean ${found.mean}`)
  }
  t.ok(compare(await pixelsOf('palette-profile.png'), wanted).mean < 7, 'a palette')
  t.ok(compare(await pixelsOf('grey-profile.jpg'), await pixelsOf('grey.jpg')).mean > 10, 'grey')
})

t.test('a profile that is broken or does not fit the image is ignored, and so is gamma', async (t) => {
  await hold(t, 'colour', 2, 'broken-profile.jpg')
  await hold(t, 'grey', 1, 'wrong-profile.jpg')
  t.same(await pixelsOf('gamma.png'), await pixelsOf('colour.png'))
})

t.test('a profile with a list of steps, and one of more than 4 MiB, is refused by name', async (t) => {
  for (const type of ['jpg', 'png', 'webp', 'avif', 'tiff']) {
    const error = await refusalOf(fixture(`steps-profile.${type}`, 'refused-images'))
    const message = /has a colour profile with a list of steps \(multiProcessElements, tag D2B0\)/
    t.match(error, { code: 'undecodable_image', status: 422, message }, type)
  }
  const large = await refusalOf(fixture('large-profile.png', 'refused-images'))
  t.match(large, {
    code: 'undecodable_image',
    message: /colour profile of 52\d{5} bytes; at most 4194304 are read. Convert it to sRGB/,
  })
})

t.test('orientation is that of EXIF, or of an AVIF itself; not that of XMP', async (t) => {
  await hold(
    t,
    'colour',
    5,
    'exif-1.jpg exif-2.jpg exif-3.jpg exif-4.jpg exif-5.jpg exif-6.jpg exif-7.jpg exif-8.jpg',
  )
  await hold(t, 'colour', 5, 'exif-6.png exif-6.tiff exif-6.webp exif-6.avif irot.avif imir.avif')
  await hold(t, 'colour', 2, 'exif-invalid.jpg xmp-orientation.jpg')
})

t.test('what follows the end of an image is ignored', async (t) => {
  await hold(t, 'colour', 2, 'trailing-bytes.jpg second-image.jpg')
  await hold(t, 'colour', 0.1, 'trailing-bytes.png')
})

t.test('kinds of TIFF that are not read are named, and what is read', async (t) => {
  const found: Record<string, RegExp> = {
    float: /floating-point numbers of 32 bits \(grey, 1 band\)/,
    'float-rgb': /floating-point numbers of 32 bits \(RGB, 3 bands\)/,
    'half-float': /floating-point numbers of 16 bits/,
    double: /floating-point numbers of 64 bits/,
    complex: /complex numbers of 64 bits/,
    'signed-8bit': /signed integers of 8 bits/,
    'signed-16bit': /signed integers of 16 bits/,
    untyped: /values of no stated type of 8 bits/,
    '32-bit': /unsigned integers of 32 bits/,
    '12-bit': /unsigned integers of 12 bits/,
    '4-bit-rgb': /unsigned integers of 4 bits \(RGB, 3 bands\)/,
    '2-colours': /RGB, 2 bands/,
    '5-samples': /RGB, 5 bands, 2 of them extra/,
    '3-greys': /grey, 3 bands/,
    lab: /CIE Lab/,
    mask: /mask/,
    sensor: /colour filter array/,
  }
  for (const [name, pattern] of Object.entries(found)) {
    const error = await refusalOf(fixture(`${name}.tiff`, 'refused-images'))
    t.match(error, { code: 'undecodable_image', status: 422, message: pattern }, name)
    const read =
      'unsigned integers of 8 or 16 bits are read, with 1 (grey) or 3 (RGB) bands of colour, with or without alpha'
    t.match(error.message, read)
  }
  const others: Record<string, RegExp> = {
    ycbcr: /YCbCr colours, which are read only where they are compressed as JPEG/,
    zstd: /Zstandard.*LZW/,
    'planes-in-tiles': /bands apart and in tiles/,
  }
  for (const [name, pattern] of Object.entries(others))
    t.match((await refusalOf(fixture(`${name}.tiff`, 'refused-images'))).message, pattern, name)
})

t.test('kinds of JPEG that are not read are named', async (t) => {
  const found: Record<string, RegExp> = {
    lossless: /lossless \(SOF3\)/,
    hierarchical: /hierarchical \(SOF5\)/,
    '12-bit': /12 bits a sample; 8 are read/,
    'no-height': /no height in its header/,
  }
  for (const [name, pattern] of Object.entries(found)) {
    const error = await refusalOf(fixture(`${name}.jpg`, 'refused-images'))
    t.match(error, { code: 'undecodable_image', status: 422, message: pattern }, name)
  }
})

t.test(
  'a file of any format that is truncated is refused, below the crop too, and where nothing but its end is missing',
  async (t) => {
    const names = filesOf('refused-images').filter((name) => /^(truncated|damaged|no-end)/.test(name))
    t.equal(names.length, 14)
    for (const name of names) {
      const error = await refusalOf(fixture(name, 'refused-images'))
      t.match(error, { code: 'undecodable_image', message: /truncated or damaged/ }, name)
    }
  },
)

t.test('every title in the page for users is one of these tests', async (t) => {
  const page = readFileSync(new URL('../docs/images.md', import.meta.url), 'utf8')
  const own = readFileSync('test/image-formats.test.ts', 'utf8')
  const titles = [...page.matchAll(/"([^"]{15,})"/g)].map(([, title]) => title!.replace(/\s+/g, ' '))
  t.ok(titles.length > 20)
  for (const title of titles) t.match(own, `'${title}'`, title)
})
