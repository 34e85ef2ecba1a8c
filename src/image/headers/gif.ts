/**
 * The header of a GIF (https://www.w3.org/Graphics/GIF/spec-gif89a.txt), and its frames.
 *
 * libvips' reader looks at all frames before it decodes the first one, and keeps a record of each.
 */
import type { Steps } from '../../concurrency/turns.js'
import { tooLarge, undecodable } from './failures.js'
import type { GifHeader } from './types.js'

const [EXTENSION, IMAGE, TRAILER] = [0x21, 0x2c, 0x3b]
const MAX_FRAMES = 10_000
/** Blocks that are walked past in a step. */
const BLOCKS_A_STEP = 1000
/** Screens that old programs wrote whatever the image's size; the reader then goes by the first frame. */
const unlikelyScreens = ['640x480', '640x512', '800x600', '1024x768', '1280x1024', '1600x1200', '0x0']
const MAX_LIKELY_SIDE = 2048

export function* readGif(bytes: Uint8Array, view: DataView): Steps<GifHeader> {
  const screen = { width: view.getUint16(6, true), height: view.getUint16(8, true) }
  const header: GifHeader = {
    type: 'gif',
    width: screen.width,
    height: screen.height,
    channels: 4,
    depth: 1,
    bits: 8,
    profileBytes: 0,
    alpha: true,
    frames: 0,
    bytes: bytes.length,
    plain: false,
  }
  let at = 13 + tableBytes(view.getUint8(10))
  let blocks = 0
  while (at < bytes.length && bytes[at] !== TRAILER) {
    const kind = bytes[at]
    if (kind === IMAGE) {
      // Cut off behind what has been read.
      if (at + 10 > bytes.length && header.frames > 0) break
      header.frames++
      if (header.frames === 1) growTo(header, view, at + 1)
      if (header.frames > MAX_FRAMES)
        throw tooLarge(
          `The GIF image has more than ${MAX_FRAMES} frames; at most ${MAX_FRAMES} are accepted.`,
        )
      at += 11 + tableBytes(bytes[at + 9] ?? 0)
    } else if (kind === EXTENSION) at += 2
    else if (header.frames > 0) break
    else throw undecodable('gif', 'it has a block of an unknown kind')
    // Blocks of data, each behind its length; one of length 0 ends them.
    for (;;) {
      const length = bytes[at] ?? 0
      at += 1 + length
      if (++blocks % BLOCKS_A_STEP === 0) yield
      if (length === 0) break
    }
  }
  if (header.frames === 0) throw undecodable('gif', 'it has no image')
  return header
}

/** The first frame may be larger than the screen. */
function growTo(header: GifHeader, view: DataView, at: number): void {
  const width = view.getUint16(at, true) + view.getUint16(at + 4, true)
  const height = view.getUint16(at + 2, true) + view.getUint16(at + 6, true)
  const likely =
    !unlikelyScreens.includes(`${header.width}x${header.height}`) &&
    header.width <= MAX_LIKELY_SIDE &&
    header.height <= MAX_LIKELY_SIDE
  header.width = likely ? Math.max(header.width, width) : width
  header.height = likely ? Math.max(header.height, height) : height
}

/** Bytes of the colour table that these flags announce. */
function tableBytes(flags: number): number {
  return (flags & 0x80) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1)
}
