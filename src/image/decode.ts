/**
 * An encoded image to the trunk's input pixels: decode, turn upright, resize, crop; RGB, one byte a channel.
 *
 * The same preprocessing as in training, which is PIL's `convert('RGB')`, `resize` and a centre crop:
 * alpha is dropped, not blended; grey and palettes become RGB; 16 bits are scaled to 8. Beyond PIL,
 * orientation tags are obeyed and colour profiles (CMYK's too) are converted to sRGB.
 *
 * The work happens in libvips on libuv's threads, but for small PNGs. What reaches it is decided here: six
 * formats by their first bytes, every other loader of libvips is switched off. Knows no HTTP and no model.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import sharp, { type Metadata, type Sharp, type SharpOptions } from 'sharp'
import { FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'
import { enlarge } from './enlarge.js'
import { type Geometry, geometryOf, type Size } from './geometry.js'
import { plainHeader } from './header.js'
import { decodeSmallPng } from './small-png.js'

export type ImageType = 'jpeg' | 'png' | 'webp' | 'gif' | 'avif' | 'tiff'

export interface ImageLimits {
  /** Most pixels (width x height) of an image as it is stored. */
  maxPixels: number
  /** Aborted when the client left: the image is not decoded then. */
  signal?: AbortSignal
}

// One libvips thread an image: parallelism comes from many images. Its cache would keep clients' pixels.
sharp.concurrency(1)
sharp.cache(false)
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff'].map((name) => `VipsForeignLoad${name}`),
})

/** Seconds of decoding after which an image is given up. */
const patience = 10

/** Formats people send that we do not read, so that the refusal can name them: what stands at which byte. */
const others: readonly [name: string, at: number, magic: string][] = [
  ['HEIC', 4, 'ftyphe'],
  ['HEIF', 4, 'ftypm'],
  ['JPEG XL', 4, 'JXL '],
  ['JPEG XL', 0, '\xff\x0a'],
  ['JPEG 2000', 4, 'jP  '],
  ['PDF', 0, '%PDF-'],
  ['BMP', 0, 'BM'],
  ['PSD', 0, '8BPS'],
]

/**
 * The image's format by its first bytes, whatever its name or content type say; null for all else.
 * The bytes may still be broken behind their signature.
 */
export function sniffImage(bytes: Uint8Array): ImageType | null {
  const head = latin1(bytes, 64)
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg'
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png'
  if (/^RIFF....WEBP/s.test(head)) return 'webp'
  if (/^GIF8[79]a/.test(head)) return 'gif'
  // ISO base media: the box's size, `ftyp`, then brands of four letters, the second one a version.
  if (/^.{4}ftyp(.{4})*avi[fs]/s.test(head)) return 'avif'
  if (['II*\0', 'MM\0*', 'II+\0', 'MM\0+'].includes(head.slice(0, 4))) return 'tiff'
  return null
}

/**
 * Decodes one image to `[input.height, input.width, 3]` RGB bytes: the shorter side is resized to
 * `input.resize`, the longer one in proportion (rounded), the centre is cropped at
 * `floor((side - size) / 2)`. Of an animation the first frame counts, of a document the first page.
 *
 * JPEG and WebP are decoded at a reduced scale where they are at least twice as large as needed.
 *
 * @throws FacetError `unsupported_media_type` for other formats; `image_too_large` over `limits.maxPixels`,
 * found in the header, before any pixel is decoded; `undecodable_image` for empty, truncated or damaged
 * bytes; `client_closed` where `limits.signal` was aborted.
 */
export async function decodeImage(
  bytes: Uint8Array,
  input: InputSpec,
  limits: ImageLimits,
): Promise<Uint8Array> {
  if (bytes.byteLength === 0) throw new FacetError('undecodable_image', 'The image is empty.')
  const type = sniffImage(bytes)
  if (type === null) throw new FacetError('unsupported_media_type', refusal(bytes))
  stopIfGone(limits.signal)

  const plain = plainHeader(bytes, type)
  if (plain !== null) {
    checkPixels(plain, limits.maxPixels)
    return await plainPixels(bytes, type, plain, input, limits.maxPixels).catch(undecodable(type))
  }
  const header = await sharp(bytes, opening).metadata().catch(undecodable(type))
  checkHeader(header, type, limits.maxPixels)
  stopIfGone(limits.signal)

  let image = patient(bytes, opening).autoOrient()
  if (header.hasAlpha) image = await withoutAlpha(image).catch(undecodable(type))
  const geometry = geometryOf(header.autoOrient, input)
  return await trunkPixels(image, geometry, input).catch(undecodable(type))
}

/** `warning` also refuses damage inside a JPEG's data, where weaker levels answer with grey areas. */
const opening = { failOn: 'warning', limitInputPixels: false, animated: false } satisfies SharpOptions

/** Larger images, and larger answers, are enlarged off the event loop's thread. */
const MOST_ENLARGED = 128 * 128

