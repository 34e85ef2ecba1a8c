/**
 * Everything that crosses between the engine (main thread) and the worker thread of a lane.
 *
 * Pixels and answers are transferred. Rows lie in memory that all threads share, and messages say only where.
 */
import type { EngineBatch, EngineResult } from './batch.js'
import type { Ready, TrunkPlan } from './plan.js'

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
 * Where a row lies in shared memory. Its spans, one after the other, hold the bytes of the tensors that it has itself in
 * the layout's order, of the head's weights and of its biases.
 */
export interface SharedRow {
  spans: readonly Span[]
  /** Tensors that it has itself: so many of the layout's first ones. The others are the base's. */
  own: number
  /** Classes of the head, 0 without one. */
  classes: number
  /** The head's weights are in half precision. */
  halfHead: boolean
}

/** What a lane in a worker thread begins with. */
export interface EngineInit extends TrunkPlan {
  /** Segments of shared memory so far; a lane is told of more by `share`. */
  segments: readonly SharedArrayBuffer[]
  base: SharedRow
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
