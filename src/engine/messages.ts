/**
 * Everything that crosses between the engine (main thread) and the worker thread of a lane.
 *
 * Pixels and answers are transferred. Rows lie in memory that all threads share, and messages say only where.
 */

import type { BankTensor } from '../manifest/layout.js'
import type { Device } from './runtime/runtime.js'

export type BankDtype = 'f32' | 'f16'
/**
 * How a run is fed. The rows lie in memory that all lanes share, and a run gets those of its batch's domains.
 * `shared`: batches of one domain have a graph of their own, and batches have the size they have. `compact`:
 * for a device that copies its inputs and prepares for each new shape: one graph runs all batches, and they
 * are padded to few sizes.
 */
export type BankMode = 'shared' | 'compact'

/** One bank row. f16 values travel as their 16 bits. */
export interface RowTensors {
  /** One for each tensor of the family's `BankLayout`, in its order. */
  tensors: (Float32Array | Uint16Array)[]
  head: HeadTensors | null
}

export interface HeadTensors {
  classes: number
  /** `[classes, F]` */
  weight: Float32Array
  /** `[classes]` */
  bias: Float32Array
}

/**
 * Bytes of a segment of shared memory. Segments are numbered from 0, in the order in which a lane is told of
 * them.
 */
export interface Span {
  segment: number
  start: number
  length: number
}

/**
 * Where a row lies in shared memory. Its spans, one after the other, hold the bytes of its tensors in the
 * layout's order, of the head's weights and of its biases.
 */
export interface SharedRow {
  spans: readonly Span[]
  /** Classes of the head, 0 without one. */
  classes: number
}

export interface EngineBatch {
  /** `[N, H, W, 3]` */
  pixels: Uint8Array
  /** Bank row of each sample, `[N]`. */
  rows: Int32Array
}

export interface EngineResult {
  /** `[N, F]` */
  features: Float32Array
  /** For each sample the logits of its domain's head, `[classes]`; null where the row has no head. */
  logits: (Float32Array | null)[]
  /** Milliseconds that the trunk and the heads took. */
  inferenceMs: number
  /** Runs of the trunk in this lane so far, those at its start included. */
  runs: number
  /** A dedicated network ran it, not the trunk. */
  dedicated?: boolean
}

/** What a lane runs, and how. */
export interface TrunkPlan {
  /** Absolute path of the trunk's graph for batches of any domains. */
  mixedGraph: string
  /** The same for batches of one domain; null where the mixed graph runs those too. */
  singleGraph: string | null
  /** The mixed graph is made of Facet's own operator. */
  own: boolean
  bankDtype: BankDtype
  bankMode: BankMode
  device: Device
  /** Threads of one run in one lane. */
  threads: number
  /** The tensors of a bank row. */
  tensors: readonly Omit<BankTensor, 'parts'>[]
  /** The trunk's input and output sizes. */
  height: number
  width: number
  features: number
  /** Images of the run of the base at the start, so that memory for batches of so many is taken then. */
  warmBatch: number
}

/** What a lane in a worker thread begins with. */
export interface EngineInit extends TrunkPlan {
  /** Segments of shared memory so far; a lane is told of more by `share`. */
  segments: readonly SharedArrayBuffer[]
  base: SharedRow
}

/** What a lane says of itself when it has run the base. */
export interface Ready {
  /** `cpu`, or `cuda:0` with the device's number. */
  provider: string
}

/** Handled in order: a run sees the rows that were set before it, and `stop` takes effect after it. */
export type ToWorker =
  | { type: 'init'; init: EngineInit }
  | { type: 'share'; segment: SharedArrayBuffer }
  | { type: 'setRow'; id: number; row: number; content: SharedRow }
  | { type: 'clear'; row: number }
  | { type: 'run'; id: number; batch: EngineBatch }
  | { type: 'stop' }

/**
 * `failed` is about one request. Where its id is null the start failed, and the thread ends by itself. Its
 * message is for the log, not for a client.
 */
export type FromWorker =
  | ({ type: 'ready' } & Ready)
  | { type: 'rowSet'; id: number }
  | { type: 'result'; id: number; result: EngineResult }
  | { type: 'failed'; id: number | null; message: string }
