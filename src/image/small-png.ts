/**
 * Decodes small PNGs to RGB on the calling thread, equal to libvips to the bit. For an image of a few
 * thousand pixels libvips takes a millisecond of objects, locks and threads; this takes a tenth of one.
 *
 * It decodes 8 bits a sample, grey or RGB, not interlaced, without transparency. All other PNGs, unusual and
 * damaged ones too, are left to libvips. No library was found that refuses damage and bounds what it inflates
 * (docs/experiments/2026-11-25-small-images-without-libvips.md).
 *
 * Format: https://www.w3.org/TR/png-3/.
 */
import { crc32, inflateSync } from 'node:zlib'
import type { Size } from './geometry.js'

/** Larger images could block the event loop for more than a millisecond. */
const MAX_BYTES = 64 * 1024
const MAX_PIXELS = 128 * 128
/** Samples a pixel by colour type: 0 is grey, 2 is RGB. */
const channelsOf: Readonly<Record<number, 1 | 3>> = { 0: 1, 2: 3 }
/**
 * Lengths of the chunks that change no pixel. A colour profile (iCCP) or transparency (tRNS) would change
 * some.
 */
const neutralChunks: ReadonlyMap<string, number> = new Map([
  ['gAMA', 4],
  ['cHRM', 32],
  ['sRGB', 1],
  ['pHYs', 9],
  ['tIME', 7],
])

/** @returns `[size.height, size.width, 3]`; null for an image that libvips must decode */
export function decodeSmallPng(bytes: Uint8Array, size: Size): Uint8Array | null {
  if (bytes.length > MAX_BYTES || size.width * size.height > MAX_PIXELS) return null
  const image = readChunks(bytes, size)
  if (image === null) return null
  const stride = size.width * image.channels
  const lines = inflated(image.compressed, size.height * (stride + 1))
  if (lines === null || !unfilter(lines, stride, size.height, image.channels)) return null
  return toRgb(lines, stride, size, image.channels)
}

/** The compressed image data; null for another kind of PNG, and wherever libpng would complain. */
function readChunks(
  bytes: Uint8Array,
  { width, height }: Size,
): { channels: 1 | 3; compressed: Uint8Array } | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const data: Uint8Array[] = []
  const seen = new Set<string>()
  let channels: 1 | 3 | undefined
  let last = ''
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at)
    const end = at + 8 + length
    if (end + 4 > bytes.length || view.getUint32(end) !== crc32(bytes.subarray(at + 4, end))) return null
    const name = Buffer.from(bytes.subarray(at + 4, at + 8)).toString('latin1')
    const content = bytes.subarray(at + 8, end)
    if ((at === 8) !== (name === 'IHDR')) return null
    if (name === 'IHDR') {
      // 8 bits a sample, deflate, the five standard filters, not interlaced.
      if (length !== 13 || [content[8], content[10], content[11], content[12]].join() !== '8,0,0,0')
        return null
      if (view.getUint32(16) !== width || view.getUint32(20) !== height) return null
      channels = channelsOf[content[9]!]
    } else if (name === 'IDAT') {
      if (data.length > 0 && last !== 'IDAT') return null
      data.push(content)
    } else if (name === 'IEND') {
      if (channels === undefined || data.length === 0) return null
      return { channels, compressed: data.length === 1 ? data[0]! : Buffer.concat(data) }
    } else if (neutralChunks.get(name) !== length || seen.has(name) || data.length > 0) return null
    else seen.add(name)
    last = name
    at = end + 4
  }
  return null
}

/** Null unless `compressed` is exactly one valid zlib stream of `size` bytes. */
function inflated(compressed: Uint8Array, size: number): Uint8Array | null {
  try {
    const { buffer, engine } = inflateSync(compressed, {
      maxOutputLength: size,
      // One byte more than the output, so that zlib needs one step and no second buffer.
      chunkSize: Math.max(64, size + 1),
      info: true,
    }) as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } }
    return buffer.length === size && engine.bytesWritten === compressed.length ? buffer : null
  } catch {
    return null
  }
}

/** Undoes the filter of every line, in place. False if a line names a filter that does not exist. */
function unfilter(lines: Uint8Array, stride: number, height: number, channels: number): boolean {
  for (let y = 0, start = 0; y < height; y++, start += stride + 1) {
    const filter = lines[start]!
    const first = start + 1
    const end = first + stride
    // The line above the first one counts as zeros.
    const up = y === 0 ? -1 : stride + 1
    if (filter > 4) return false
    if (filter === 0) continue
    for (let at = first; at < end; at++) {
      const left = at - channels >= first ? lines[at - channels]! : 0
      const above = up < 0 ? 0 : lines[at - up]!
      if (filter === 1) lines[at]! += left
      else if (filter === 2) lines[at]! += above
      else if (filter === 3) lines[at]! += (left + above) >> 1
      else lines[at]! += paeth(left, above, up < 0 || at - channels < first ? 0 : lines[at - up - channels]!)
    }
  }
  return true
}

/** The one of the three neighbours that is nearest to `left + above - corner` (the Paeth predictor). */
function paeth(left: number, above: number, corner: number): number {
  const toLeft = Math.abs(above - corner)
  const toAbove = Math.abs(left - corner)
  const toCorner = Math.abs(left + above - 2 * corner)
  if (toLeft <= toAbove && toLeft <= toCorner) return left
  return toAbove <= toCorner ? above : corner
}

/** Drops the filter byte of each line, and repeats grey samples three times. */
function toRgb(lines: Uint8Array, stride: number, { width, height }: Size, channels: 1 | 3): Uint8Array {
  const out = new Uint8Array(height * width * 3)
  for (let y = 0, to = 0; y < height; y++) {
    const line = lines.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1))
    if (channels === 3) out.set(line, to)
    else for (let x = 0; x < width; x++) out.fill(line[x]!, to + 3 * x, to + 3 * x + 3)
    to += 3 * width
  }
  return out
}
