/**
 * Turns an encoded image into the trunk's input pixels: decode, turn upright, resize, crop; RGB, one byte a
 * channel.
 *
 * The preprocessing is that of training, which is PIL's `convert('RGB')`, `resize` and a centre crop: alpha
 * is dropped, not blended; grey and palettes become RGB; 16 bits are scaled to 8. Beyond PIL, orientation
 * tags are obeyed and colour profiles (CMYK's too) are converted to sRGB.
 *
 * libvips (through sharp) does the work on libuv's threads, except for small PNGs (small-png.ts). Only six
 * formats, recognised by their first bytes, reach libvips; all its other loaders are switched off. Knows no
 * HTTP and no model.
 *
 * package.json pins sharp's exact version, and with it libvips': enlarge.ts and small-png.ts repeat its
 * arithmetic to the bit (docs/decisions/0007-pixels-as-training-makes-them.md).
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
  signal?: AbortSignal | undefined
}

// One libvips thread an image: parallelism comes from many images. The cache would keep clients' pixels in
// memory.
sharp.concurrency(1)
sharp.cache(false)
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff'].map((name) => `VipsForeignLoad${name}`),
})

/** libvips gives up an image that takes longer. */
const DECODE_TIMEOUT_SECONDS = 10

/**
 * Formats that people send and that are not supported, so that the refusal can name them: bytes at an offset.
 */
const unsupported: readonly [name: string, offset: number, magic: string][] = [
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
 * The image's format by its first bytes, whatever its name or content type says; null for anything else.
 * What follows these bytes may still be damaged.
 */
export function sniffImage(bytes: Uint8Array): ImageType | null {
  const head = latin1(bytes, 64)
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg'
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png'
  if (/^RIFF....WEBP/s.test(head)) return 'webp'
  if (/^GIF8[79]a/.test(head)) return 'gif'
  // ISO base media: the box's size, `ftyp`, then fields of four bytes: a brand, a version, further brands.
  if (/^.{4}ftyp(.{4})*avi[fs]/s.test(head)) return 'avif'
  if (['II*\0', 'MM\0*', 'II+\0', 'MM\0+'].includes(head.slice(0, 4))) return 'tiff'
  return null
}

/**
 * Decodes one image to `[input.height, input.width, 3]` RGB bytes: the shorter side is resized to
 * `input.resize`, the longer one in proportion (rounded), the centre is cropped at
 * `floor((side - size) / 2)`. An animation is read as its first frame, a document as its first page.
 *
 * JPEG and WebP images at least twice as large as needed are decoded at a reduced scale.
 *
 * @throws FacetError `unsupported_media_type` for other formats; `image_too_large` above `limits.maxPixels`
 * (read from the header, before any pixel is decoded); `undecodable_image` for empty, truncated or damaged
 * bytes; `client_closed` if `limits.signal` was aborted.
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

/** `failOn: 'warning'` also refuses damage inside a JPEG's data; weaker levels return grey areas instead. */
const opening = { failOn: 'warning', limitInputPixels: false, animated: false } satisfies SharpOptions

/**
 * Images with more pixels than this, before or after, are enlarged by libvips, off the event loop's thread.
 */
const MAX_ENLARGED_PIXELS = 128 * 128

/**
 * Pixels of an image that needs no turning and no alpha removal. libvips checks its size against `maxPixels`
 * again.
 */
async function plainPixels(
  bytes: Uint8Array,
  type: ImageType,
  size: Size,
  input: InputSpec,
  maxPixels: number,
): Promise<Uint8Array> {
  const image = () => patient(bytes, { ...opening, limitInputPixels: maxPixels })
  const geometry = geometryOf(size, input)
  const largest = Math.max(size.width * size.height, input.width * input.height)
  if (geometry.scale <= 1 || input.kernel !== 'linear' || largest > MAX_ENLARGED_PIXELS)
    return trunkPixels(image(), geometry, input)
  let pixels: Uint8Array | null = null
  if (type === 'png') {
    // Yield first, so that one turn of the event loop decodes no more images than are admitted at once.
    await nextTurn()
    pixels = decodeSmallPng(bytes, size)
  }
  pixels ??= await rgb(image()).toBuffer()
  if (pixels.length !== size.width * size.height * 3) throw new Error('unexpected size')
  return enlarge(pixels, size, geometry.resized, geometry.crop)
}

function patient(bytes: Uint8Array, options: SharpOptions): Sharp {
  return sharp(bytes, options).timeout({ seconds: DECODE_TIMEOUT_SECONDS })
}

/** Drops alpha before the resize: libvips would weight colours by it, and training did not. */
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
  // libvips enlarges half an output pixel off centre. So enlarge to twice the size: its odd rows and columns
  // are exact.
  const factor = scale > 1 ? 2 : 1
  image = image.resize(resized.width * factor, resized.height * factor, { fit: 'fill', kernel: input.kernel })
  image = image.extract({
    left: crop.left * factor,
    top: crop.top * factor,
    width: crop.width * factor,
    height: crop.height * factor,
  })
  const pixels = await rgb(image).toBuffer()
  if (pixels.length !== input.height * input.width * 3 * factor * factor)
    throw new Error('unexpected channels')
  return factor === 1 ? pixels : oddPixels(pixels, input.width, input.height)
}

/** The odd pixels of the odd rows of `[2 * height, 2 * width, 3]`. */
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

/** Output of three channels of 8 bits. */
function rgb(image: Sharp): Sharp {
  return image.removeAlpha().toColourspace('srgb').raw({ depth: 'uchar' })
}

function checkHeader(header: Metadata, type: ImageType, maxPixels: number): void {
  const { format, compression } = header
  if (format === 'heif' && compression !== 'av1') {
    throw new FacetError('unsupported_media_type', `The file is marked as AVIF but holds ${compression}.`)
  }
  if (format !== (type === 'avif' ? 'heif' : type)) {
    throw new FacetError('undecodable_image', `The file begins like ${name(type)} but is something else.`)
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
    : unsupported.find(([, offset, magic]) => head.startsWith(magic, offset))?.[0]
  const found = other === undefined ? 'The bytes are not a known image format' : `The image is ${other}`
  return `${found}; JPEG, PNG, WebP, GIF, AVIF and TIFF are supported.`
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
