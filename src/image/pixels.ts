/**
 * Decodes by libvips (through sharp), on libuv's threads, but for small PNGs (small-png.ts) and what the add-on decodes
 * (jpeg-decoder.ts): an image whose header has been read and accepted becomes the trunk's input pixels.
 *
 * The preprocessing is that of training (training/decode.py): orientation tags are obeyed, alpha is dropped and
 * not blended, grey and palettes become RGB, 16 bits are scaled to 8, colour profiles are converted to sRGB; then
 * PIL's `resize` and a centre crop. What that means for each format: docs/images.md.
 *
 * package.json pins sharp's exact version, and with it libvips': enlarge.ts and small-png.ts repeat its
 * arithmetic to the bit (docs/decisions/0007-pixels-as-training-makes-them.md).
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import sharp, { type Metadata, type Sharp, type SharpOptions } from 'sharp'
import { free, freeForeign } from '../bytes/free.js'
import { clientClosed, FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'
import type { NativeDecodeJpeg } from '../native/addon.js'
import { corrected } from './corrected.js'
import { enlarge } from './enlarge.js'
import { type Geometry, geometryOf } from './geometry.js'
import { formatName, tooSlow, undecodable } from './headers/failures.js'
import type { ImageType } from './headers/sniff.js'
import type { ImageHeader } from './headers/types.js'
import { decodeOrdinary, isOrdinaryJpeg } from './jpeg-decoder.js'
import { MAX_DECODE_MS } from './limits.js'
import { checkProfile } from './profile.js'
import { decodeSmallPng } from './small-png.js'

export interface DecodeOptions {
  /** Aborted when the client left: the image is not decoded then. */
  signal?: AbortSignal | undefined
  /**
   * After this time the image is given up: at once in a process of its own (apart/); by libvips after whole seconds, from
   * 1. A codec that decodes an image in one step is not interrupted; the bound on CPU time holds for it.
   */
  timeoutMs?: number
}

// One libvips thread an image: parallelism comes from many images. The cache would keep clients' pixels in
// memory.
sharp.concurrency(1)
sharp.cache(false)
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff'].map((name) => `VipsForeignLoad${name}`),
})

/**
 * Pixels `[input.height, input.width, 3]`, RGB. `bytes` are only read.
 *
 * @param decodeJpeg the add-on's, where it is built
 * @throws FacetError as `OpenImage.decode` does
 */
export async function decodePixels(
  bytes: Uint8Array,
  header: ImageHeader,
  input: InputSpec,
  options: DecodeOptions,
  decodeJpeg?: NativeDecodeJpeg,
): Promise<Uint8Array> {
  stopIfGone(options.signal)
  const readable = corrected(bytes, header)
  try {
    if (decodeJpeg !== undefined && isOrdinaryJpeg(header, input)) {
      const { timeoutMs = MAX_DECODE_MS } = options
      const pixels = await decodeOrdinary(decodeJpeg, readable, header, input, timeoutMs)
      if (pixels !== undefined) return pixels
      stopIfGone(options.signal)
    }
    return await decodeReadable(readable, header, input, options).catch(failure(header.type))
  } finally {
    if (readable !== bytes) free([readable])
  }
}

async function decodeReadable(
  bytes: Uint8Array,
  header: ImageHeader,
  input: InputSpec,
  { signal, timeoutMs = MAX_DECODE_MS }: DecodeOptions,
): Promise<Uint8Array> {
  const seconds = Math.max(1, Math.ceil(timeoutMs / 1000))
  const open = () => sharp(bytes, opening).timeout({ seconds })
  if (header.plain && header.profileBytes === 0) return plainPixels(bytes, open, header, input)
  const metadata = await sharp(bytes, opening).metadata()
  checkMetadata(metadata, header)
  stopIfGone(signal)
  if (header.plain) return plainPixels(bytes, open, header, input)
  const geometry = geometryOf(metadata.autoOrient, input)
  const image = inSrgb(open(), header).autoOrient()
  if (!metadata.hasAlpha) return trunkPixels(image, geometry, input)
  return withoutAlpha(image, (opaque) => trunkPixels(opaque, geometry, input))
}

