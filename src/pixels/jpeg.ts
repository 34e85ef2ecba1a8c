/**
 * Baseline JPEGs to RGB, at full size or reduced, to the bit as libvips decodes them with libjpeg. For small images:
 * libvips' objects and threads cost it more than their pixels do.
 *
 * Reads what cameras and libraries write by default (8 bits, one scan, grey or YCbCr at 4:4:4, 4:2:2 or 4:2:0). All
 * else, everything odd and everything damaged is `null`: libvips may say what it makes of it.
 */
import type { Crop, Size } from './enlarge.js'
import { BlockReader, type Coding, type HuffmanTable, huffmanTable, PLACES, SLACK } from './huffman.js'
import { flat, transforms } from './idct.js'
import { Scratch } from './scratch.js'
import { rgbOf } from './ycc.js'

/** Samples of each component; entropy-coded bytes. */
const scratch = { planes: [new Scratch(), new Scratch(), new Scratch()], code: new Scratch() }

/** One colour component of a scan. */
interface Component extends Coding {
  id: number
  /** Blocks across and down in each MCU. */
  across: number
  down: number
}

/** Samples of one component. */
export interface Plane extends Size {
  samples: Uint8Array
  stride: number
}

interface Tables {
  steps: (Uint16Array | undefined)[]
  dc: (HuffmanTable | undefined)[]
  ac: (HuffmanTable | undefined)[]
}

interface Frame extends Size {
  components: Component[]
  /** MCUs between restart markers; 0 for none. */
  restart: number
  /** The entropy-coded bytes, as in the file, to the end of the file. */
  scan: Uint8Array
}

/**
 * @param shrink 1, 2, 4 or 8: the image comes at a part of its size, rounded down
 * @param window the part of the shrunk image that is wanted
 * @returns `[window.height, window.width, 3]`
 */
export function decodeJpeg(bytes: Uint8Array, shrink: number, window: Crop): Uint8Array | null {
  const frame = readHead(bytes)
  if (frame === null) return null
  const planes = readScan(frame, 8 / shrink, window)
  return planes && rgbOf(planes, window)
}

const [SOI, EOI, SOS, DQT, DHT, DRI, SOF0, APP0, COM] = [0xd8, 0xd9, 0xda, 0xdb, 0xc4, 0xdd, 0xc0, 0xe0, 0xfe]
/** Segments that change no pixel. Exif (1), ICC profiles (2) and Adobe's colour transform (14) may. */
const passed: ReadonlySet<number> = new Set([
  COM,
  ...[3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15].map((n) => APP0 + n),
])

function readHead(bytes: Uint8Array): Frame | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const tables: Tables = { steps: [], dc: [], ac: [] }
  let size: Size | undefined
  let jfif = false
  let restart = 0
  let components: (Component & { table: number })[] = []
  if (bytes[0] !== 0xff || bytes[1] !== SOI) return null
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) return null
    const marker = bytes[at + 1]!
    const length = view.getUint16(at + 2)
    const segment = bytes.subarray(at + 4, at + 2 + length)
    if (length < 2 || segment.length !== length - 2) return null
    at += 2 + length
    if (marker === DQT) {
      if (!readSteps(segment, tables)) return null
    } else if (marker === DHT) {
      if (!readCodes(segment, tables)) return null
    } else if (marker === DRI) {
      if (segment.length !== 2) return null
      restart = segment[0]! * 256 + segment[1]!
    } else if (marker === APP0) {
      // Other versions make libjpeg warn. Not all that stands in an APP0 is JFIF.
      if (segment.length < 14 || Buffer.from(segment.subarray(0, 5)).toString('latin1') !== 'JFIF\0')
        return null
      if (segment[5] !== 1) return null
      jfif = true
    } else if (marker === SOF0) {
      if (size !== undefined || segment.length < 6 || segment[0] !== 8) return null
      size = { height: segment[1]! * 256 + segment[2]!, width: segment[3]! * 256 + segment[4]! }
      if (size.width === 0 || size.height === 0) return null
      components = readComponents(segment.subarray(5))
      if (components.length === 0) return null
    } else if (marker === SOS) {
      if (size === undefined || !assignTables(segment, components, tables)) return null
      const ids = components.map(({ id }) => id).join()
      if (components.length === 3 && !jfif && ids !== '1,2,3') return null
      return { ...size, components, restart, scan: bytes.subarray(at) }
    } else if (!passed.has(marker)) return null
  }
  return null
}

function readSteps(segment: Uint8Array, { steps }: Tables): boolean {
  for (let at = 0; at < segment.length; at += 65) {
    // 0 to 3, and not of 16 bits.
    const index = segment[at]!
    if (index > 3 || at + 65 > segment.length) return false
    const own = new Uint16Array(PLACES)
    own.set(segment.subarray(at + 1, at + 65))
    steps[index] = own
  }
  return true
}

function readCodes(segment: Uint8Array, { dc, ac }: Tables): boolean {
  for (let at = 0; at < segment.length; ) {
    const [index, counts] = [segment[at]!, segment.subarray(at + 1, at + 17)]
    const symbols = counts.reduce((sum, count) => sum + count, 0)
    at += 17 + symbols
    if ((index & 0xef) > 3 || symbols > 256 || at > segment.length) return false
    const table = huffmanTable(counts, segment.subarray(at - symbols, at))
    if (table === null) return false
    ;(index < 16 ? dc : ac)[index & 3] = table
  }
  return true
}

