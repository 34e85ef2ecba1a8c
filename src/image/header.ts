/**
 * The size of a plain JPEG or PNG, from its own bytes. libvips would tell it too, for a pipeline more and another
 * trip to its threads. What is not plain is left to it: anything that may turn the image, blend it or hold more
 * than 8 bits a channel, and anything unusual.
 */

export interface PlainHeader {
  /** Pixels, as stored and as shown. */
  width: number
  height: number
}

/** The size of an upright image of 8-bit grey or RGB without alpha; null where this cannot be sure. */
export function plainHeader(bytes: Uint8Array, type: string): PlainHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (type === 'jpeg') return plainJpeg(view)
  return type === 'png' ? plainPng(view) : null
}

/** Frames of 8-bit baseline and progressive JPEGs. */
const frames: readonly number[] = [0xc0, 0xc2]
/** Huffman and quantisation tables, restart interval, comment. */
const tables: readonly number[] = [0xc4, 0xdb, 0xdd, 0xfe]

/** Reads the segments up to the first scan. APP1 holds Exif, and with it the orientation. */
function plainJpeg(view: DataView): PlainHeader | null {
  let found: PlainHeader | null = null
  let at = 2
  for (let part = 0; part < MOST_PARTS && at + 4 <= view.byteLength; part++) {
    if (view.getUint8(at) !== 0xff) return null
    const marker = view.getUint8(at + 1)
    const length = view.getUint16(at + 2)
    if (marker === 0xda) return found
    if (frames.includes(marker)) {
      if (found !== null || length < 11 || at + 2 + length > view.byteLength) return null
      found = { height: view.getUint16(at + 5), width: view.getUint16(at + 7) }
      const channels = view.getUint8(at + 9)
      if (view.getUint8(at + 4) !== 8 || (channels !== 1 && channels !== 3)) return null
      if (found.width === 0 || found.height === 0) return null
    } else {
      const application = marker >= 0xe0 && marker <= 0xef && marker !== 0xe1
      if (length < 2 || !(application || tables.includes(marker))) return null
    }
    at += 2 + length
  }
  return null
}

/** Chunks that neither turn an image nor make it transparent nor move. */
const plainChunks = new Set(
  'PLTE IDAT gAMA cHRM sRGB iCCP pHYs sBIT bKGD hIST tIME'.split(' ').map(chunkName),
)
const [IHDR, IEND] = [chunkName('IHDR'), chunkName('IEND')]
/** An image of more chunks or segments is not plain: counting them must not hold the event loop up. */
const MOST_PARTS = 4096
/** Grey, RGB and palette. */
const opaque: readonly number[] = [0, 2, 3]

/** Reads the chunks to the last: what turns the image may stand behind its data. */
function plainPng(view: DataView): PlainHeader | null {
  if (view.byteLength < 33 || view.getUint32(12) !== IHDR || view.getUint32(8) !== 13) return null
  const [width, height] = [view.getUint32(16), view.getUint32(20)]
  if (width === 0 || height === 0 || view.getUint8(24) > 8 || !opaque.includes(view.getUint8(25))) return null
  let at = 33
  for (let part = 0; part < MOST_PARTS && at + 8 <= view.byteLength; part++) {
    const name = view.getUint32(at + 4)
    if (name === IEND) return { width, height }
    if (!plainChunks.has(name)) return null
    at += 12 + view.getUint32(at)
  }
  return null
}

/** Its four letters as one number. */
function chunkName(letters: string): number {
  return Buffer.from(letters, 'latin1').readUInt32BE()
}
