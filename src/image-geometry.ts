/** How an upright image comes to the trunk's input: the shorter side resized, the centre cropped. */
import type { InputSpec } from './manifest/manifest.js'
import type { Crop, Size } from './pixels/enlarge.js'

export interface Geometry {
  scale: number
  /** Size of the whole resized image. */
  resized: Size
  crop: Crop
}

export function geometryOf(
  { width, height }: Size,
  input: Pick<InputSpec, 'height' | 'width' | 'resize'>,
): Geometry {
  const scale = input.resize / Math.min(width, height)
  const resized = { width: Math.round(width * scale), height: Math.round(height * scale) }
  const left = Math.floor((resized.width - input.width) / 2)
  const top = Math.floor((resized.height - input.height) / 2)
  return { scale, resized, crop: { left, top, width: input.width, height: input.height } }
}
