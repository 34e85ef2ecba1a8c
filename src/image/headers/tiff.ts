/**
 * The header of a TIFF, classic or BigTIFF: the tags of its first page, and how many pages follow.
 * Tags: https://www.awaresystems.be/imaging/tiff/tifftags.html
 */
import type { Steps } from '../../concurrency/turns.js'
import { tooLarge, undecodable, unsupported } from './failures.js'
import { readJpegStrip } from './jpeg.js'
import { checkSamples } from './tiff-kinds.js'
import type { TiffHeader } from './types.js'

const tags = {
  width: 256,
  height: 257,
  bits: 258,
  compression: 259,
  photometric: 262,
  stripOffsets: 273,
  samplesPerPixel: 277,
  rowsPerStrip: 278,
  stripBytes: 279,
  planar: 284,
  tileWidth: 322,
  tileHeight: 323,
  tileOffsets: 324,
  tileBytes: 325,
  inkSet: 332,
  extraSamples: 338,
  sampleFormat: 339,
  profile: 34675,
} as const

/** Bytes of a value by the number of its type: byte, ASCII, short, long, rational, and so on. */
const typeBytes: Readonly<Record<number, number>> = {
  1: 1,
  2: 1,
  3: 2,
  4: 4,
  5: 8,
  6: 1,
  7: 1,
  8: 2,
  9: 4,
  10: 8,
  11: 4,
  12: 8,
  13: 4,
  16: 8,
  17: 8,
  18: 8,
}
/** Only the first page is decoded, but libtiff reads the tags of all. */
const MAX_PAGES = 1000
const MAX_TAGS = 1000
/** Samples a pixel that are looked at. */
const MAX_SAMPLES = 64
/** Photometric interpretation of a palette, which libvips hands on as RGB. */
const PALETTE = 3
/** Compression. */
const JPEG = 7
const MAX_JPEG_BLOCKS = 65_536
/** Strips or tiles whose places are looked at in a step. */
const BLOCKS_A_STEP = 1000
/** Sample format. */
const UNSIGNED = 1

/** A file's byte order and the widths of its fields. */
class Fields {
  readonly #view: DataView
  readonly #little: boolean
  readonly big: boolean

