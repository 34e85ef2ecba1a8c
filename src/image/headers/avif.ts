/**
 * The header of an AVIF: which items make the picture, how large they are, and how much AV1 they hold.
 *
 * Boxes: ISO/IEC 14496-12 and 23008-12, and https://aomediacodec.github.io/av1-avif/. Read are a single AV1 image
 * and a grid of them, each with its alpha plane; other derivations (overlays) are refused.
 */
import { undecodable, unsupported } from './failures.js'
import { type Av1Image, readAv1 } from './av1.js'
import type { AvifHeader, Correction } from './types.js'
import { quoted } from '../../shown-text.js'

/** A part of the file. */
interface Range {
  start: number
  end: number
}

interface Item {
  type: string
  /** Where its data is. */
  extents: Range[]
  /** Indices of its properties, from 1. */
  properties: number[]
}

interface Property {
  name: string
  at: number
  end: number
}

/** The tables of the `meta` box. */
interface Meta {
  primary: number | undefined
  items: Map<number, Item>
  properties: Property[]
  references: { kind: string; from: number; to: number[] }[]
  /** Entries read of the tables that say how many they have. */
  entries: number
}

/** Bounds of the tables. A picture from a camera has some 20 items, a grid of 12 x 8 tiles about 100. */
const MAX_BOXES = 2000
const MAX_ITEMS = 2000
const MAX_REFERENCES = 5000
const MAX_EXTENTS = 16
/** Entries of the tables of places and of properties, in all. */
const MAX_ENTRIES = 5000
/** Units of AV1 data of all images. A tile has two or three. */
const MAX_UNITS = 20_000

export function readAvif(bytes: Uint8Array, view: DataView): AvifHeader {
  const meta = readMeta(bytes, view)
  const id = meta.primary
  if (id === undefined) throw unsupported('avif', 'has no primary item: it may be a sequence of images only')
  const data = new ItemData(bytes)
  const picture = pictureOf(view, data, meta, id)
  const alphas = meta.references.filter(({ kind, to }) => kind === 'auxl' && to.includes(id))
  const parts = [picture, ...alphas.map(({ from }) => pictureOf(view, data, meta, from))]
  const images = parts.flatMap((part) => part.images)
  const bits = Math.max(...images.map((image) => image.bits))
  const pixels = (image: Av1Image) => image.width * image.height * Math.max(1, image.frames)
  const sum = (of: (image: Av1Image) => number) => images.reduce((total, image) => total + of(image), 0)
  return {
    type: 'avif',
    width: picture.width,
    height: picture.height,
    channels: alphas.length > 0 ? 4 : 3,
    depth: bits > 8 ? 2 : 1,
    bits,
    alpha: alphas.length > 0,
    tiles: picture.images.length,
    codedPixels: sum(pixels),
    profileBytes: meta.properties
      .filter((property) => isProfile(view, property))
      .reduce((bytes, { at, end }) => bytes + end - at, 0),
    codedBytes: sum((image) => image.bytes),
    codedSamples: sum((image) => pixels(image) * image.samplesPerPixel),
    bytes: bytes.length,
    plain: false,
    corrections: brandOf(view),
  }
}

/**
 * libvips goes by the major brand, which says `avis` where a sequence of images follows, and names others. Here
 * the picture has been found to be AV1.
 */
function brandOf(view: DataView): Correction[] {
  return fourLetters(view, 8) === 'avif' ? [] : [{ at: 8, bytes: [...Buffer.from('avif')] }]
}

/** The size of an item's picture, and the AV1 images that are decoded for it. */
function pictureOf(
  view: DataView,
  data: ItemData,
  meta: Meta,
  id: number,
): { width: number; height: number; images: Av1Image[] } {
  const item = meta.items.get(id)
  if (item === undefined) throw undecodable('avif', 'it names an item that is not there')
  const size = sizeOf(view, meta, item)
  if (item.type === 'av01') return { ...size, images: [codedImage(data, item, size)] }
  if (item.type !== 'grid') throw unsupported('avif', `holds ${quoted(item.type)} where AV1 is read`)
  const grid = readGrid(data.of(item))
  const tiles = meta.references
    .filter(({ kind, from }) => kind === 'dimg' && from === id)
    .flatMap(({ to }) => to)
  if (tiles.length !== grid.tiles) throw undecodable('avif', 'its grid has another number of tiles')
  const read = new Map<number, Av1Image>()
  const images = tiles.map((tile) => {
    const part = meta.items.get(tile)
    if (part?.type !== 'av01') throw unsupported('avif', 'has a grid of other things than AV1 images')
    const image = read.get(tile) ?? codedImage(data, part, sizeOf(view, meta, part))
    read.set(tile, image)
    return image
  })
  return { width: Math.max(size.width, grid.width), height: Math.max(size.height, grid.height), images }
}

