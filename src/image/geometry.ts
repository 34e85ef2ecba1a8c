/**
 * How an upright image is fitted to the trunk's input: resized by its shorter side, then cropped at the
 * centre.
 */
import type { InputSpec } from '../manifest/manifest.js'

/** In pixels. */
export interface Size {
  width: number
  height: number
}

/** A rectangle of the resized image. */
export interface Crop extends Size {
  left: number
  top: number
}

export interface Geometry {
  /** Sides of the resized image over those of the original; above 1 the image is enlarged. */
  scale: number
  resized: Size
  crop: Crop
}

/**
 * The same geometry as in training: PIL's `resize` to whole pixels, rounded, then a centre crop at
 * `floor((side - size) / 2)`.
 * @param size of the image, upright
 */
export function geometryOf({ width, height }: Size, input: InputSpec): Geometry {
  const scale = input.resize / Math.min(width, height)
  const resized = { width: Math.round(width * scale), height: Math.round(height * scale) }
  const left = Math.floor((resized.width - input.width) / 2)
  const top = Math.floor((resized.height - input.height) / 2)
  return {
    scale,
    resized,
    crop: { left, top, width: input.width, height: input.height },
  }
}
