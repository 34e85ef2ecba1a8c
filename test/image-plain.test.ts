/**
 * Plain JPEGs and PNGs take a faster path, small ones without libvips' resizing: the pixels are equal to the
 * bit.
 */
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { finish } from '../src/concurrency/turns.js'
import { decodeImage } from '../src/image/decode.js'
import { readHeader } from '../src/image/headers/header.js'
import type { ImageType } from '../src/image/headers/sniff.js'
import { fixture, input } from './images.js'
import { Random } from './random.js'

const limits = { maxPixels: 1_000_000 }
const draw = new Random(7)

/** Whether the header proves that the image is plain. */
function isPlain(bytes: Uint8Array, type: ImageType): boolean {
  return finish(readHeader(bytes, type)).plain
}

function noise(width: number, height: number): Sharp {
  return sharp(draw.bytes(width * height * 3), { raw: { width, height, channels: 3 } })
}

/** The same pixels as a PNG, which is plain, and as a TIFF, which libvips enlarges. */
async function bothWays(image: Sharp): Promise<[Buffer, Buffer]> {
  const png = await image.clone().png().toBuffer()
  return [png, await sharp(png).keepIccProfile().tiff({ compression: 'none' }).toBuffer()]
}

/** Inserts an XMP segment behind the first marker, so that the file is not plain any more. */
function withXmp(jpeg: Buffer): Buffer {
  const xmp = Buffer.from('\xff\xe1\0\x20http://ns.adobe.com/xap/1.0/\0 ', 'latin1')
  return Buffer.concat([jpeg.subarray(0, 2), xmp, jpeg.subarray(2)])
}

t.test('small images are enlarged to the pixels of libvips', async (t) => {
  const specs = [input, { ...input, height: 96, width: 96, resize: 110 }, { ...input, width: 20, resize: 64 }]
  const sizes: [number, number][] = [
    [64, 64],
    [28, 28],
    [32, 32],
    [7, 5],
    [1, 1],
    [71, 73],
    [128, 128],
  ]
  while (sizes.length < 60) sizes.push([1 + draw.below(100), 1 + draw.below(100)])
  for (const [width, height] of sizes) {
    const [png, tiff] = await bothWays(noise(width, height))
    t.ok(isPlain(png, 'png'), 'is plain')
    for (const spec of specs) {
      const same = Buffer.from(await decodeImage(tiff, spec, limits)).equals(
        await decodeImage(png, spec, limits),
      )
      t.ok(same, `${width}x${height} to ${spec.resize}`)
    }
  }
})

t.test('grey images, palettes and images with a profile are enlarged to the pixels of libvips', async (t) => {
  const grey = noise(40, 50).toColourspace('b-w')
  const [png, tiff] = await bothWays(grey)
  t.equal((await sharp(png).metadata()).channels, 1)
  t.same(await decodeImage(png, input, limits), Uint8Array.from(await decodeImage(tiff, input, limits)))
  const palette = await noise(40, 50).png({ palette: true, colours: 16 }).toBuffer()
  const spread = await sharp(palette).tiff({ compression: 'none' }).toBuffer()
  t.equal((await sharp(palette).metadata()).isPalette, true)
  t.same(await decodeImage(palette, input, limits), Uint8Array.from(await decodeImage(spread, input, limits)))
  const [wide, wideTiff] = await bothWays(noise(40, 50).withIccProfile('p3'))
  t.equal((await sharp(wideTiff).metadata()).hasProfile, true)
  t.same(await decodeImage(wide, input, limits), Uint8Array.from(await decodeImage(wideTiff, input, limits)))
})

t.test('a JPEG gives the same pixels whichever way it takes', async (t) => {
  for (const [width, height] of [
    [30, 40],
    [64, 64],
    [72, 72],
    [150, 90],
    [333, 250],
    [700, 900],
  ] as const) {
    for (const progressive of [false, true]) {
      const jpeg = await noise(width, height).blur(2).jpeg({ progressive }).toBuffer()
      t.match(finish(readHeader(jpeg, 'jpeg')), { width, height, plain: true })
      t.notOk(isPlain(withXmp(jpeg), 'jpeg'))
      const same = Buffer.from(await decodeImage(jpeg, input, limits)).equals(
        await decodeImage(withXmp(jpeg), input, limits),
      )
      t.ok(same, `${width}x${height}${progressive ? ', progressive' : ''}`)
    }
  }
})

t.test('images that may be turned, transparent or deeper than 8 bits are left to libvips', async (t) => {
  for (const name of [
    'exif-6.jpg',
    'exif-6.png',
    'cmyk.jpg',
    'colour-16bit.png',
    'colour-alpha.png',
    'grey-alpha.png',
    'animated.png',
  ]) {
    t.notOk(isPlain(fixture(name), name.endsWith('png') ? 'png' : 'jpeg'), name)
  }
  t.notOk(isPlain(fixture('colour.webp'), 'webp'))
})

t.test(
  'an image of very many parts is left to libvips: walking through them here would delay every client',
  async (t) => {
    const png = fixture('colour.png')
    const empty = Buffer.from([0, 0, 0, 0, ...Buffer.from('IDAT'), 0x35, 0xaf, 0x06, 0x1e])
    const withEmpty = (chunks: number) =>
      Buffer.concat([png.subarray(0, 33), Buffer.alloc(12 * chunks, empty), png.subarray(33)])
    t.ok(isPlain(withEmpty(3), 'png'))
    t.notOk(isPlain(withEmpty(10_000), 'png'))
    const jpeg = fixture('colour.jpg')
    const comment = Buffer.from([0xff, 0xfe, 0, 2])
    const withComments = (count: number) =>
      Buffer.concat([jpeg.subarray(0, 2), Buffer.alloc(4 * count, comment), jpeg.subarray(2)])
    t.ok(isPlain(withComments(3), 'jpeg'))
    t.notOk(isPlain(withComments(10_000), 'jpeg'))
  },
)
