/**
 * Which JPEGs the add-on's decoder gets. libvips decodes all others, and those that the add-on
 * does not read: it finds a file damaged no later than libvips does, and what is refused, libvips refuses
 * (docs/decisions/0027-ordinary-jpegs-in-the-add-on.md).
 */
import type { InputSpec } from '../manifest/manifest.js'
import type { NativeDecodeJpeg } from '../native/addon.js'
import { geometryOf } from './geometry.js'
import { tooSlow } from './headers/failures.js'
import type { ImageHeader, JpegHeader } from './headers/types.js'

/**
 * Up to so many pixels the add-on takes less CPU time than libvips, which decodes larger JPEGs at a reduced scale
 * (`npm run bench:jpeg`).
 */
const MAX_PIXELS = 500_000

/**
 * Whether the add-on decodes an image, by its header. Not where there are several pieces of coded data, that is in
 * progressive JPEGs and between restart markers: of damage at the end of each it takes no notice.
 */
export function isOrdinaryJpeg(header: ImageHeader, input: InputSpec): header is JpegHeader {
  return (
    header.type === 'jpeg' &&
    header.plain &&
    header.usual &&
    header.profileBytes === 0 &&
    !header.progressive &&
    header.scans === 1 &&
    header.width * header.height <= MAX_PIXELS &&
    // The one that is resized as training does it.
    input.kernel === 'linear'
  )
}

/**
 * Pixels `[input.height, input.width, 3]`, RGB; undefined where libvips is to try.
 *
 * @throws FacetError `deadline_exceeded` after `timeoutMs`
 */
export async function decodeOrdinary(
  decode: NativeDecodeJpeg,
  bytes: Uint8Array,
  header: JpegHeader,
  input: InputSpec,
  timeoutMs: number,
): Promise<Uint8Array | undefined> {
  const { width, height } = header
  const { resized, crop } = geometryOf(header, input)
  try {
    return await decode(bytes, {
      width,
      height,
      scan: header.scanStart,
      resizedWidth: resized.width,
      resizedHeight: resized.height,
      left: crop.left,
      top: crop.top,
      cropWidth: crop.width,
      cropHeight: crop.height,
      timeoutMs,
    })
  } catch (error) {
    if ((error as Error).message === LATE) throw tooSlow()
    return undefined
  }
}

/** What the add-on rejects with when the time is up. */
const LATE = 'late'