/** Empty where we do not read such a frame. */
function readComponents(segment: Uint8Array): (Component & { table: number })[] {
  const count = segment[0]!
  if ((count !== 1 && count !== 3) || segment.length !== 1 + 3 * count) return []
  const components = Array.from({ length: count }, (_, index) => {
    const [id, sampling, table] = segment.subarray(1 + 3 * index)
    return { id: id!, across: sampling! >> 4, down: sampling! & 15, table: table!, last: 0 } as Component & {
      table: number
    }
  })
  const shape = components.map(({ across, down }) => `${across}x${down}`).join()
  // The blocks of a single component come one by one, whatever its sampling.
  if (count === 1) return components.map((one) => ({ ...one, across: 1, down: 1 }))
  return ['1x1,1x1,1x1', '2x1,1x1,1x1', '2x2,1x1,1x1'].includes(shape) ? components : []
}

/** The scan's choice of tables. False where one is missing, or where it is not the one scan of a baseline image. */
function assignTables(
  segment: Uint8Array,
  components: (Component & { table: number })[],
  tables: Tables,
): boolean {
  const count = components.length
  if (segment[0] !== count || segment.length !== 4 + 2 * count) return false
  const [start, end, approximation] = segment.subarray(1 + 2 * count)
  if (start !== 0 || end !== 63 || approximation !== 0) return false
  return components.every((component, index) => {
    const [id, choice] = segment.subarray(1 + 2 * index)
    const [dc, ac, steps] = [tables.dc[choice! >> 4], tables.ac[choice! & 15], tables.steps[component.table]]
    if (id !== component.id || !dc || !ac || !steps) return false
    Object.assign(component, { dc, ac, steps })
    return true
  })
}

/** @param scaled samples of a full block's side after the transform */
function readScan(frame: Frame, scaled: number, window: Crop): Plane[] | null {
  const { components, restart } = frame
  const { across, down } = components[0]!
  const columns = Math.ceil(frame.width / (8 * across))
  const rows = Math.ceil(frame.height / (8 * down))
  const sides = components.map((component) => {
    // As libjpeg does: where chroma has half the samples both ways, its blocks are reduced less.
    const half = component.across < across && component.down < down
    return half && scaled < 8 ? scaled * 2 : scaled
  })
  const planes = components.map((component, index): Plane => {
    const [side, stride] = [sides[index]!, columns * component.across * sides[index]!]
    return {
      width: Math.ceil((frame.width * component.across * side) / (across * 8)),
      height: Math.ceil((frame.height * component.down * side) / (down * 8)),
      samples: scratch.planes[index]!.take(stride * rows * component.down * side),
      stride,
    }
  })
  const parts = unstuffed(frame.scan)
  if (parts === null || parts.length !== (restart === 0 ? 1 : Math.ceil((columns * rows) / restart)))
    return null
  // MCUs that no wanted pixel depends on, be it as a neighbour of its chroma, are read and not transformed.
  const unit = { width: across * scaled, height: down * scaled }
  const first = { column: (window.left - 2) / unit.width - 1, row: (window.top - 2) / unit.height - 1 }
  const last = {
    column: (window.left + window.width + 2) / unit.width,
    row: (window.top + window.height + 2) / unit.height,
  }
  let reader = new BlockReader(parts[0]!)
  let part = 0
  let left = restart
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (restart > 0 && left-- === 0) {
        if (!ended(reader, parts[part]!)) return null
        reader = new BlockReader(parts[++part]!)
        left = restart - 1
        for (const component of components) component.last = 0
      }
      const wanted = row > first.row && row < last.row && column > first.column && column < last.column
      for (let index = 0; index < components.length; index++) {
        const component = components[index]!
        const side = sides[index]!
        const plane = planes[index]!
        for (let outer = 0; outer < component.down; outer++) {
          const line = (row * component.down + outer) * plane.stride * side
          for (let inner = 0; inner < component.across; inner++) {
            if (!reader.next(component)) return null
            if (wanted) place(reader, plane, line + (column * component.across + inner) * side, side)
          }
        }
      }
    }
  }
  return ended(reader, parts.at(-1)!) ? planes : null
}

function place(reader: BlockReader, { samples, stride }: Plane, at: number, side: number): void {
  const { block } = reader
  if (reader.detailed) {
    transforms[side]!(block, samples, at, stride)
    return
  }
  const sample = flat(block[0]!)
  for (let y = 0; y < side; y++, at += stride) for (let x = 0; x < side; x++) samples[at + x] = sample
}

/** Whether all of a part has been read. */
function ended(reader: BlockReader, part: Uint8Array): boolean {
  return reader.read === part.length - SLACK
}

/**
 * The entropy-coded bytes between restart markers, without stuffed zeros. Null where another marker than the next
 * restart or the end comes, or none.
 */
function unstuffed(scan: Uint8Array): Uint8Array[] | null {
  const parts: Uint8Array[] = []
  const clean = scratch.code.take(scan.length + SLACK)
  let [from, to, begin] = [0, 0, 0]
  for (;;) {
    const mark = scan.indexOf(0xff, from)
    if (mark < 0 || mark + 1 >= scan.length) return null
    clean.set(scan.subarray(from, mark), to)
    to += mark - from
    from = mark + 2
    const code = scan[mark + 1]!
    if (code === 0) clean[to++] = 0xff
    else {
      parts.push(clean.subarray(begin, to + SLACK))
      begin = to
      if (code === EOI) return parts
      if (code !== 0xd0 + ((parts.length - 1) % 8)) return null
    }
  }
}
