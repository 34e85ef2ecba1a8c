/**
 * Everything that crosses between the engine's handle (main thread) and the worker of a lane, in one place.
 *
 * Pixels and answers travel by transfer. Rows do where one lane has them all, and lie in memory that every lane sees
 * elsewhere.
 */

import type { Device } from './runtime/runtime.js'

export type BankDtype = 'f32' | 'f16'
/**
 * `shared`: the rows lie in memory that all lanes share, each feeds its runs those of the batch's domains.
 * `compact`: the same for a device that copies its inputs: batches are padded to few sizes, one graph runs all.
 * `resident`: the only lane has the whole bank and feeds it to each run.
 */
export type BankMode = 'resident' | 'shared' | 'compact'

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
  /** The images are small ones (`sidesOf`), a sixteenth of the pixels, to prove a row and not to answer. All of one row, and
   * only where the engine takes such (`Ready.smallImages`). */
  small?: boolean
}

/** Sides that small images have at least, where whole ones do. */
const SMALL_SIDE = 8

/** Sides of the images of a batch; of small ones a quarter, rounded up. */
export function sidesOf(
  { height, width }: { height: number; width: number },
  small = false,
): { height: number; width: number } {
  const side = (full: number) => (small ? Math.min(full, Math.max(SMALL_SIDE, Math.ceil(full / 4))) : full)
  return { height: side(height), width: side(width) }
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
  /** Absolute path of the graph for batches of any domains. */
  trunk: string
  /** The same for batches of one domain; null where those take the other one too. */
  trunkOfOne: string | null
  /** Rows R of the bank; row 0 is the base's. */
  rows: number
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
  /** Shared memory so far; a lane learns of more by `share`. Empty for a resident bank. */
  segments: readonly SharedArrayBuffer[]
  base: RowTensors | SharedRow
}

/** What a lane says of itself after a real forward pass on the base. */
export interface Ready {
  provider: string
  /** Takes batches of small images: the backbone is one that knows no image size. */
  smallImages: boolean
}

/** Handled strictly in order: a run sees the rows that were staged before it, and `stop` comes after it. */
export type ToWorker =
  | { type: 'init'; init: EngineInit }
  | { type: 'share'; segment: SharedArrayBuffer }
  | { type: 'stage'; id: number; row: number; content: RowTensors | SharedRow }
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
