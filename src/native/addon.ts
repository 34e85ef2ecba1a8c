/**
 * The native add-on as JavaScript sees it, and where it is found: a runtime for the engine, a decoder of JPEGs for
 * images, and memory given back. It is of this repository (`native/`), built by `npm run native:build`; everything works
 * without it.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import { libraryFile } from '../engine/runtime/library.js'
import { packageFile } from '../host/package.js'

/** The add-on's `INTERFACE` that this program knows. */
const INTERFACE = 7

export const NATIVE_REMEDY = 'Build it with npm run native:build, which needs Rust 1.92 or later.'

export interface NativeTensor {
  name: string
  /** Shape of one row. */
  dims: readonly number[]
  single: readonly { name: string; dims: readonly number[]; offset: number }[]
}

/** A device that has the bank's adapters in its own memory. */
export interface NativeDeviceOptions {
  /** The number of a GPU; without it the CPU stands for one. */
  cuda?: number
  /** Options of the CUDA provider. */
  provider: readonly (readonly [name: string, value: string])[]
  /** Rows of matrices, the base's included. */
  matrices: number
  /** Bytes that trunk, rows and runs may take; unbounded unless given. */
  memory?: number
}

export interface NativeEngineOptions {
  mixedGraph: string
  singleGraph?: string
  half: boolean
  rows: number
  adapters: number
  tensors: readonly NativeTensor[]
  height: number
  width: number
  features: number
  lanes: number
  threads: number
  /** Where the bank's adapters are, if not in the process's own memory. */
  device?: NativeDeviceOptions
}

/** What is told while lanes live; native/src/events.rs says when. */
export type NativeEvent =
  | { type: 'opened'; signatures: [inputs: string[], outputs: string[]][] }
  | { type: 'unopened'; message: string }
  | { type: 'done'; id: number; ms: number; runs: number }
  | { type: 'written'; id: number }
  | { type: 'failed'; id: number; message: string }
  | { type: 'dedicated'; id: number; ms: number }
  | { type: 'undedicated'; id: number; message: string }
  | { type: 'lost'; id?: number; message: string }
  | { type: 'ended' }

/** The lanes of one start, and their bank: `NativeEngine` of native/src/lib.rs, which has the contract. */
export interface NativeEngine {
  beginRow(row: number, own: number, classes: number, halfHead: boolean): void
  writeRow(row: number, tensor: number, start: number, bytes: Uint8Array): void
  writeHead(row: number, start: number, bytes: Uint8Array): void
  commitRow(row: number, id: number): boolean
  clearRow(row: number): void
  run(
    id: number,
    rows: Int32Array,
    pixels: Uint8Array,
    features: Float32Array,
    logits: Float32Array,
    single: boolean,
    lane?: number,
    size?: number,
  ): boolean
  openDedicated(
    id: number,
    row: number,
    network: Uint8Array,
    pixels: Uint8Array,
    features: Float32Array,
  ): boolean
  useDedicated(id: number): boolean
  discardDedicated(id: number): void
  dropDedicated(row: number): void
  cancel(id: number): void
  release(): void
  finish(): void
}

/** What is made of a JPEG: it is resized, and a part is cut out. In pixels. */
export interface NativeJpegOptions {
  /** Sides of the JPEG as its header says. */
  width: number
  height: number
  /** Where the coded data of its only scan begins, in bytes. */
  scan: number
  resizedWidth: number
  resizedHeight: number
  left: number
  top: number
  cropWidth: number
  cropHeight: number
  /** Decoding is given up so many milliseconds after the call. */
  timeoutMs: number
}

/**
 * Decodes a JPEG of one scan, without restart markers, on a thread of libuv's pool, and resizes it with a linear kernel:
 * `[cropHeight, cropWidth, 3]`, RGB. The bytes are copied. Rejects with the message `late` when the time is up, and with another for every JPEG that it
 * does not read or finds damaged.
 */
export type NativeDecodeJpeg = (bytes: Uint8Array, options: NativeJpegOptions) => Promise<Uint8Array>

/** What the engine uses of the add-on. */
export interface NativeRuntime {
  /** It has Facet's own operator, which the processor is fast with. */
  hasOwnOperator: boolean
  /** The processor is fast with that operator in 8 bits as well. */
  hasOwnInt8: boolean
  /** It can have the bank on a device. */
  hasDeviceBank: boolean
  /** Begins to open the graphs; all that follows is told to `onEvent`. */
  open(options: NativeEngineOptions, onEvent: (event: NativeEvent) => void): NativeEngine
}

export interface NativeAddon extends NativeRuntime {
  decodeJpeg: NativeDecodeJpeg
  /**
   * Gives back to the system, on a thread of libuv's pool, memory that the process holds and does not need: freed blocks,
   * and pages of libraries, which are read again where they are needed again. Takes some milliseconds.
   */
  giveBackMemory(): Promise<void>
}

/** What the add-on exports. */
interface Exports {
  INTERFACE: number
  /** Absent from builds that are older. */
  DEVICE_BANK?: boolean
  hasSlotOperator(): boolean
  hasSlotOperatorInBytes(): boolean
  endAll(): void
  decodeJpeg: NativeDecodeJpeg
  giveBackMemory(): Promise<void>
  NativeEngine: new (
    options: NativeEngineOptions & { library: string },
    onEvent: (event: NativeEvent) => void,
    control?: Int32Array,
  ) => NativeEngine
}

/** The add-ons whose lanes are ended when the process exits. */
const endedAtExit = new Set<Exports>()

/** Where the build puts the add-on, by default. */
export function nativeFile(): string {
  return packageFile(`native/build/facet-${process.platform}-${process.arch}.node`)
}

/**
 * Loads the add-on.
 * @param control faults of a test, for an add-on that was built with them
 * @throws Error that says why it cannot be used, with the remedy
 */
export function loadNative(file = nativeFile(), control?: Int32Array): NativeAddon {
  if (!existsSync(file))
    throw new Error(`The native runtime is not built: ${file} is missing. ${NATIVE_REMEDY}`)
  let exports: Exports
  try {
    exports = createRequire(import.meta.url)(file) as Exports
  } catch (cause) {
    throw new Error(`The native runtime ${file} cannot be loaded: ${textOf(cause)}. ${NATIVE_REMEDY}`, {
      cause,
    })
  }
  if (exports.INTERFACE !== INTERFACE)
    throw new Error(`The native runtime ${file} is of another version of Facet. ${NATIVE_REMEDY}`)
  const library = findLibrary()
  // A worker thread has this event too, when it ends itself. Its own lanes then end with its environment.
  if (isMainThread && !endedAtExit.has(exports)) {
    endedAtExit.add(exports)
    // A lane that runs while the process exits would crash it.
    process.once('exit', () => exports.endAll())
  }
  return {
    hasOwnOperator: exports.hasSlotOperator(),
    hasOwnInt8: exports.hasSlotOperatorInBytes(),
    hasDeviceBank: exports.DEVICE_BANK ?? false,
    open: (options, onEvent) => new exports.NativeEngine({ ...options, library }, onEvent, control),
    decodeJpeg: exports.decodeJpeg,
    giveBackMemory: exports.giveBackMemory,
  }
}

function findLibrary(): string {
  try {
    return libraryFile()
  } catch (cause) {
    const message = `The native runtime needs onnxruntime-node's library, which cannot be found: ${textOf(cause)}.`
    throw new Error(`${message} Install it again with npm ci, or start with --runtime stock.`, { cause })
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