function codedImage(data: ItemData, item: Item, size: { width: number; height: number }): Av1Image {
  const image = readAv1(data.of(item), data.budget)
  return { ...image, width: Math.max(image.width, size.width), height: Math.max(image.height, size.height) }
}

/** The image's size property (`ispe`). */
function sizeOf(view: DataView, meta: Meta, item: Item): { width: number; height: number } {
  for (const index of item.properties) {
    const property = meta.properties[index - 1]
    if (property?.name === 'ispe')
      return { width: view.getUint32(property.at + 4), height: view.getUint32(property.at + 8) }
  }
  throw undecodable('avif', 'an image has no size')
}

/** A colour profile, as opposed to the numbers of a colour space. */
function isProfile(view: DataView, { name, at }: Property): boolean {
  return name === 'colr' && ['prof', 'rICC'].includes(fourLetters(view, at))
}

function readGrid(data: Uint8Array): { width: number; height: number; tiles: number } {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const wide = (view.getUint8(1) & 1) === 1
  const tiles = (view.getUint8(2) + 1) * (view.getUint8(3) + 1)
  return wide
    ? { tiles, width: view.getUint32(4), height: view.getUint32(8) }
    : { tiles, width: view.getUint16(4), height: view.getUint16(6) }
}

/** Hands out the data of items, in all not more than the file has: items do not share theirs. */
class ItemData {
  readonly budget = { units: MAX_UNITS }
  readonly #bytes: Uint8Array
  #left: number

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#left = bytes.length
  }

  of(item: Item): Uint8Array {
    const parts = item.extents.map(({ start, end }) => {
      if (start > end || end > this.#bytes.length)
        throw undecodable('avif', 'the data of an image is cut off')
      return this.#bytes.subarray(start, end)
    })
    this.#left -= parts.reduce((sum, part) => sum + part.length, 0)
    if (this.#left < 0) throw undecodable('avif', 'its images share their data')
    if (parts.length === 0) throw undecodable('avif', 'the data of an image is missing')
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }
}

function readMeta(bytes: Uint8Array, view: DataView): Meta {
  const meta: Meta = { primary: undefined, items: new Map(), properties: [], references: [], entries: 0 }
  const boxes = new Boxes(view)
  const outer = boxes.within({ start: 0, end: bytes.length }).find(({ name }) => name === 'meta')
  if (outer === undefined) throw unsupported('avif', 'has no items: it may be a sequence of images only')
  // A full box: four bytes of version and flags come first.
  const inner = boxes.within({ start: outer.at + 4, end: outer.end })
  const data = inner.find(({ name }) => name === 'idat')
  for (const box of inner) {
    if (box.name === 'pitm')
      meta.primary = view.getUint8(box.at) === 0 ? view.getUint16(box.at + 4) : view.getUint32(box.at + 4)
    else if (box.name === 'iinf') readItems(view, boxes, box, meta)
    else if (box.name === 'iloc') readLocations(view, box, meta, data?.at)
    else if (box.name === 'iref') readReferences(view, boxes, box, meta)
    else if (box.name === 'iprp') readProperties(view, boxes, box, meta)
  }
  return meta
}

/** Boxes in their order, not more than so many in all. */
class Boxes {
  readonly #view: DataView
  #count = 0

  constructor(view: DataView) {
    this.#view = view
  }

  within({ start, end }: Range): Property[] {
    const found: Property[] = []
    let from = start
    while (from + 8 <= end) {
      if (++this.#count > MAX_BOXES) throw undecodable('avif', `it has more than ${MAX_BOXES} boxes`)
      let size = this.#view.getUint32(from)
      let at = from + 8
      if (size === 1) {
        size = Number(this.#view.getBigUint64(at))
        at += 8
      } else if (size === 0) size = end - from
      if (size < at - from) throw undecodable('avif', 'a box has no room for its header')
      found.push({ name: fourLetters(this.#view, from + 4), at, end: Math.min(end, from + size) })
      from += size
    }
    return found
  }
}

function itemOf(meta: Meta, id: number): Item {
  const known = meta.items.get(id)
  if (known) return known
  if (meta.items.size === MAX_ITEMS) throw undecodable('avif', `it has more than ${MAX_ITEMS} items`)
  const item: Item = { type: '', extents: [], properties: [] }
  meta.items.set(id, item)
  return item
}

/** A table may announce any number of entries, and tables may be many. */
function countEntry(meta: Meta): void {
  if (++meta.entries > MAX_ENTRIES)
    throw undecodable('avif', `its tables have more than ${MAX_ENTRIES} entries`)
}

function readItems(view: DataView, boxes: Boxes, box: Property, meta: Meta): void {
  const entries = { start: box.at + (view.getUint8(box.at) === 0 ? 6 : 8), end: box.end }
  for (const { name, at } of boxes.within(entries)) {
    const version = view.getUint8(at)
    if (name !== 'infe' || version < 2) continue
    const id = version === 2 ? view.getUint16(at + 4) : view.getUint32(at + 4)
    itemOf(meta, id).type = fourLetters(view, at + (version === 2 ? 8 : 10))
  }
}

function readLocations(view: DataView, box: Property, meta: Meta, idat: number | undefined): void {
  const version = view.getUint8(box.at)
  const [sizes, more] = [view.getUint8(box.at + 4), view.getUint8(box.at + 5)]
  const width = {
    offset: sizes >> 4,
    length: sizes & 15,
    base: more >> 4,
    index: version > 0 ? more & 15 : 0,
  }
  let at = box.at + 6
  const number = (bytes: number) => {
    at += bytes
    return unsigned(view, at - bytes, bytes)
  }
  const count = number(version < 2 ? 2 : 4)
  for (let i = 0; i < count; i++) {
    countEntry(meta)
    const item = itemOf(meta, number(version < 2 ? 2 : 4))
    const construction = version > 0 ? number(2) & 15 : 0
    if (construction > 1) throw unsupported('avif', 'has an item that is made of other items')
    number(2) // data reference: the file itself
    const base = number(width.base) + (construction === 1 ? (idat ?? view.byteLength) : 0)
    const extents = number(2)
    if (extents > MAX_EXTENTS)
      throw unsupported('avif', `has an item in ${extents} parts; at most ${MAX_EXTENTS} are read`)
    for (let extent = 0; extent < extents; extent++) {
      number(width.index)
      const start = base + number(width.offset)
      const length = number(width.length)
      // Of no length: up to the end.
      item.extents.push({ start, end: length === 0 ? view.byteLength : start + length })
    }
  }
}

function readReferences(view: DataView, boxes: Boxes, box: Property, meta: Meta): void {
  const bytes = view.getUint8(box.at) === 0 ? 2 : 4
  let total = 0
  for (const { name, at } of boxes.within({ start: box.at + 4, end: box.end })) {
    const count = view.getUint16(at + bytes)
    total += count
    if (total > MAX_REFERENCES) throw undecodable('avif', `it has more than ${MAX_REFERENCES} references`)
    const to = Array.from({ length: count }, (_, i) => unsigned(view, at + bytes + 2 + i * bytes, bytes))
    meta.references.push({ kind: name, from: unsigned(view, at, bytes), to })
  }
}

function readProperties(view: DataView, boxes: Boxes, box: Property, meta: Meta): void {
  for (const inner of boxes.within({ start: box.at, end: box.end })) {
    if (inner.name === 'ipco') meta.properties.push(...boxes.within({ start: inner.at, end: inner.end }))
    else if (inner.name === 'ipma') readAssociations(view, inner, meta)
  }
}

function readAssociations(view: DataView, box: Property, meta: Meta): void {
  const wideIds = view.getUint8(box.at) > 0
  const wideIndices = (view.getUint8(box.at + 3) & 1) === 1
  const entries = view.getUint32(box.at + 4)
  let at = box.at + 8
  for (let entry = 0; entry < entries; entry++) {
    countEntry(meta)
    const item = itemOf(meta, unsigned(view, at, wideIds ? 4 : 2))
    at += wideIds ? 4 : 2
    const count = view.getUint8(at++)
    for (let i = 0; i < count; i++) {
      // The highest bit says whether the property is essential.
      item.properties.push(wideIndices ? view.getUint16(at) & 0x7fff : view.getUint8(at) & 0x7f)
      at += wideIndices ? 2 : 1
    }
    if (item.properties.length > MAX_BOXES) throw undecodable('avif', 'an item has too many properties')
  }
}

function unsigned(view: DataView, at: number, bytes: number): number {
  if (bytes === 0) return 0
  if (bytes === 2) return view.getUint16(at)
  if (bytes === 4) return view.getUint32(at)
  if (bytes === 8) return Number(view.getBigUint64(at))
  throw undecodable('avif', `it has numbers of ${bytes} bytes`)
}

function fourLetters(view: DataView, at: number): string {
  return Buffer.from(view.buffer, view.byteOffset + at, 4).toString('latin1')
}