/** Of an image that needs no turning and no blending. libvips checks the pixels against what we read, too. */
async function plainPixels(
  bytes: Uint8Array,
  type: ImageType,
  size: Size,
  input: InputSpec,
  maxPixels: number,
): Promise<Uint8Array> {
  const image = () => patient(bytes, { ...opening, limitInputPixels: maxPixels })
  const geometry = geometryOf(size, input)
  const most = Math.max(size.width * size.height, input.width * input.height)
  if (geometry.scale <= 1 || input.kernel !== 'linear' || most > MOST_ENLARGED)
    return trunkPixels(image(), geometry, input)
  let pixels: Uint8Array | null = null
  if (type === 'png') {
    // However many come at once, a turn of the event loop has no more of them than are decoded side by side.
    await nextTurn()
    pixels = decodeSmallPng(bytes, size)
  }
  pixels ??= await rgb(image()).toBuffer()
  if (pixels.length !== size.width * size.height * 3) throw new Error('unexpected size')
  return enlarge(pixels, size, geometry.resized, geometry.crop)
}

function patient(bytes: Uint8Array, options: SharpOptions): Sharp {
  return sharp(bytes, options).timeout({ seconds: patience })
}

/** libvips would weigh colours by alpha while it resizes; training saw them without. */
async function withoutAlpha(image: Sharp): Promise<Sharp> {
  const { data, info } = await rgb(image).toBuffer({ resolveWithObject: true })
  const { width, height, channels } = info
  return sharp(data, { raw: { width, height, channels }, limitInputPixels: false })
}

async function trunkPixels(
  image: Sharp,
  { scale, resized, crop }: Geometry,
  input: InputSpec,
): Promise<Uint8Array> {
  // libvips enlarges half an output pixel off centre. At twice the size its odd rows and columns are exact.
  const fine = scale > 1 ? 2 : 1
  image = image.resize(resized.width * fine, resized.height * fine, { fit: 'fill', kernel: input.kernel })
  image = image.extract({
    left: crop.left * fine,
    top: crop.top * fine,
    width: crop.width * fine,
    height: crop.height * fine,
  })
  const pixels = await rgb(image).toBuffer()
  if (pixels.length !== input.height * input.width * 3 * fine * fine) throw new Error('unexpected channels')
  return fine === 1 ? pixels : oddPixels(pixels, input.width, input.height)
}

/** Every second pixel of every second row of `[2 * height, 2 * width, 3]`, the odd ones. */
function oddPixels(pixels: Uint8Array, width: number, height: number): Uint8Array {
  const odd = new Uint8Array(height * width * 3)
  let to = 0
  for (let y = 0; y < height; y++) {
    let from = ((2 * y + 1) * 2 * width + 1) * 3
    for (let x = 0; x < width; x++, from += 6) {
      odd[to++] = pixels[from]!
      odd[to++] = pixels[from + 1]!
      odd[to++] = pixels[from + 2]!
    }
  }
  return odd
}

/** Three channels of 8 bits. */
function rgb(image: Sharp): Sharp {
  return image.removeAlpha().toColourspace('srgb').raw({ depth: 'uchar' })
}

function checkHeader(header: Metadata, type: ImageType, maxPixels: number): void {
  const { format, compression } = header
  if (format === 'heif' && compression !== 'av1') {
    throw new FacetError('unsupported_media_type', `The file is called AVIF and holds ${compression}.`)
  }
  if (format !== (type === 'avif' ? 'heif' : type)) {
    throw new FacetError('undecodable_image', `The file begins like ${name(type)} and is something else.`)
  }
  checkPixels(header, maxPixels)
}

function checkPixels({ width, height }: Size, maxPixels: number): void {
  if (width * height > maxPixels) {
    const message = `The image has ${width} x ${height} pixels; at most ${maxPixels} in all are accepted (--max-image-pixels).`
    throw new FacetError('image_too_large', message)
  }
}

function refusal(bytes: Uint8Array): string {
  const head = latin1(bytes, 1024)
  const other = head.includes('<svg')
    ? 'SVG'
    : others.find(([, at, magic]) => head.startsWith(magic, at))?.[0]
  const found = other === undefined ? 'The bytes are no image we know' : `The image is ${other}`
  return `${found}; JPEG, PNG, WebP, GIF, AVIF and TIFF are read.`
}

function latin1(bytes: Uint8Array, most: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, most)).toString('latin1')
}

function undecodable(type: ImageType): (error: Error) => never {
  return (error) => {
    const why = error.message.replace(/\s*\n\s*/g, '; ').slice(0, 200)
    const message = `The ${name(type)} image cannot be decoded; it may be truncated or damaged (${why}).`
    throw new FacetError('undecodable_image', message, { cause: error })
  }
}

function name(type: ImageType): string {
  return type === 'webp' ? 'WebP' : type.toUpperCase()
}

function stopIfGone(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new FacetError('client_closed', 'The client closed the request.')
}
