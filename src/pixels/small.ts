/**
 * Small plain images to the trunk's input pixels on the calling thread, to the bit as libvips makes them.
 *
 * libvips spends a millisecond on objects, locks and threads before an image's first pixel; these have few pixels.
 * Whatever is not small, plain and sound is `null`: libvips then says what it makes of it.
 */
import { plainHeader } from '../image-header.js'
import { geometryOf } from '../image-geometry.js'
import type { InputSpec } from '../manifest/manifest.js'
import { type Crop, enlarge, type Size } from './enlarge.js'
import { decodePng } from './png.js'
import { reduce, reduction } from './reduce.js'

/** Bounds of a millisecond of work: encoded bytes, pixels, and those of them that are looked at, after shrinking. */
const MOST_BYTES = { png: 64 * 1024 }
const MOST_PIXELS = { png: 128 * 128 }
const MOST_LOOKED_AT = 26_000

/** Takes about a millisecond. Null where the image is not what its header promised. */
export type Decode = () => Uint8Array | null

/**
 * Looks at the header alone.
 *
 * @param maxPixels no more than these are decoded
 * @returns what decodes the image to `[input.height, input.width, 3]`; null for an image that is left to libvips
 */
export function smallImage(
  bytes: Uint8Array,
  type: 'png',
  input: InputSpec,
  maxPixels: number,
): Decode | null {
  if (bytes.length > MOST_BYTES[type] || input.kernel !== 'linear') return null
  const size = plainHeader(bytes, type)
  if (size === null || pixelsOf(size) > Math.min(maxPixels, MOST_PIXELS[type])) return null
  const { scale, resized, crop } = geometryOf(size, input)
  const whole: Crop = { left: 0, top: 0, ...size }
  const load = (window: Crop): Uint8Array | null => cut(decodePng(bytes, size), size, window)

  if (scale === 1) {
    if (pixelsOf(crop) > MOST_LOOKED_AT) return null
    return () => load(crop)?.slice(0, pixelsOf(crop) * 3) ?? null
  }
  if (scale > 1) {
    if (pixelsOf(whole) > MOST_LOOKED_AT || pixelsOf(crop) > MOST_PIXELS.png) return null
    return () => {
      const pixels = load(whole)
      return pixels && enlarge(pixels, size, resized, crop)
    }
  }
  const plan = reduction(size, resized, crop)
  if (plan === null || pixelsOf(plan.window) > MOST_LOOKED_AT) return null
  return () => {
    const pixels = load(plan.window)
    return pixels && reduce(pixels, plan)
  }
}

function pixelsOf({ width, height }: Size): number {
  return width * height
}

/** A window of whole pixels. */
function cut(pixels: Uint8Array | null, { width }: Size, window: Crop): Uint8Array | null {
  if (pixels === null || (window.width === width && window.height * width * 3 === pixels.length))
    return pixels
  const stride = window.width * 3
  const out = new Uint8Array(window.height * stride)
  for (let y = 0; y < window.height; y++) {
    const from = ((window.top + y) * width + window.left) * 3
    out.set(pixels.subarray(from, from + stride), y * stride)
  }
  return out
}
