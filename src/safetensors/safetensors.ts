/**
 * Reads and writes the safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
 *
 * Format: https://github.com/huggingface/safetensors. The reader is strict and reports all problems at once.
 * Knows nothing of packs. Assumes a little-endian platform, as the format and all platforms of
 * onnxruntime-node are.
 */
import { isUtf8 } from 'node:buffer'
import { finish, type Steps } from '../concurrency/turns.js'
import { isWellFormed, type JsonValue, parseJsonSteps } from '../strict/json.js'
import { JsonError } from '../strict/json-error.js'
import { Problems, quote } from '../strict/problems.js'

/** Bytes of one element, by dtype. The sub-byte types of newer writers are refused as unknown. */
const ELEMENT_BYTES: ReadonlyMap<string, number> = new Map([
  ...['BOOL', 'U8', 'I8', 'F8_E4M3', 'F8_E5M2'].map((name) => [name, 1] as const),
  ...['U16', 'I16', 'F16', 'BF16'].map((name) => [name, 2] as const),
  ...['U32', 'I32', 'F32'].map((name) => [name, 4] as const),
  ...['U64', 'I64', 'F64'].map((name) => [name, 8] as const),
])

const METADATA = '__metadata__'
const OPENING_BRACE = 0x7b
const FIELDS = ['dtype', 'shape', 'data_offsets']
const MAX_RANK = 8
const MAX_DEPTH = 16
/** Header entries that are checked in a step. */
const ENTRIES_A_STEP = 50

export interface SafetensorsLimits {
  /** Largest header, in bytes. */
  headerBytes: number
  /** Most JSON values in the header. JSON texts inside the metadata's strings do not count. */
  headerValues: number
}

/**
 * A header of 1 MiB holds the labels of ImageNet-21k. A tensor takes 7 to 10 values, so 16,384 values are
 * enough for some 1,800 tensors (600 slots). Without this limit, 1 MiB of tiny values (120,000) would block
 * the thread.
 */
const DEFAULT_LIMITS: SafetensorsLimits = { headerBytes: 1 << 20, headerValues: 1 << 14 }

export interface Tensor {
  /** The format's own name: `F32`, `F16`, `I64`, ... */
  dtype: string
  shape: number[]
  /** Row-major, little-endian. After reading, a view on the file's bytes, not necessarily aligned. */
  bytes: Uint8Array
}

export interface Safetensors {
  metadata: Record<string, string>
  /** In the file's order. */
  tensors: Map<string, Tensor>
}

/**
 * The bytes are not a safetensors file, or break the format's rules. `problems` lists everything that is
 * wrong.
 */
export class SafetensorsError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`not a valid safetensors file: ${problems.join('; ')}`)
    this.name = 'SafetensorsError'
  }
}

/**
 * What could be read of a possibly broken file: every tensor whose header entry is valid, and all problems.
 */
export interface Scan extends Safetensors {
  /** Has no prototype, so that keys such as `__proto__` are plain keys. */
  metadata: Record<string, string>
  /** Every tensor name in the header, those of broken entries too; null if no header could be read. */
  names: Set<string> | null
  problems: Problems
}

/**
 * Reads a safetensors file. The tensors are views on `bytes`.
 *
 * @throws SafetensorsError listing every problem.
 */
export function readSafetensors(bytes: Uint8Array, limits: Partial<SafetensorsLimits> = {}): Safetensors {
  const { metadata, tensors, problems } = scanSafetensors(bytes, limits)
  if (!problems.empty) throw new SafetensorsError(problems.list())
  return { metadata, tensors }
}

/** Like `readSafetensors`, but returns the problems with what could be read, for callers that check more. */
export function scanSafetensors(bytes: Uint8Array, limits: Partial<SafetensorsLimits> = {}): Scan {
  return finish(scanSteps(bytes, limits))
}

/** The same in steps, as many as the header needs. */
export function* scanSteps(bytes: Uint8Array, limits: Partial<SafetensorsLimits> = {}): Steps<Scan> {
  const scan: Scan = {
    metadata: Object.create(null),
    tensors: new Map(),
    names: null,
    problems: new Problems(),
  }
  const header = yield* readHeader(bytes, { ...DEFAULT_LIMITS, ...limits }, scan.problems)
  if (!header) return scan
  const { root, dataStart } = header
  const data = bytes.subarray(dataStart)
  const placed: Placed[] = []
  let read = 0
  for (const [name, entry] of root) {
    if (++read % ENTRIES_A_STEP === 0) yield
    if (name === METADATA) {
      readMetadata(entry, scan)
      continue
    }
    const tensor = readEntry(name, entry, data.length, scan.problems)
    if (!tensor) continue
    placed.push(tensor)
    scan.tensors.set(name, {
      dtype: tensor.dtype,
      shape: tensor.shape,
      bytes: data.subarray(tensor.begin, tensor.end),
    })
  }
  scan.names = new Set(root.keys())
  scan.names.delete(METADATA)
  const complete = placed.length === scan.names.size && !header.duplicates
  checkLayout(placed, data.length, complete, scan.problems)
  return scan
}

