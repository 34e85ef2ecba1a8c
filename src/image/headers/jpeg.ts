/**
 * The header of a JPEG (ITU-T T.81), and its scans.
 *
 * A progressive image is stored in scans; so is a sequential one that keeps its components apart. libjpeg then
 * holds all coefficients and passes over them once a scan, and a file of some KB may have hundreds of scans. So
 * they are counted. An image of one scan, the usual one, is not walked through: its end is looked for.
 */
import type { Steps } from '../../concurrency/turns.js'
import { tooLarge, undecodable, unsupported } from './failures.js'
import type { Correction, JpegHeader } from './types.js'

/** Markers of frame headers that libjpeg decodes: baseline, extended, progressive, and the latter two arithmetic. */
const frames: ReadonlyMap<number, { progressive: boolean; arithmetic: boolean }> = new Map([
  [0xc0, { progressive: false, arithmetic: false }],
  [0xc1, { progressive: false, arithmetic: false }],
  [0xc2, { progressive: true, arithmetic: false }],
  [0xc9, { progressive: false, arithmetic: true }],
  [0xca, { progressive: true, arithmetic: true }],
])
/** Frame headers of other kinds. */
const otherFrames: ReadonlyMap<number, string> = new Map([
  [0xc3, 'lossless'],
  [0xc5, 'hierarchical'],
  [0xc6, 'hierarchical'],
  [0xc7, 'hierarchical'],
  [0xcb, 'lossless'],
  [0xcd, 'hierarchical'],
  [0xce, 'hierarchical'],
  [0xcf, 'hierarchical'],
  [0xf7, 'JPEG-LS'],
])
const [SOI, EOI, SOS, DRI, TEM] = [0xd8, 0xd9, 0xda, 0xdd, 0x01]
const [APP0, APP1, APP2, APP14] = [0xe0, 0xe1, 0xe2, 0xee]
const END_MARKER = Buffer.from([0xff, EOI])
/** Markers of segments that change nothing here: Huffman and quantisation tables, restart interval, comment. */
const neutralMarkers: readonly number[] = [0xc4, 0xdb, 0xdd, 0xfe]
/** A plain image has no more segments. */
const MAX_PLAIN_SEGMENTS = 4096
/** No writer makes more: ten are usual, one for each coefficient of three components would be 192. */
export const MAX_SCANS = 1000
/** Bytes that are walked through in a step: half a millisecond at most, where every four of them are a segment. */
const STEP_BYTES = 1 << 14

interface Component {
  id: number
  samples: number
  /** Whether a scan of it has been seen. */
  scanned: boolean
}

/** Where reading is, and how far it may go in this step. */
interface Walk {
  at: number
  until: number
}

/**
 * The header of a file, which must have its end marker: libvips decodes no more lines than the crop needs, so it does
 * not find out whether those below are there.
 */
export function* readJpeg(bytes: Uint8Array, view: DataView): Steps<JpegHeader> {
  const { header, at } = yield* readScans(bytes, view)
  yield* findEnd(bytes, at)
  return header
}

/** The header of a strip or tile of a TIFF. The TIFF says how long it is; an end marker tells nothing more. */
export function* readJpegStrip(bytes: Uint8Array, view: DataView): Steps<JpegHeader> {
  const { header } = yield* readScans(bytes, view)
  return header
}

/** Looks for the end marker. Entropy-coded data has no bytes like it. */
function* findEnd(bytes: Uint8Array, start: number): Steps<void> {
  for (let at = start; at < bytes.length; at += STEP_BYTES) {
    const length = Math.min(STEP_BYTES + 1, bytes.length - at)
    if (Buffer.from(bytes.buffer, bytes.byteOffset + at, length).includes(END_MARKER)) return
    yield
  }
  throw undecodable('jpeg', 'its end is missing')
}

