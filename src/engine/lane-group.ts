/**
 * The lanes as the engine sees them, whatever they are made of: worker threads with sessions of their own
 * (`lanes.ts`), or threads of the native runtime on one session (`native-lanes.ts`).
 *
 * A group begins with `start`, and is used up when its lanes have ended; the engine then asks for the next one.
 */
import type { Steps } from '../concurrency/turns.js'
import type { EngineBatch, EngineResult, RowTensors } from './batch.js'
import type { Ready } from './plan.js'

/** This request failed. Its lane goes on with the next. */
export class RequestFailed extends Error {}

/** The lane is gone, so the request is not answered. */
export class LaneGone extends Error {}

export interface LaneGroup {
  /** Resolves with the reason when the first lane has ended, whatever ended it. Never rejects. */
  readonly lost: Promise<Error>
  /** Resolves when all have ended. */
  readonly gone: Promise<unknown>
  /** Lanes that have run the base and are not gone. */
  readonly ready: number
  /**
   * Loads the trunk, has the base in row 0, and resolves when a first lane has run it.
   * @throws RequestFailed that says what cannot be loaded or does not fit; LaneGone
   */
  start(): Promise<Ready>
  /** Resolves when all lanes have run the base. @throws RequestFailed, LaneGone */
  allReady(): Promise<void>
  /**
   * Copies a row that fits the trunk and that no run uses, instead of what the row was before, and frees the
   * given arrays. In steps: they must not be continued once the row is freed.
   * @throws RangeError where the bank's memory has no room for it
   */
  write(row: number, tensors: RowTensors): Steps<void>
  /** Makes a row that was written known to every lane. @throws RequestFailed, LaneGone */
  publish(row: number): Promise<void>
  /** Makes a row unusable once the runs sent before are answered. */
  clear(row: number): void
  /** Its memory can be used for other rows. No run uses it. */
  free(row: number): void
  /**
   * @param signal gives the run up where the lanes can do that: one that waits never begins, one that runs ends soon
   * @throws RequestFailed, LaneGone
   */
  run(batch: EngineBatch, signal?: AbortSignal): Promise<EngineResult>
  /**
   * Runs a batch in each lane that is ready. @param batch makes one for each @throws RequestFailed,
   * LaneGone
   */
  runInEach(batch: () => EngineBatch): Promise<EngineResult[]>
  /** Undefined where the lanes have none. */
  readonly dedicated?: DedicatedNetworks
  /** Asks every lane to end when it has answered what was sent to it. */
  finish(): void
}

/** What only some lanes have: networks of single domains beside the trunk. */
export interface DedicatedNetworks {
  /** Rows whose batches such a network runs now. */
  readonly rows: ReadonlySet<number>
  /**
   * Opens the network of what a row holds now, beside the lanes, and tries it on an image.
   * @param network an ONNX graph from the trunk's pixels to its features @param pixels `[H, W, 3]`
   * @throws RequestFailed, LaneGone
   */
  open(row: number, network: Uint8Array, pixels: Uint8Array): Promise<OpenedNetwork>
  /** From now on the trunk runs the row's batches again. */
  drop(row: number): void
}

/** A network that runs nothing yet. One of the two must be called. */
export interface OpenedNetwork {
  /** What it makes of the image, `[F]`. */
  readonly features: Float32Array
  /**
   * From now on it runs the batches of its row alone, until the row's content changes or it is dropped.
   * @returns false where the row holds something else by now
   */
  use(): boolean
  discard(): void
}

/** Makes the lanes of each start of an engine, one group after the other. */
export interface LaneMaker {
  /** Sessions that hold the trunk's weights, when all lanes are ready. */
  readonly trunks: number
  /** The last group's lanes have ended; its rows are void. */
  launch(): LaneGroup
}
