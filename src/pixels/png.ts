/**
 * PNGs of 8 bits a sample (grey, RGB, palette; not interlaced, without transparency) to RGB, as libvips decodes them
 * with libpng. All else, everything odd and everything damaged is `null`: libvips may say what it makes of it.
 *
 * Format: https://www.w3.org/TR/png-3/.
 */
import { crc32, inflateSync } from 'node:zlib'
import type { Size } from './enlarge.js'

/** Samples a pixel by colour type: grey, RGB, palette. */
const channelsOf: Readonly<Record<number, 1 | 3>> = { 0: 1, 2: 3, 3: 1 }
/** Chunks that change no pixel, and their lengths. A profile (iCCP) would, and transparency (tRNS). */
const passed: ReadonlyMap<string, number> = new Map([
  ['gAMA', 4],
  ['cHRM', 32],
  ['sRGB', 1],
  ['pHYs', 9],
  ['tIME', 7],
])

interface Chunks {
  /** Of IHDR. */
  channels: 1 | 3
  /** RGB, three bytes an entry; null where the image has none. */
  palette: Uint8Array | null
  compressed: Uint8Array
}

/** @returns `[size.height, size.width, 3]` */
export function decodePng(bytes: Uint8Array, size: Size): Uint8Array | null {
  const chunks = readChunks(bytes, size)
  if (chunks === null) return null
  const { channels, palette, compressed } = chunks
  const stride = size.width * channels
  const lines = inflated(compressed, size.height * (stride + 1))
  if (lines === null || !unfilter(lines, stride, size.height, channels)) return null
  return channels === 3 ? joined(lines, stride, size.height) : spread(lines, size, palette)
}

/** Null for another kind of PNG, and wherever libpng would complain. */
function readChunks(bytes: Uint8Array, { width, height }: Size): Chunks | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const data: Uint8Array[] = []
  const seen = new Set<string>()
  let palette: Uint8Array | null = null
  let type: number | undefined
  let last = ''
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at)
    const end = at + 8 + length
    if (end + 4 > bytes.length || view.getUint32(end) !== crc32(bytes.subarray(at + 4, end))) return null
    const name = Buffer.from(bytes.subarray(at + 4, at + 8)).toString('latin1')
    const content = bytes.subarray(at + 8, end)
    if ((at === 8) !== (name === 'IHDR')) return null
    if (name === 'IHDR') {
      // 8 bits, deflate, the five filters, not interlaced.
      const tail = [content[8], content[10], content[11], content[12]].join()
      if (length !== 13 || tail !== '8,0,0,0') return null
      if (view.getUint32(16) !== width || view.getUint32(20) !== height) return null
      type = content[9]!
    } else if (name === 'PLTE') {
      if (
        palette !== null ||
        data.length > 0 ||
        type === 0 ||
        length === 0 ||
        length % 3 !== 0 ||
        length > 768
      )
        return null
      palette = content
    } else if (name === 'IDAT') {
      if (data.length > 0 && last !== 'IDAT') return null
      data.push(content)
    } else if (name === 'IEND') {
      const channels = channelsOf[type!]
      if (channels === undefined || data.length === 0 || (type === 3) !== (palette !== null)) return null
      const compressed = data.length === 1 ? data[0]! : Buffer.concat(data)
      return { channels, palette: type === 3 ? palette : null, compressed }
    } else if (passed.get(name) !== length || seen.has(name) || data.length > 0) return null
    else seen.add(name)
    last = name
    at = end + 4
  }
  return null
}

/** Null unless it is one sound stream of just so many bytes. */
function inflated(compressed: Uint8Array, size: number): Uint8Array | null {
  try {
    const { buffer, engine } = inflateSync(compressed, {
      maxOutputLength: size,
      // One more, so that the output is taken in one step.
      chunkSize: Math.max(64, size + 1),
      info: true,
    }) as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } }
    return buffer.length === size && engine.bytesWritten === compressed.length ? buffer : null
  } catch {
    return null
  }
}

/** Takes the filter off every line, in place. False for a filter that does not exist. */
function unfilter(lines: Uint8Array, stride: number, height: number, channels: number): boolean {
  for (let y = 0, start = 0; y < height; y++, start += stride + 1) {
    const filter = lines[start]!
    const first = start + 1
    const end = first + stride
    // Of the line above the first every sample is 0.
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

/** Whichever of the three neighbours is nearest to `left + above - corner`. */
function paeth(left: number, above: number, corner: number): number {
  const toLeft = Math.abs(above - corner)
  const toAbove = Math.abs(left - corner)
  const toCorner = Math.abs(left + above - 2 * corner)
  if (toLeft <= toAbove && toLeft <= toCorner) return left
  return toAbove <= toCorner ? above : corner
}

/** The lines without their filters' bytes. */
function joined(lines: Uint8Array, stride: number, height: number): Uint8Array {
  const out = new Uint8Array(height * stride)
  for (let y = 0; y < height; y++)
    out.set(lines.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1)), y * stride)
  return out
}

/** Grey or palette to RGB; null where a pixel lies beyond the palette. */
function spread(lines: Uint8Array, { width, height }: Size, palette: Uint8Array | null): Uint8Array | null {
  const out = new Uint8Array(height * width * 3)
  for (let y = 0, from = 0, to = 0; y < height; y++) {
    from++
    for (let x = 0; x < width; x++, to += 3) {
      const sample = lines[from++]!
      if (palette !== null && 3 * sample >= palette.length) return null
      out[to] = palette === null ? sample : palette[3 * sample]!
      out[to + 1] = palette === null ? sample : palette[3 * sample + 1]!
      out[to + 2] = palette === null ? sample : palette[3 * sample + 2]!
    }
  }
  return out
}