/**
 * `failOn: 'warning'` also refuses damage inside a JPEG's data; weaker levels return grey areas instead. Sizes are
 * checked by the header.
 */
const opening = { failOn: 'warning', limitInputPixels: false, animated: false } satisfies SharpOptions

/**
 * Images with more pixels than this, before or after, are enlarged by libvips, off the event loop's thread.
 */
const MAX_ENLARGED_PIXELS = 128 * 128

/** Pixels of an image that needs no turning and no alpha removal. */
async function plainPixels(
  bytes: Uint8Array,
  open: () => Sharp,
  size: ImageHeader,
  input: InputSpec,
): Promise<Uint8Array> {
  const geometry = geometryOf(size, input)
  const largest = Math.max(size.width * size.height, input.width * input.height)
  if (geometry.scale <= 1 || input.kernel !== 'linear' || largest > MAX_ENLARGED_PIXELS)
    return trunkPixels(open(), geometry, input)
  let pixels: Uint8Array | null = null
  if (size.type === 'png') {
    // Yield first, so that one turn of the event loop decodes no more images than are admitted at once.
    await nextTurn()
    pixels = decodeSmallPng(bytes, size)
  }
  pixels ??= await rgb(open()).toBuffer()
  if (pixels.length !== size.width * size.height * 3) throw new Error('unexpected size')
  return enlarge(pixels, size, geometry.resized, geometry.crop)
}

/**
 * sharp converts an image of 16 bits a sample to Display P3, not to sRGB, where it has a profile. So such an image is
 * brought to 8 bits first.
 */
function inSrgb(image: Sharp, { depth, channels, type }: ImageHeader): Sharp {
  const deep = depth > 1 && channels >= 3
  return deep && (type === 'png' || type === 'avif' || type === 'tiff')
    ? image.pipelineColourspace('srgb')
    : image
}

/** Drops alpha before the resize: libvips would weight colours by it, and training did not. */
async function withoutAlpha<T>(image: Sharp, use: (opaque: Sharp) => Promise<T>): Promise<T> {
  const { data, info } = await rgb(image).toBuffer({ resolveWithObject: true })
  const { width, height, channels } = info
  try {
    return await use(sharp(data, { raw: { width, height, channels }, limitInputPixels: false }))
  } finally {
    // The whole image.
    await freeForeign(data)
  }
}

async function trunkPixels(
  image: Sharp,
  { scale, resized, crop }: Geometry,
  input: InputSpec,
): Promise<Uint8Array> {
  // libvips enlarges half an output pixel off centre. So enlarge to twice the size: its odd rows and columns
  // are exact.
  const factor = scale > 1 ? 2 : 1
  image = image.resize(resized.width * factor, resized.height * factor, {
    fit: 'fill',
    kernel: input.kernel,
    // Shrinks JPEGs less while they are decoded, and WebPs not at all: their codecs do it in other ways than training.
    fastShrinkOnLoad: false,
  })
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

/** What libvips reads must be no more than what the image's cost was reckoned from. */
function checkMetadata(metadata: Metadata, header: ImageHeader): void {
  const { format, compression, width, height } = metadata
  if (format === 'heif' && compression !== 'av1') {
    throw new FacetError('unsupported_media_type', `The file is marked as AVIF but holds ${compression}.`)
  }
  if (format !== (header.type === 'avif' ? 'heif' : header.type)) {
    const message = `The file begins like ${formatName(header.type)} but is something else.`
    throw new FacetError('undecodable_image', message)
  }
  const longest = Math.max(header.width, header.height)
  if (width * height > header.width * header.height || Math.max(width, height) > longest)
    throw undecodable(header.type, 'it names two sizes')
  if (metadata.icc !== undefined) checkProfile(metadata.icc, header.type)
}

function failure(type: ImageType): (error: Error) => never {
  return (error) => {
    if (error instanceof FacetError) throw error
    if (/timeout: \d+% complete/.test(error.message)) throw tooSlow()
    throw undecodable(type, error.message.replace(/\s*\n\s*/g, '; ').slice(0, 200), error)
  }
}

function stopIfGone(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw clientClosed()
}