function* readHeader(
  bytes: Uint8Array,
  limits: SafetensorsLimits,
  problems: Problems,
): Steps<{ root: Map<string, JsonValue>; dataStart: number; duplicates: boolean } | null> {
  if (bytes.length < 8) {
    problems.add(`the file has ${bytes.length} bytes, fewer than the 8 of the header length`)
    return null
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(limits.headerBytes)) {
    problems.add(`the header is ${length} bytes long, more than the limit of ${limits.headerBytes}`)
    return null
  }
  const dataStart = 8 + Number(length)
  if (dataStart > bytes.length) {
    problems.add(
      `the header is ${length} bytes long, but the file ends after ${bytes.length - 8} (truncated?)`,
    )
    return null
  }
  const text = bytes.subarray(8, dataStart)
  if (!isUtf8(text)) {
    problems.add('the header is not valid UTF-8')
    return null
  }
  if (text[0] !== OPENING_BRACE) {
    const [first = ''] = Buffer.from(text.subarray(0, 4)).toString()
    problems.add(`the header must start with "{", not ${quote(first)}`)
    return null
  }
  yield
  try {
    const { value, duplicates } = yield* parseJsonSteps(text, {
      maxDepth: MAX_DEPTH,
      maxValues: limits.headerValues,
    })
    for (const path of duplicates) problems.add(`the header has the key ${quote(path)} twice`)
    return { root: value as Map<string, JsonValue>, dataStart, duplicates: duplicates.length > 0 }
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    problems.add(`the header is not JSON: ${error.message}`)
    return null
  }
}

function readMetadata(entry: JsonValue, scan: Scan): void {
  if (!(entry instanceof Map)) {
    scan.problems.add(`${METADATA} must be an object of strings, not ${quote(entry)}`)
    return
  }
  for (const [key, value] of entry) {
    if (typeof value === 'string') scan.metadata[key] = value
    else scan.problems.add(`${METADATA}.${quote(key)} must be a string, not ${quote(value)}`)
  }
}

interface Placed {
  name: string
  dtype: string
  shape: number[]
  begin: number
  end: number
}

/** Checks one header entry by itself. Returns null, and adds problems, if it is broken. */
function readEntry(name: string, entry: JsonValue, available: number, problems: Problems): Placed | null {
  const tensor = `tensor ${quote(name)}`
  if (!(entry instanceof Map)) {
    problems.add(`${tensor} must be an object, not ${quote(entry)}`)
    return null
  }
  const before = problems.count
  for (const field of FIELDS) if (!entry.has(field)) problems.add(`${tensor} has no ${field}`)
  for (const key of entry.keys()) {
    if (!FIELDS.includes(key)) problems.add(`${tensor} has an unknown field ${quote(key)}`)
  }
  if (problems.count > before) return null

  const dtype = entry.get('dtype') as JsonValue
  const size = typeof dtype === 'string' ? ELEMENT_BYTES.get(dtype) : undefined
  if (size === undefined) problems.add(`${tensor} has the unknown dtype ${quote(dtype)}`)
  const shape = entry.get('shape') as JsonValue
  const elements = countElements(tensor, shape, problems)
  const offsets = entry.get('data_offsets') as JsonValue
  if (!isNaturals(offsets) || offsets.length !== 2) {
    problems.add(`${tensor}: data_offsets must be two whole numbers below 2^53, not ${quote(offsets)}`)
    return null
  }
  const [begin, end] = offsets as [number, number]
  if (begin > end) problems.add(`${tensor}: data_offsets ${quote(offsets)} end before they begin`)
  else if (end > available) {
    problems.add(
      `${tensor}: data_offsets ${quote(offsets)} are out of range, the file has ${available} bytes of tensor data (truncated?)`,
    )
  }
  if (size !== undefined && elements !== null && begin <= end) {
    if (elements * size !== end - begin) {
      problems.add(
        `${tensor}: shape ${quote(shape)} of ${dtype} takes ${elements * size} bytes, data_offsets ${quote(offsets)} give ${end - begin}`,
      )
    }
    if (begin % size !== 0) {
      problems.add(`${tensor}: offset ${begin} is not aligned to the ${size} bytes of ${dtype}`)
    }
  }
  if (problems.count > before) return null
  return { name, dtype: dtype as string, shape: shape as number[], begin, end }
}

