/** The header of a WebP (https://developers.google.com/speed/webp/docs/riff_container). */
import { tooLarge, undecodable } from './failures.js'
import type { WebpHeader } from './types.js'

/** Flags of the extended header. */
const [ANIMATED, ALPHA, PROFILE] = [0x02, 0x10, 0x20]
const [VP8, VP8L, VP8X, ANMF, ALPH, ICCP] = ['VP8 ', 'VP8L', 'VP8X', 'ANMF', 'ALPH', 'ICCP'].map(chunkName)
/** libwebp keeps a list of all frames, though only the first is decoded. */
const MAX_FRAMES = 10_000
/** Chunks of any kind that are looked at. */
const MAX_CHUNKS = 20_000

interface Bitstream {
  width: number
  height: number
  lossless: boolean
  alpha: boolean
}

export function readWebp(bytes: Uint8Array, view: DataView): WebpHeader {
  const header: WebpHeader = {
    type: 'webp',
    width: 0,
    height: 0,
    channels: 3,
    depth: 1,
    bits: 8,
    alpha: false,
    lossless: false,
    animated: false,
    frames: 0,
    profileBytes: 0,
    bytes: bytes.length,
    plain: false,
  }
  let at = 12
  if (view.getUint32(at) === VP8X) {
    const flags = view.getUint8(at + 8)
    header.animated = (flags & ANIMATED) !== 0
    header.alpha = (flags & ALPHA) !== 0
    header.width = 1 + uint24(view, at + 12)
    header.height = 1 + uint24(view, at + 15)
    at += 8 + padded(view.getUint32(at + 4, true))
    if ((flags & PROFILE) !== 0) header.profileBytes = profileBytes(view, at)
  }
  for (let chunk = 0; at + 8 <= view.byteLength; chunk++) {
    if (chunk === MAX_CHUNKS) throw undecodable('webp', `it has more than ${MAX_CHUNKS} chunks`)
    const name = view.getUint32(at)
    const inFrame = name === ANMF
    if (inFrame || name === VP8 || name === VP8L) {
      header.frames++
      if (header.frames > MAX_FRAMES)
        throw tooLarge(
          `The WebP image has more than ${MAX_FRAMES} frames; at most ${MAX_FRAMES} are accepted.`,
        )
      if (header.frames === 1) takeImage(header, inFrame ? firstOfFrame(view, at + 24) : bitstream(view, at))
      // A still image ends here, but for metadata.
      if (!inFrame) break
    }
    at += 8 + padded(view.getUint32(at + 4, true))
  }
  if (header.frames === 0) throw undecodable('webp', 'it has no image')
  return header
}

/** libwebp finds a profile wherever it stands, behind the image too. */
function profileBytes(view: DataView, start: number): number {
  let bytes = 0
  for (let at = start, chunk = 0; at + 8 <= view.byteLength; chunk++) {
    // What follows may be anything.
    if (chunk === MAX_CHUNKS) return bytes + view.byteLength - at
    const length = view.getUint32(at + 4, true)
    if (view.getUint32(at) === ICCP) bytes += Math.min(length, view.byteLength - at)
    at += 8 + padded(length)
  }
  return bytes
}

function takeImage(header: WebpHeader, image: Bitstream): void {
  header.lossless = image.lossless
  header.alpha ||= image.alpha
  header.channels = header.alpha ? 4 : 3
  if (
    header.width > 0 &&
    !header.animated &&
    (header.width !== image.width || header.height !== image.height)
  )
    throw undecodable('webp', 'its two headers name different sizes')
  header.width = Math.max(header.width, image.width)
  header.height = Math.max(header.height, image.height)
}

/** The image within an animation's frame, whose alpha plane may come first. */
function firstOfFrame(view: DataView, start: number): Bitstream {
  let at = start
  if (view.getUint32(at) === ALPH) at += 8 + padded(view.getUint32(at + 4, true))
  return bitstream(view, at)
}

function bitstream(view: DataView, at: number): Bitstream {
  if (view.getUint32(at) === VP8L) {
    if (view.getUint8(at + 8) !== 0x2f) throw undecodable('webp', 'its lossless image has a wrong signature')
    const bits = view.getUint32(at + 9, true)
    const [width, height] = [1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff)]
    return { width, height, lossless: true, alpha: ((bits >> 28) & 1) === 1 }
  }
  if (view.getUint32(at) !== VP8) throw undecodable('webp', 'its first frame holds no image')
  // A tag of three bytes, then a signature of three.
  if ((view.getUint8(at + 8) & 1) !== 0 || view.getUint8(at + 11) !== 0x9d)
    throw undecodable('webp', 'its image is no key frame')
  const [width, height] = [view.getUint16(at + 14, true) & 0x3fff, view.getUint16(at + 16, true) & 0x3fff]
  return { width, height, lossless: false, alpha: false }
}

function uint24(view: DataView, at: number): number {
  return view.getUint16(at, true) | (view.getUint8(at + 2) << 16)
}

/** Chunks begin at even positions. */
function padded(length: number): number {
  return length + (length & 1)
}

function chunkName(letters: string): number {
  return Buffer.from(letters, 'latin1').readUInt32BE()
}
