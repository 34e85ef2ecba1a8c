/**
 * Lanes in worker threads, as one. Each lane has the trunk's sessions, and knows every row; a run goes to the
 * lane with the least to do. When one lane is lost the others answer what they were sent and end.
 *
 * A run has one thread where there are several lanes: threads that share the operators of one run wait for
 * each other at each operator (docs/experiments/2026-11-22-two-lanes.md). Lanes that are gone are replaced by
 * the engine, with new ones.
 */
import type { Worker } from 'node:worker_threads'
import { finish, type Steps } from '../concurrency/turns.js'
import type { LaneGroup, LaneMaker } from './lane-group.js'
import type { EngineBatch, EngineResult, RowTensors } from './batch.js'
import type { SharedRow } from './messages.js'
import type { Ready, TrunkPlan } from './plan.js'
import type { SharedMemory } from './shared-memory.js'
import { SharedRows } from './shared-rows.js'
import { EngineThread } from './thread.js'

export interface WorkerLanesOptions {
  plan: TrunkPlan
  /** Lanes of a group. */
  count: number
  /** For all rows and heads. */
  memory: SharedMemory
  /** The base's row. */
  base: RowTensors
  createWorker: () => Worker
}

export class WorkerLaneMaker implements LaneMaker {
  readonly #options: WorkerLanesOptions
  readonly #rows: SharedRows
  readonly #base: SharedRow
  #group: Lanes | undefined

  /** @throws RangeError where the memory has no room for the base */
  constructor(options: WorkerLanesOptions) {
    this.#options = options
    options.memory.watch((segment) => this.#group?.share(segment))
    this.#rows = new SharedRows(options.memory)
    this.#base = finish(this.#rows.write(0, options.base))
  }

  get trunks(): number {
    return this.#options.count * (this.#options.plan.singleGraph === null ? 1 : 2)
  }

  launch(): LaneGroup {
    // Nobody reads the rows of the last group any more.
    this.#rows.reset()
    this.#group = new Lanes(this.#options, this.#rows, this.#base)
    return this.#group
  }
}

class Lanes implements LaneGroup {
  readonly lost: Promise<Error>
  readonly gone: Promise<unknown>
  readonly #plan: TrunkPlan
  readonly #rows: SharedRows
  readonly #base: SharedRow
  readonly #threads: readonly EngineThread[]
  /** Where rows lie that were written and are not known to the lanes yet. */
  readonly #written = new Map<number, SharedRow>()
  #allReady: Promise<void> = Promise.resolve()

  constructor({ plan, count, createWorker }: WorkerLanesOptions, rows: SharedRows, base: SharedRow) {
    this.#plan = plan
    this.#rows = rows
    this.#base = base
    this.#threads = Array.from({ length: count }, () => new EngineThread(createWorker))
    this.lost = Promise.race(this.#threads.map(({ gone }) => gone))
    this.gone = Promise.all(this.#threads.map(({ gone }) => gone))
    void this.lost.then(() => this.finish())
  }

  /**
   * Loads the trunk in the first lane; the others follow one by one, so that the start does not wait for
   * them. Resolves when the first has run the base.
   */
  async start(): Promise<Ready> {
    const init = { ...this.#plan, segments: [...this.#rows.segments], base: this.#base }
    const [first, ...others] = this.#threads
    const ready = await first!.start(init)
    this.#allReady = others.reduce(async (before, thread) => {
      await before
      await thread.start(init)
    }, Promise.resolve())
    // A lane that fails is lost, which `lost` reports.
    this.#allReady.catch(() => {})
    return ready
  }

  get ready(): number {
    return this.#threads.filter((thread) => thread.ready).length
  }

  allReady(): Promise<void> {
    return this.#allReady
  }

  /** A further segment of shared memory, beside those that `start` was given. */
  share(segment: SharedArrayBuffer): void {
    for (const thread of this.#threads) thread.share(segment)
  }

  *write(row: number, tensors: RowTensors): Steps<void> {
    this.#written.delete(row)
    this.#written.set(row, yield* this.#rows.write(row, tensors))
  }

  /** Lanes that are not ready yet learn of the row before their first run. */
  async publish(row: number): Promise<void> {
    const content = this.#written.get(row)!
    this.#written.delete(row)
    const ready: Promise<void>[] = []
    for (const thread of this.#threads) {
      const set = thread.setRow(row, content)
      if (thread.ready) ready.push(set)
      else set.catch(() => {})
    }
    await Promise.all(ready)
  }

  clear(row: number): void {
    for (const thread of this.#threads) thread.clear(row)
  }

  free(row: number): void {
    this.#rows.free(row)
  }

  /** A run that was sent to a thread cannot be given up. */
  run(batch: EngineBatch): Promise<EngineResult> {
    const ready = this.#threads.filter((thread) => thread.ready)
    const [first] = this.#threads
    return ready
      .reduce((best, thread) => (thread.pendingBytes < best.pendingBytes ? thread : best), first!)
      .run(batch)
  }

  runInEach(batch: () => EngineBatch): Promise<EngineResult[]> {
    return Promise.all(this.#threads.filter((thread) => thread.ready).map((thread) => thread.run(batch())))
  }

  finish(): void {
    for (const thread of this.#threads) thread.finish()
  }
}