/** Reads to the end of the header, or of the last scan where there are several. `at`: where the end marker may be. */
function* readScans(bytes: Uint8Array, view: DataView): Steps<{ header: JpegHeader; at: number }> {
  let header: JpegHeader | undefined
  let components: readonly Component[] = []
  let plain = true
  let usual = true
  let segments = 0
  let profileBytes = 0
  const corrections: Correction[] = []
  const walk: Walk = { at: 2, until: STEP_BYTES }
  for (;;) {
    const from = walk.at
    const marker = nextMarker(bytes, walk)
    // Fill bytes are allowed.
    usual &&= bytes.subarray(from, walk.at - 2).every((byte) => byte === 0xff)
    if (marker === 'end') {
      if (header !== undefined && header.scans > 0) return { header, at: walk.at }
      throw undecodable('jpeg', 'its header is cut off')
    }
    if (marker === 'more') {
      yield
      walk.until = walk.at + STEP_BYTES
      continue
    }
    if (marker === EOI && header !== undefined && header.scans > 0) {
      // libjpeg would fill the component with grey.
      if (!components.every(({ scanned }) => scanned)) throw undecodable('jpeg', 'a component has no scan')
      return { header, at: walk.at - END_MARKER.length }
    }
    if (marker === EOI || marker === SOI) throw undecodable('jpeg', 'it ends before its pixels')
    const length = view.getUint16(walk.at)
    const start = walk.at + 2
    if (length < 2) throw undecodable('jpeg', 'a segment has no length')
    walk.at += length
    const frame = frames.get(marker)
    if (frame !== undefined) {
      if (header !== undefined) throw undecodable('jpeg', 'it has two frame headers')
      if (start + length - 2 > bytes.length) throw undecodable('jpeg', 'its header is cut off')
      const read = readFrame(view, start, length)
      components = read.components
      header = { ...read.header, ...frame, corrections, bytes: bytes.length }
      plain &&= read.header.channels !== 4 && !frame.arithmetic && marker !== 0xc1
    } else if (otherFrames.has(marker)) {
      const found = `is ${otherFrames.get(marker)} (SOF${marker - 0xc0})`
      throw unsupported('jpeg', `${found}; baseline, extended sequential and progressive ones are read`)
    } else if (marker === SOS) {
      if (header === undefined) throw undecodable('jpeg', 'it has no frame header')
      if (header.scans === 0) {
        header.plain = plain && segments < MAX_PLAIN_SEGMENTS
        header.usual &&= usual
        header.scanStart = walk.at
        header.profileBytes = profileBytes
      }
      const scanned = samplesOfScan(view, start, components)
      if (!header.progressive) corrections.push(...selectionOf(view, start))
      header.scans++
      header.scannedSamples += scanned
      header.refinedCoefficients += scanned * refinedShare(view, start)
      if (!header.progressive && scanned === header.samples && header.scans === 1)
        return { header, at: walk.at }
      if (header.scans > MAX_SCANS)
        throw tooLarge(`The JPEG image has more than ${MAX_SCANS} scans; at most ${MAX_SCANS} are accepted.`)
    } else {
      const application = marker >= 0xe0 && marker <= 0xef && marker !== APP1
      plain &&= application || neutralMarkers.includes(marker)
      if (marker === DRI && view.getUint16(start) > 0) usual = false
      // Other things than profiles are kept there too, small ones.
      if (marker === APP2) profileBytes += length
      if (marker === APP14) usual &&= isLumaAndChroma(view, start, length)
      if (marker === APP0 && segments === 0) corrections.push(...versionOf(view, start))
    }
    segments++
  }
}

/**
 * Moves behind the next marker and returns it; `more` where the step ends before, `end` at the end of the
 * file. Entropy-coded data, which may come before a marker, has no 0xff but before 0x00 and in restart markers.
 */
function nextMarker(bytes: Uint8Array, walk: Walk): number | 'more' | 'end' {
  const end = Math.min(bytes.length - 1, walk.until)
  for (let at = walk.at; at < end; at++) {
    if (bytes[at] !== 0xff) continue
    const marker = bytes[at + 1]!
    if (marker === 0 || marker === 0xff || marker === TEM || (marker >= 0xd0 && marker <= 0xd7)) continue
    walk.at = at + 2
    return marker
  }
  walk.at = Math.max(walk.at, end)
  return walk.at >= bytes.length - 1 ? 'end' : 'more'
}

