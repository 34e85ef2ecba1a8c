/**
 * Small PNGs on the calling thread. libvips takes a millisecond of objects, locks and threads for an image of a few
 * thousand pixels, pngjs a tenth of one (docs/LOG.md).
 */
import { PNG } from 'pngjs'
import type { Size } from './enlarge.js'

/** Bounds of a millisecond of work. */
const MOST_BYTES = 64 * 1024
const MOST_PIXELS = 128 * 128

/** The first bytes of an RGB or grey image of 8 bits a sample that is not interlaced: pngjs bounds what it inflates of these. */
const isSimple = (bytes: Uint8Array): boolean =>
  bytes[24] === 8 && (bytes[25] === 0 || bytes[25] === 2) && bytes[28] === 0

/**
 * @param bytes a plain PNG (`plainHeader`) of this size
 * @returns RGB `[height, width, 3]`, to the bit as libvips decodes it; null for what is not small or simple, and for
 * what is damaged: libvips may say what it makes of that.
 */
export function decodeSmallPng(bytes: Uint8Array, { width, height }: Size): Uint8Array | null {
  if (bytes.length > MOST_BYTES || width * height > MOST_PIXELS || !isSimple(bytes)) return null
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  // libvips converts what has a profile. Found by chance in the data, it costs a detour.
  if (file.includes('iCCP')) return null
  try {
    const rgba = PNG.sync.read(file)
    if (rgba.width !== width || rgba.height !== height) return null
    return withoutAlpha(rgba.data)
  } catch {
    return null
  }
}

function withoutAlpha(rgba: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((rgba.length / 4) * 3)
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from]!
    rgb[to++] = rgba[from + 1]!
    rgb[to++] = rgba[from + 2]!
  }
  return rgb
}
