/**
 * What an AV1 still image says of itself: the largest frame that its sequence header allows, and how many frames it
 * holds. The box around it may name other sizes, and the decoder goes by these.
 * Specification: https://aomediacodec.github.io/av1-spec/ (5.5 is the sequence header).
 */
import { undecodable } from './failures.js'
import { BitReader } from './bits.js'

export interface Av1Image {
  width: number
  height: number
  bits: number
  /** Samples of all planes for each pixel: 1 for grey, 1.5 for 4:2:0, 3 for 4:4:4. */
  samplesPerPixel: number
  /** Frames in the data, shown or not; more than one where it is stored in layers. */
  frames: number
  /** Bytes of its data. */
  bytes: number
}

/** Kinds of units of data (OBUs). */
const [SEQUENCE, FRAME_HEADER, FRAME] = [1, 3, 6]
/** A sequence header takes some 10 bytes. */
const MAX_SEQUENCE_BYTES = 256

/**
 * @param data the item's data: a row of OBUs
 * @param budget units of data that may be looked at, in all images of a file; counted down here
 */
export function readAv1(data: Uint8Array, budget: { units: number }): Av1Image {
  let found: Omit<Av1Image, 'frames' | 'bytes'> | undefined
  let frames = 0
  let at = 0
  while (at < data.length) {
    if (--budget.units < 0) throw undecodable('avif', 'it has too many units of data')
    const flags = data[at]!
    const kind = (flags >> 3) & 15
    at += 1 + ((flags >> 2) & 1)
    let size = data.length - at
    if ((flags & 2) !== 0) {
      const read = leb128(data, at)
      size = read.value
      at = read.end
    }
    if (at + size > data.length) throw undecodable('avif', 'its data is cut off')
    if (kind === SEQUENCE) {
      const sequence = readSequence(data.subarray(at, at + Math.min(size, MAX_SEQUENCE_BYTES)))
      if (found !== undefined && JSON.stringify(found) !== JSON.stringify(sequence))
        throw undecodable('avif', 'it has two different sequence headers')
      found = sequence
    }
    if (kind === FRAME || kind === FRAME_HEADER) frames++
    at += size
  }
  if (found === undefined) throw undecodable('avif', 'its data has no sequence header')
  return { ...found, frames, bytes: data.length }
}

function leb128(data: Uint8Array, start: number): { value: number; end: number } {
  let value = 0
  for (let i = 0; i < 8; i++) {
    const byte = data[start + i]
    if (byte === undefined) throw undecodable('avif', 'its data is cut off')
    value += (byte & 0x7f) * 2 ** (7 * i)
    if ((byte & 0x80) === 0) return { value, end: start + i + 1 }
  }
  throw undecodable('avif', 'its data is malformed')
}

function readSequence(data: Uint8Array): Omit<Av1Image, 'frames' | 'bytes'> {
  const bits = new BitReader(data)
  const profile = bits.take(3)
  bits.skip(1) // still_picture
  const reduced = bits.flag()
  if (reduced) bits.skip(5)
  else skipOperatingPoints(bits)
  const [widthBits, heightBits] = [bits.take(4) + 1, bits.take(4) + 1]
  const [width, height] = [bits.take(widthBits) + 1, bits.take(heightBits) + 1]
  if (!reduced && bits.flag()) bits.skip(4 + 3) // frame ids
  bits.skip(3) // superblock size, filter-intra, intra edge filter
  if (!reduced) skipTools(bits)
  bits.skip(3) // superres, cdef, restoration
  return { width, height, ...readColour(bits, profile) }
}

/** Timing, decoder model and operating points, of which layered images have several. */
function skipOperatingPoints(bits: BitReader): void {
  let decoderModel = false
  let delayBits = 0
  if (bits.flag()) {
    bits.skip(64)
    if (bits.flag()) skipUvlc(bits)
    decoderModel = bits.flag()
    if (decoderModel) {
      delayBits = bits.take(5) + 1
      bits.skip(32 + 5 + 5)
    }
  }
  const initialDelay = bits.flag()
  const points = bits.take(5) + 1
  for (let point = 0; point < points; point++) {
    bits.skip(12)
    if (bits.take(5) > 7) bits.skip(1)
    if (decoderModel && bits.flag()) bits.skip(2 * delayBits + 1)
    if (initialDelay && bits.flag()) bits.skip(4)
  }
}

function skipUvlc(bits: BitReader): void {
  let zeros = 0
  while (!bits.flag()) zeros++
  if (zeros < 32) bits.skip(zeros)
}

/** Tools of sequences of frames. */
function skipTools(bits: BitReader): void {
  bits.skip(4) // interintra, masked compound, warped motion, dual filter
  const orderHint = bits.flag()
  if (orderHint) bits.skip(2)
  const screenContent = bits.flag() ? 2 : bits.take(1)
  if (screenContent > 0 && !bits.flag()) bits.skip(1)
  if (orderHint) bits.skip(3)
}

function readColour(bits: BitReader, profile: number): { bits: number; samplesPerPixel: number } {
  const high = bits.flag()
  const depth = profile === 2 && high && bits.flag() ? 12 : high ? 10 : 8
  const grey = profile !== 1 && bits.flag()
  if (grey) return { bits: depth, samplesPerPixel: 1 }
  // Profile 0 is 4:2:0, profile 1 4:4:4; profile 2 has all, of which 4:4:4 is the most.
  return { bits: depth, samplesPerPixel: profile === 0 ? 1.5 : 3 }
}