function readFrame(
  view: DataView,
  at: number,
  length: number,
): {
  header: Omit<JpegHeader, 'progressive' | 'arithmetic' | 'bytes' | 'corrections'>
  components: readonly Component[]
} {
  const bits = view.getUint8(at)
  const [height, width, count] = [view.getUint16(at + 1), view.getUint16(at + 3), view.getUint8(at + 5)]
  if (height === 0) throw unsupported('jpeg', 'has no height in its header (but behind its pixels, in DNL)')
  if (bits !== 8) throw unsupported('jpeg', `has ${bits} bits a sample; 8 are read`)
  if (count !== 1 && count !== 3 && count !== 4)
    throw unsupported('jpeg', `has ${count} components; 1, 3 and 4 are read`)
  if (length !== 8 + 3 * count) throw undecodable('jpeg', 'its frame header has the wrong length')
  const sampling = Array.from({ length: count }, (_, i) => {
    const factors = view.getUint8(at + 7 + 3 * i)
    const [x, y] = [factors >> 4, factors & 15]
    if (x < 1 || x > 4 || y < 1 || y > 4) throw undecodable('jpeg', 'it has impossible sampling factors')
    return { id: view.getUint8(at + 6 + 3 * i), x, y }
  })
  const most = { x: Math.max(...sampling.map(({ x }) => x)), y: Math.max(...sampling.map(({ y }) => y)) }
  // In blocks of 8 x 8, as they are stored.
  const blocks = (side: number, factor: number, most: number) => Math.ceil(side / (8 * most)) * factor * 8
  const components = sampling.map(({ id, x, y }) => ({
    id,
    samples: blocks(width, x, most.x) * blocks(height, y, most.y),
    scanned: false,
  }))
  const samples = components.reduce((sum, component) => sum + component.samples, 0)
  const header = {
    type: 'jpeg',
    width,
    height,
    channels: count,
    depth: 1,
    bits,
    alpha: false,
    profileBytes: 0,
    plain: false,
    usual: isUsual(sampling),
    scanStart: 0,
    scans: 0,
    samples,
    scannedSamples: 0,
    refinedCoefficients: 0,
  } as const
  return { header, components }
}

/** Whether a frame has the components that encoders write, by their names and sampling factors. */
function isUsual(sampling: readonly { id: number; x: number; y: number }[]): boolean {
  const [luma, ...chroma] = sampling
  if (chroma.length === 0) return true
  const isRgb = sampling.every(({ id }, i) => id === RGB_NAMES[i])
  const named = new Set(sampling.map(({ id }) => id)).size === sampling.length
  const whole = chroma.every(({ x, y }) => x === 1 && y === 1)
  return chroma.length === 2 && !isRgb && named && whole && luma!.x <= 2 && luma!.y <= 2
}

/** Names of components that are red, green and blue. */
const RGB_NAMES: readonly number[] = [...Buffer.from('RGB')]

/** Whether a segment of Adobe's (a name, a version, two words of flags, a transform) says luma and chroma. */
function isLumaAndChroma(view: DataView, start: number, length: number): boolean {
  return length >= 14 && view.getUint32(start) === 0x41646f62 && view.getUint8(start + 11) === 1
}

/** Samples of the components of a scan, which are marked. */
function samplesOfScan(view: DataView, at: number, components: readonly Component[]): number {
  const count = view.getUint8(at)
  let samples = 0
  for (let i = 0; i < count; i++) {
    const id = view.getUint8(at + 1 + 2 * i)
    const component = components.find((component) => component.id === id)
    if (component === undefined) throw undecodable('jpeg', 'a scan is of a component that is not there')
    component.scanned = true
    samples += component.samples
  }
  return samples
}

/**
 * The coefficients that a sequential scan says it holds. It always holds all of them, so decoders go by what it is,
 * but libjpeg warns where the bytes say something else, as some phones write them.
 */
const ALL_COEFFICIENTS: readonly number[] = [0, 63, 0]

function selectionOf(view: DataView, scan: number): Correction[] {
  const at = scan + 1 + 2 * view.getUint8(scan)
  const same = ALL_COEFFICIENTS.every((byte, i) => view.getUint8(at + i) === byte)
  return same ? [] : [{ at, bytes: ALL_COEFFICIENTS }]
}

/** The version of JFIF. Nothing depends on it, but libjpeg warns of one that it does not know. */
function versionOf(view: DataView, segment: number): Correction[] {
  const isJfif = view.getUint32(segment) === 0x4a464946
  return isJfif && view.getUint8(segment + 5) !== 1 ? [{ at: segment + 5, bytes: [1] }] : []
}

/** Share of a block's coefficients that a scan refines by a bit. */
function refinedShare(view: DataView, at: number): number {
  const band = at + 1 + 2 * view.getUint8(at)
  const [from, to, bits] = [view.getUint8(band), view.getUint8(band + 1), view.getUint8(band + 2)]
  return bits >> 4 === 0 ? 0 : Math.max(0, Math.min(63, to) - from + 1) / 64
}
