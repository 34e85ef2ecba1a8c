/**
 * Everything that crosses between the engine's handle (main thread) and the worker of a lane, in one place.
 *
 * Pixels and answers travel by transfer. Rows lie in memory that every lane sees, and only their places travel.
 */

import type { Device } from './runtime/runtime.js'

export type BankDtype = 'f32' | 'f16'
/**
 * How a run is fed. The rows lie in memory that all lanes share, and a run gets those of its batch's domains.
 * `shared`: batches of one domain have a graph of their own, and batches have the size they have.
 * `compact`: for a device that copies its inputs and prepares for each new shape: one graph runs all batches, and they
 * are padded to few sizes.
 */
export type BankMode = 'shared' | 'compact'

/** One bank row, laid out by `manifest/layout.ts`. f16 values travel as their 16 bits. */
export interface RowTensors {
  /** `[A]` */
  affine: Float32Array | Uint16Array
  /** One per slot that takes a matrix, `[out, columns]` each, in the layout's order. */
  matrices: (Float32Array | Uint16Array)[]
  head: HeadTensors | null
}

export interface HeadTensors {
  classes: number
  /** `[classes, F]` */
  weight: Float32Array
  /** `[classes]` */
  bias: Float32Array
}

/** Bytes of a segment of shared memory. Segments are counted from 0, in the order in which a lane learns of them. */
export interface Span {
  segment: number
  start: number
  length: number
}

/** A row with its head in memory that every lane sees: the bytes of its matrices, affine row, head weight and head
 * bias, one span after the other. */
export interface SharedRow {
  spans: readonly Span[]
  /** 0 without a head. */
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
  /** Per sample the `[classes]` logits of its domain's head; null where the row has no head. */
  logits: (Float32Array | null)[]
  /** Milliseconds in the trunk run and in the heads. */
  inferenceMs: number
  /** Runs of the trunk in this lane since it started, this one and the handshake's included. */
  runs: number
}

export interface EngineInit {
  /** Absolute path of the trunk's graph for batches of any domains. */
  mixedGraph: string
  /** The same for batches of one domain; null where the mixed graph runs those too. */
  singleGraph: string | null
  bankDtype: BankDtype
  bankMode: BankMode
  device: Device
  /** Threads of one run in one lane. */
  threads: number
  /** The bank's layout and the trunk's input and output sizes. */
  affine: number
  biases: number
  matrices: { input: string; rows: number; columns: number }[]
  height: number
  width: number
  features: number
  /** Images of the forward pass on the base: memory for batches of so many is taken then, not in the first hour. */
  warmBatch: number
  /** Shared memory so far; a lane learns of more by `share`. */
  segments: readonly SharedArrayBuffer[]
  base: SharedRow
}

/** What a lane says of itself after a real forward pass on the base. */
export interface Ready {
  /** `cpu`, or `cuda:0` with the device's number. */
  provider: string
}

/** Handled strictly in order: a run sees the rows that were staged before it, and `stop` comes after it. */
export type ToWorker =
  | { type: 'init'; init: EngineInit }
  | { type: 'share'; segment: SharedArrayBuffer }
  | { type: 'stage'; id: number; row: number; content: SharedRow }
  | { type: 'clear'; row: number }
  | { type: 'run'; id: number; batch: EngineBatch }
  | { type: 'stop' }

/** `failed` concerns one request, or the start where its id is null; the worker then ends by itself. Its message is for the
 * log, not for a client. */
export type FromWorker =
  | ({ type: 'ready' } & Ready)
  | { type: 'staged'; id: number }
  | { type: 'result'; id: number; result: EngineResult }
  | { type: 'failed'; id: number | null; message: string }
