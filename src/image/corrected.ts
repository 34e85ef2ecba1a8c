/** Makes intact files readable that libvips refuses for bytes without a meaning. */
import type { ImageHeader } from './headers/types.js'

/** @returns `bytes` themselves where nothing is to be corrected, otherwise a copy */
export function corrected(bytes: Uint8Array, header: ImageHeader): Uint8Array {
  const corrections = header.type === 'jpeg' || header.type === 'avif' ? header.corrections : []
  if (corrections.length === 0) return bytes
  const copy = Uint8Array.from(bytes)
  for (const correction of corrections) copy.set(correction.bytes, correction.at)
  return copy
}
