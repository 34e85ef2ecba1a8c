/**
 * Reads the size of a plain JPEG or PNG from its header. libvips can report it as well, at the cost of a
 * second pipeline and a thread-pool round trip. Plain means: nothing that turns the image, no alpha, at most
 * 8 bits a channel and nothing unusual. All other images are left to libvips.
 */

export interface PlainHeader {
  /** Pixels, as stored and as shown. */
  width: number
  height: number
}

/**
 * The size of a plain image, upright and without alpha; null if the header does not prove that it is plain.
 */
export function plainHeader(bytes: Uint8Array, type: string): PlainHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (type === 'jpeg') return plainJpeg(view)
  return type === 'png' ? plainPng(view) : null
}

/** Markers of the frame header: baseline and progressive. */
const frameMarkers: readonly number[] = [0xc0, 0xc2]
/** Markers of segments without effect here: Huffman and quantisation tables, restart interval, comment. */
const neutralMarkers: readonly number[] = [0xc4, 0xdb, 0xdd, 0xfe]

/**
 * Reads the segments up to the first scan. APP1 may hold Exif and so an orientation: such a file is not
 * plain.
 */
function plainJpeg(view: DataView): PlainHeader | null {
  let found: PlainHeader | null = null
  let at = 2
  for (let part = 0; part < MAX_PARTS && at + 4 <= view.byteLength; part++) {
    if (view.getUint8(at) !== 0xff) return null
    const marker = view.getUint8(at + 1)
    const length = view.getUint16(at + 2)
    if (marker === 0xda) return found
    if (frameMarkers.includes(marker)) {
      if (found !== null || length < 11 || at + 2 + length > view.byteLength) return null
      found = { height: view.getUint16(at + 5), width: view.getUint16(at + 7) }
      const channels = view.getUint8(at + 9)
      if (view.getUint8(at + 4) !== 8 || (channels !== 1 && channels !== 3)) return null
      if (found.width === 0 || found.height === 0) return null
    } else {
      const application = marker >= 0xe0 && marker <= 0xef && marker !== 0xe1
      if (length < 2 || !(application || neutralMarkers.includes(marker))) return null
    }
    at += 2 + length
  }
  return null
}

/** Chunks that neither turn the image, nor make it transparent, nor animate it. */
const plainChunks = new Set(
  'PLTE IDAT gAMA cHRM sRGB iCCP pHYs sBIT bKGD hIST tIME'.split(' ').map(chunkName),
)
const [IHDR, IEND] = [chunkName('IHDR'), chunkName('IEND')]
/** An image with more chunks or segments is not plain: walking through them must not block the event loop. */
const MAX_PARTS = 4096
/** Colour types without alpha: grey, RGB and palette. */
const opaqueTypes: readonly number[] = [0, 2, 3]

/** Reads all chunks, also those after the image data: an orientation (eXIf) may stand there. */
function plainPng(view: DataView): PlainHeader | null {
  if (view.byteLength < 33 || view.getUint32(12) !== IHDR || view.getUint32(8) !== 13) return null
  const [width, height] = [view.getUint32(16), view.getUint32(20)]
  if (width === 0 || height === 0 || view.getUint8(24) > 8 || !opaqueTypes.includes(view.getUint8(25)))
    return null
  let at = 33
  for (let part = 0; part < MAX_PARTS && at + 8 <= view.byteLength; part++) {
    const name = view.getUint32(at + 4)
    if (name === IEND) return { width, height }
    if (!plainChunks.has(name)) return null
    at += 12 + view.getUint32(at)
  }
  return null
}

/** The four letters of a chunk's name as one number. */
function chunkName(letters: string): number {
  return Buffer.from(letters, 'latin1').readUInt32BE()
}