  constructor(view: DataView) {
    this.#view = view
    this.#little = view.getUint8(0) === 0x49
    this.big = view.getUint16(2, this.#little) === 43
  }

  get length(): number {
    return this.#view.byteLength
  }

  /** Whole number of 1, 2, 4 or 8 bytes; one too large for a number is Infinity. */
  uint(at: number, bytes: number): number {
    if (bytes === 1) return this.#view.getUint8(at)
    if (bytes === 2) return this.#view.getUint16(at, this.#little)
    if (bytes === 4) return this.#view.getUint32(at, this.#little)
    const value = Number(this.#view.getBigUint64(at, this.#little))
    return Number.isSafeInteger(value) ? value : Number.POSITIVE_INFINITY
  }

  /** An offset in the file. */
  offset(at: number): number {
    return this.uint(at, this.big ? 8 : 4)
  }
}

interface Tag {
  type: number
  count: number
  /** Where its values are. */
  at: number
}

export function* readTiff(bytes: Uint8Array, view: DataView): Steps<TiffHeader> {
  const fields = new Fields(view)
  const first = fields.offset(fields.big ? 8 : 4)
  const found = readTags(fields, first)
  const value = (tag: number, standard: number, index = 0) =>
    tagValue(fields, found.get(tag), standard, index)

  const [width, height] = [value(tags.width, 0), value(tags.height, 0)]
  const samplesPerPixel = value(tags.samplesPerPixel, 1)
  const bits = value(tags.bits, 1)
  if (samplesPerPixel < 1 || samplesPerPixel > MAX_SAMPLES)
    throw unsupported('tiff', `has ${samplesPerPixel} samples a pixel`)
  for (let sample = 1; sample < samplesPerPixel; sample++)
    if (value(tags.bits, bits, sample) !== bits) throw unsupported('tiff', 'has samples of different depths')
  const photometric = value(tags.photometric, -1)
  const compression = value(tags.compression, 1)
  const planar = value(tags.planar, 1) === 2
  const tiled = found.has(tags.tileWidth) || found.has(tags.tileOffsets)
  const formats = Array.from({ length: samplesPerPixel }, (_, sample) => value(tags.sampleFormat, 1, sample))
  const extraSamples = found.get(tags.extraSamples)?.count ?? 0
  checkSamples({
    bits,
    sampleFormat: formats.find((format) => format !== UNSIGNED) ?? UNSIGNED,
    samplesPerPixel,
    extraSamples,
    photometric,
    compression,
    planar,
    tiled,
    inkSet: value(tags.inkSet, 1),
  })
  const block = tiled
    ? { width: value(tags.tileWidth, 0), height: value(tags.tileHeight, 0) }
    : { width, height: Math.min(height, value(tags.rowsPerStrip, height)) }
  if (block.width < 1 || block.height < 1) throw undecodable('tiff', 'its strips or tiles have no size')
  const blocksOfPlane = Math.ceil(width / block.width) * Math.ceil(height / block.height)
  const blocks = blocksOfPlane * (planar ? samplesPerPixel : 1)
  const places = new Places(fields, found)
  yield* checkPlaces(fields, places, blocks)
  if (compression === JPEG) yield* checkJpegBlocks(bytes, places, blocks)
  const channels = photometric === PALETTE ? 3 : samplesPerPixel
  return {
    type: 'tiff',
    width,
    height,
    channels,
    depth: bits <= 8 ? 1 : 2,
    bits,
    alpha: extraSamples > 0,
    compression,
    photometric,
    planar,
    samplesPerPixel,
    profileBytes: profileBytes(fields, found.get(tags.profile)),
    tiled,
    block,
    blocks,
    pages: yield* countPages(fields, first),
    bytes: bytes.length,
    plain: false,
  }
}

function profileBytes({ length }: Fields, tag: Tag | undefined): number {
  return tag === undefined ? 0 : Math.min(length, (typeBytes[tag.type] ?? 0) * tag.count)
}

/** Where the strips or tiles are. One of no bytes is left out of the file. */
class Places {
  readonly #fields: Fields
  readonly #offsets: Tag | undefined
  readonly #lengths: Tag | undefined

  constructor(fields: Fields, found: ReadonlyMap<number, Tag>) {
    this.#fields = fields
    this.#offsets = found.get(tags.tileOffsets) ?? found.get(tags.stripOffsets)
    this.#lengths = found.get(tags.tileBytes) ?? found.get(tags.stripBytes)
  }

  /** Of how many the file says it. Looking up one that lies beyond the end of the file throws a RangeError. */
  get count(): number {
    return this.#offsets?.count ?? 0
  }

  of(block: number): { start: number; length: number } {
    return {
      start: tagValue(this.#fields, this.#offsets, 0, block),
      length: tagValue(this.#fields, this.#lengths, 0, block),
    }
  }
}

/** Strips below the crop are not decoded, so libvips does not find out whether they are there. */
function* checkPlaces(fields: Fields, places: Places, blocks: number): Steps<void> {
  for (let block = 0; block < Math.min(blocks, places.count); block++) {
    const { start, length } = places.of(block)
    if (length > 0 && start + length > fields.length)
      throw undecodable('tiff', 'its end is missing, where a strip or tile should be')
    if (block % BLOCKS_A_STEP === 0) yield
  }
}

/** A strip of JPEG may itself be stored in many scans, which nobody needs: such a file is refused. */
function* checkJpegBlocks(bytes: Uint8Array, places: Places, blocks: number): Steps<void> {
  if (blocks > MAX_JPEG_BLOCKS)
    throw tooLarge(
      `The TIFF image has ${blocks} strips or tiles of JPEG; at most ${MAX_JPEG_BLOCKS} are accepted.`,
    )
  let total = 0
  for (let block = 0; block < blocks; block++) {
    const { start, length } = places.of(block)
    const part = bytes.subarray(start, start + length)
    if (part.length === 0) continue
    total += part.length
    if (total > 2 * bytes.length) throw undecodable('tiff', 'its strips or tiles share their data')
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength)
    const { progressive, scans, scannedSamples, samples } = yield* readJpegStrip(part, view)
    if (progressive || scans > 1 || scannedSamples !== samples)
      throw unsupported('tiff', 'has a strip or tile of JPEG in several scans; one scan is read')
    yield
  }
}

/** The tags of the page at an offset. Where one stands twice, libtiff takes the first. */
function readTags(fields: Fields, page: number): Map<number, Tag> {
  const { count, start, size } = entriesOf(fields, page)
  const found = new Map<number, Tag>()
  for (let entry = 0; entry < count; entry++) {
    const at = start + entry * size
    const tag = fields.uint(at, 2)
    const type = fields.uint(at + 2, 2)
    const values = fields.offset(at + 4)
    const inline = fields.big ? 8 : 4
    const bytes = (typeBytes[type] ?? 0) * values
    const where = at + 4 + inline
    if (!found.has(tag))
      found.set(tag, { type, count: values, at: bytes <= inline ? where : fields.offset(where) })
  }
  return found
}

function entriesOf(fields: Fields, page: number): { count: number; start: number; size: number } {
  if (page >= fields.length) throw undecodable('tiff', 'a page lies beyond its end')
  const count = fields.uint(page, fields.big ? 8 : 2)
  if (count > MAX_TAGS) throw undecodable('tiff', `a page has ${count} tags`)
  return { count, start: page + (fields.big ? 8 : 2), size: fields.big ? 20 : 12 }
}

function tagValue(fields: Fields, tag: Tag | undefined, standard: number, index: number): number {
  if (tag === undefined || tag.count <= index) return standard
  const bytes = typeBytes[tag.type] ?? 0
  if (![1, 3, 4, 16].includes(tag.type)) throw undecodable('tiff', 'a tag has a value of the wrong type')
  return fields.uint(tag.at + index * bytes, bytes)
}

/** Pages in the chain. libtiff reads the values of all their tags, so pages that share theirs are refused. */
function* countPages(fields: Fields, first: number): Steps<number> {
  const seen = new Set<number>()
  let valueBytes = 0
  // Where the chain breaks or turns back, libtiff ends it.
  for (let page = first; page !== 0 && page < fields.length && !seen.has(page); ) {
    if (seen.size === MAX_PAGES)
      throw tooLarge(`The TIFF image has more than ${MAX_PAGES} pages; at most ${MAX_PAGES} are accepted.`)
    seen.add(page)
    const { count, start, size } = entriesOf(fields, page)
    const next = start + count * size
    if (next + (fields.big ? 8 : 4) > fields.length) break
    for (let at = start; at < next; at += size)
      valueBytes += (typeBytes[fields.uint(at + 2, 2)] ?? 0) * fields.offset(at + 4)
    if (seen.size > 1 && valueBytes > 2 * fields.length)
      throw undecodable('tiff', 'its pages share the values of their tags')
    page = fields.offset(next)
    yield
  }
  return seen.size
}
