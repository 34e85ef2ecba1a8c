/**
 * Reads the header of an image from its own bytes, so that what decoding will take is known before libvips
 * decodes a pixel.
 *
 * One parser a format. Each does bounded work, in steps where it must walk through a whole file, and refuses
 * what it cannot make sense of.
 */
import type { Steps } from '../../concurrency/turns.js'
import { FacetError } from '../../errors.js'
import { undecodable } from './failures.js'
import type { ImageType } from './sniff.js'
import { readAvif } from './avif.js'
import { readGif } from './gif.js'
import { readJpeg } from './jpeg.js'
import { readPng } from './png.js'
import { readTiff } from './tiff.js'
import type { ImageHeader } from './types.js'
import { readWebp } from './webp.js'

type Reader = (bytes: Uint8Array, view: DataView) => ImageHeader | Steps<ImageHeader>

const readers: Readonly<Record<ImageType, Reader>> = {
  jpeg: readJpeg,
  png: readPng,
  webp: readWebp,
  gif: readGif,
  avif: readAvif,
  tiff: readTiff,
}

/**
 * The header of an image, in steps.
 *
 * @param type what `sniffImage` says of `bytes`
 * @throws FacetError `undecodable_image` for a header that is cut off, contradicts itself or is of an unsupported
 * kind; `image_too_large` for one with more parts than are counted
 */
export function* readHeader(bytes: Uint8Array, type: ImageType): Steps<ImageHeader> {
  try {
    const read = readers[type](bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    const header = 'next' in read ? yield* read : read
    if (header.width < 1 || header.height < 1) throw undecodable(type, 'it has no pixels')
    return header
  } catch (error) {
    if (error instanceof FacetError) throw error
    // Reading beyond the end of the view.
    if (error instanceof RangeError) throw undecodable(type, 'its header is cut off', error)
    throw error
  }
}
