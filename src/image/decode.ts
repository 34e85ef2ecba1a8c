/**
 * From an encoded image to the trunk's input pixels: RGB, one byte a channel.
 *
 * Six formats are recognised by their first bytes. An image's header says what decoding will take (headers/, cost.ts),
 * and what takes too much is refused before a pixel is decoded (docs/decisions/0021-what-an-image-may-cost.md). Pixels are
 * made here (pixels.ts, jpeg-decoder.ts), or in another process where decoding may outlive its deadline (apart/). Knows no HTTP and no
 * model.
 */
import { turns, type WorkOptions } from '../concurrency/turns.js'
import { FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'
import type { NativeDecodeJpeg } from '../native/addon.js'
import { type DecodeCost, decodeCost } from './cost.js'
import { readHeader } from './headers/header.js'
import { sniffImage, unknownFormat } from './headers/sniff.js'
import type { ImageHeader } from './headers/types.js'
import { isOrdinaryJpeg } from './jpeg-decoder.js'
import { checkCost, checkSize, type ImageLimits, mayOutlive } from './limits.js'
import { type DecodeOptions, decodePixels } from './pixels.js'

export type { ImageLimits } from './limits.js'
export { sniffImage } from './headers/sniff.js'
export type { DecodeOptions } from './pixels.js'

/** An image of which the header has been read and found acceptable. */
export interface OpenImage {
  readonly header: ImageHeader
  /** What `decode` takes at most. */
  readonly cost: DecodeCost
  /**
   * Decodes it to `[input.height, input.width, 3]` RGB bytes: the shorter side is resized to `input.resize`, the
   * longer one in proportion (rounded), the centre is cropped at `floor((side - size) / 2)`. An animation is read
   * as its first frame, a document as its first page.
   *
   * JPEGs at least four times as large as needed are decoded at a reduced scale, which is still twice what is needed.
   *
   * @throws FacetError `undecodable_image` for truncated or damaged bytes; `deadline_exceeded` after
   * `timeoutMs`; `client_closed` if `signal` was aborted
   */
  decode(options?: DecodeOptions): Promise<Uint8Array>
}

/** Decodes in another process what cannot be ended in this one: `DecodeProcesses.decode`. */
export type DecodeApart = (bytes: Uint8Array, input: InputSpec, options: DecodeOptions) => Promise<Uint8Array>

/** `owner` and `check` are those of reading the header, which may take some turns of the event loop. */
export interface OpenOptions extends WorkOptions {
  /** Decodes what must be possible to end; without it all is decoded in this process. */
  apart?: DecodeApart
  /** The add-on's decoder of ordinary JPEGs (jpeg-decoder.ts); without it libvips decodes them. */
  decodeJpeg?: NativeDecodeJpeg | undefined
}

/**
 * Reads the image's header and checks it. Takes milliseconds at most, whatever the image.
 *
 * @throws FacetError `unsupported_media_type` for other formats; `image_too_large` for an image that is too large
 * or would take too much memory or time; `undecodable_image` for empty bytes and a header that makes no sense; what
 * `check` throws
 */
export async function openImage(
  bytes: Uint8Array,
  input: InputSpec,
  limits: ImageLimits,
  { apart, decodeJpeg, ...work }: OpenOptions = {},
): Promise<OpenImage> {
  if (bytes.byteLength === 0) throw new FacetError('undecodable_image', 'The image is empty.')
  const type = sniffImage(bytes)
  if (type === null) throw unknownFormat(bytes)
  const header = await turns.run(readHeader(bytes, type), work)
  checkSize(header, limits)
  const addonFirst = decodeJpeg !== undefined && isOrdinaryJpeg(header, input)
  const cost = decodeCost(header, input, addonFirst)
  checkCost(header, cost, limits)
  return {
    header,
    cost,
    decode:
      apart !== undefined && mayOutlive(header, cost)
        ? (options = {}) => apart(bytes, input, options)
        : (options = {}) => decodePixels(bytes, header, input, options, decodeJpeg),
  }
}

/** Opens and decodes an image. @throws FacetError as `openImage` and `OpenImage.decode` do */
export async function decodeImage(
  bytes: Uint8Array,
  input: InputSpec,
  {
    signal,
    decodeJpeg,
    ...limits
  }: ImageLimits & Pick<DecodeOptions, 'signal'> & Pick<OpenOptions, 'decodeJpeg'>,
): Promise<Uint8Array> {
  const image = await openImage(bytes, input, limits, { decodeJpeg })
  return image.decode({ signal })
}
