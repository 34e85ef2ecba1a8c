/** The header of a PNG (https://www.w3.org/TR/png-3/), and what its other chunks say. */
import { constants, inflateSync } from 'node:zlib'
import type { Steps } from '../../concurrency/turns.js'
import { undecodable } from './failures.js'
import type { PngHeader } from './types.js'

/** Chunks that neither turn the image, nor make it transparent, nor animate it. */
const plainChunks = new Set(
  'PLTE IDAT gAMA cHRM sRGB iCCP pHYs sBIT bKGD hIST tIME'.split(' ').map(chunkName),
)
const [IHDR, IEND, tRNS, iCCP] = ['IHDR', 'IEND', 'tRNS', 'iCCP'].map(chunkName)
/** Chunks that libpng inflates beside the image. */
const deflatedChunks = new Set(['iCCP', 'zTXt', 'iTXt'].map(chunkName))
/** A plain image has no more chunks. */
const MAX_PLAIN_CHUNKS = 4096
/** Chunks that are looked at in a step. */
const CHUNKS_A_STEP = 1000
/** A chunk has its length and its name before its data, and its checksum behind it. */
const [BEFORE_DATA, AROUND_DATA] = [8, 12]
/** By colour type: grey, RGB, palette, grey with alpha, RGB with alpha. */
const channelsOf: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 }
const bitsOf: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
}
/** libpng inflates no chunk to more. */
const MAX_PROFILE_BYTES = 8_000_000
/** Of a profile's name. */
const MAX_NAME_BYTES = 79
/** Of a deflated profile so much is looked at: its length is in the first four bytes. */
const PROFILE_START_BYTES = 256
/** From the start of the file: the signature, and IHDR with its length, name and checksum. */
const AFTER_IHDR = 33

export function* readPng(bytes: Uint8Array, view: DataView): Steps<PngHeader> {
  if (view.getUint32(8) !== 13 || view.getUint32(12) !== IHDR)
    throw undecodable('png', 'its header is not first')
  const [bits, colour, interlace] = [view.getUint8(24), view.getUint8(25), view.getUint8(28)]
  const channels = channelsOf[colour]
  if (channels === undefined || !bitsOf[colour]!.includes(bits))
    throw undecodable('png', `it has colour type ${colour} with ${bits} bits`)
  if (interlace > 1) throw undecodable('png', `it has interlace method ${interlace}`)
  const header: PngHeader = {
    type: 'png',
    width: view.getUint32(16),
    height: view.getUint32(20),
    channels,
    depth: bits === 16 ? 2 : 1,
    bits,
    alpha: colour === 4 || colour === 6,
    palette: colour === 3,
    interlaced: interlace === 1,
    profileBytes: 0,
    textBytes: 0,
    bytes: bytes.length,
    plain: false,
  }
  yield* readChunks(view, header)
  return header
}

/**
 * Reads all chunks, also those after the image data: an orientation (eXIf) may stand there. The last one must be there:
 * libvips decodes no more lines than the crop needs, so it does not find out whether those below are there.
 */
function* readChunks(view: DataView, header: PngHeader): Steps<void> {
  let plain = header.bits <= 8 && !header.alpha
  let at = AFTER_IHDR
  for (let chunk = 1; at + AROUND_DATA <= view.byteLength; chunk++) {
    const length = view.getUint32(at)
    const name = view.getUint32(at + 4)
    const next = at + AROUND_DATA + length
    if (next > view.byteLength) break
    if (name === IEND) {
      header.plain = plain && chunk <= MAX_PLAIN_CHUNKS
      return
    }
    plain &&= plainChunks.has(name)
    if (deflatedChunks.has(name)) header.textBytes += length
    // One is read; a file of several may mean any of them.
    if (name === iCCP)
      header.profileBytes =
        header.profileBytes > 0 ? MAX_PROFILE_BYTES : profileBytes(view, at + BEFORE_DATA, length)
    if (name === tRNS && !header.alpha) {
      header.alpha = true
      header.channels++
    }
    if (chunk % CHUNKS_A_STEP === 0) yield
    at = next
  }
  throw undecodable('png', 'its end is missing')
}

/**
 * Bytes of an inflated profile. It names its own length in its first bytes, and libpng takes no other one. A profile
 * that hides them counts as the longest.
 */
function profileBytes(view: DataView, start: number, length: number): number {
  const chunk = new Uint8Array(view.buffer, view.byteOffset + start, length)
  // A name that ends with 0, and the method of compression.
  const data = chunk.subarray(0, MAX_NAME_BYTES + 1).indexOf(0) + 2
  try {
    const inflated = inflateSync(chunk.subarray(data, data + PROFILE_START_BYTES), {
      finishFlush: constants.Z_SYNC_FLUSH,
    })
    return Math.max(1, Math.min(inflated.readUInt32BE(0), MAX_PROFILE_BYTES))
  } catch {
    return MAX_PROFILE_BYTES
  }
}

/** The four letters of a chunk's name as one number. */
function chunkName(letters: string): number {
  return Buffer.from(letters, 'latin1').readUInt32BE()
}