/**
 * Elements of a shape. Returns null, and adds a problem, if it is not a shape or its tensor exceeds 2^53
 * bytes.
 */
function countElements(tensor: string, shape: JsonValue, problems: Problems): number | null {
  if (!isNaturals(shape)) {
    problems.add(`${tensor}: shape must be a list of whole numbers from 0, not ${quote(shape)}`)
    return null
  }
  if (shape.length > MAX_RANK) {
    problems.add(`${tensor}: shape has ${shape.length} dimensions, more than ${MAX_RANK}`)
    return null
  }
  // Zero dimensions are left out of the product, so that they cannot hide an overflow of the others.
  let elements = 1
  for (const dimension of shape) {
    if (dimension !== 0) elements *= dimension
    if (elements > Number.MAX_SAFE_INTEGER / 8) {
      problems.add(`${tensor}: shape ${quote(shape)} does not fit 2^53 bytes`)
      return null
    }
  }
  return shape.includes(0) ? 0 : elements
}

function isNaturals(value: JsonValue): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0)
}

/**
 * The tensors must cover the data exactly, one after the other in the header's order.
 * @param complete every header entry was valid; only then is it certain which bytes belong to no tensor
 */
function checkLayout(placed: Placed[], available: number, complete: boolean, problems: Problems): void {
  for (let i = 1; i < placed.length; i++) {
    const [one, next] = [placed[i - 1]!, placed[i]!]
    if (next.begin < one.begin || next.end < one.end) {
      problems.add(
        `tensor ${quote(next.name)} is unordered: the header lists it after ${quote(one.name)}, the data has it before`,
      )
    }
  }
  let cursor = 0
  let last: Placed | undefined
  for (const tensor of [...placed].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (last && tensor.begin < cursor) {
      problems.add(
        `tensors ${quote(last.name)} and ${quote(tensor.name)} overlap in bytes ${tensor.begin} to ${Math.min(cursor, tensor.end)}`,
      )
    } else if (complete && tensor.begin > cursor) {
      problems.add(`a hole of ${tensor.begin - cursor} bytes before tensor ${quote(tensor.name)}`)
    }
    if (tensor.end >= cursor) {
      cursor = tensor.end
      last = tensor
    }
  }
  if (complete && cursor < available) {
    problems.add(`${available - cursor} trailing bytes after the last tensor`)
  }
}

/**
 * Writes a safetensors file. The header is padded with spaces to a multiple of 8 bytes. Tensors are sorted by
 * falling element size and then by name, so that each is aligned; metadata by name. The same content gives
 * the same bytes.
 *
 * @throws SafetensorsError if a tensor's bytes do not fit its shape and dtype, or a name cannot be encoded.
 */
export function writeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const problems = new Problems()
  const ordered = [...tensors].sort(
    ([nameA, a], [nameB, b]) => elementBytes(b.dtype) - elementBytes(a.dtype) || compare(nameA, nameB),
  )
  const fields: string[] = []
  if (Object.keys(metadata).length > 0) {
    const entries = Object.entries(metadata).sort(([a], [b]) => compare(a, b))
    for (const [key, value] of entries) {
      if (!isWellFormed(key + value)) problems.add(`${METADATA}.${quote(key)} has half a surrogate pair`)
    }
    fields.push(
      `"${METADATA}":{${entries.map((pair) => pair.map((item) => JSON.stringify(item)).join(':'))}}`,
    )
  }
  let offset = 0
  for (const [name, { dtype, shape, bytes }] of ordered) {
    const end = offset + bytes.length
    if (name === METADATA) problems.add(`a tensor cannot be named ${METADATA}`)
    if (!isWellFormed(name)) problems.add(`tensor ${quote(name)}: the name has half a surrogate pair`)
    const entry = new Map<string, JsonValue>([
      ['dtype', dtype],
      ['shape', shape],
      ['data_offsets', [offset, end]],
    ])
    readEntry(name, entry, end, problems)
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset, end] })}`)
    offset = end
  }
  if (!problems.empty) throw new SafetensorsError(problems.list())

  const header = new TextEncoder().encode(`{${fields.join(',')}}`)
  const padded = Math.ceil(header.length / 8) * 8
  const out = new Uint8Array(8 + padded + offset)
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true)
  out.set(header, 8)
  out.fill(0x20, 8 + header.length, 8 + padded)
  let at = 8 + padded
  for (const [, { bytes }] of ordered) {
    out.set(bytes, at)
    at += bytes.length
  }
  return out
}

function elementBytes(dtype: string): number {
  return ELEMENT_BYTES.get(dtype) ?? 0
}

/** Order by code unit, which does not depend on the machine's locale. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
