/**
 * The engine's lanes as one. Each lane is a thread with the trunk's sessions, and knows every row; a run goes
 * to the lane with the least to do. When one lane is lost the others answer what they were sent and end.
 *
 * A run has one thread where there are several lanes: threads that share the operators of one run wait for
 * each other at each operator (docs/experiments/2026-11-22-two-lanes.md). Lanes that are gone are replaced by
 * the engine, with new ones.
 */
import type { Worker } from 'node:worker_threads'
import type { EngineBatch, EngineInit, EngineResult, Ready, SharedRow } from './messages.js'
import { EngineThread } from './thread.js'

export class Lanes {
  /** Resolves with the reason when the first thread has exited, whatever ended it. Never rejects. */
  readonly lost: Promise<Error>
  /** Resolves when all threads have exited. */
  readonly gone: Promise<unknown>
  readonly #threads: readonly EngineThread[]
  #allReady: Promise<void> = Promise.resolve()

  constructor(count: number, createWorker: () => Worker) {
    this.#threads = Array.from({ length: count }, () => new EngineThread(createWorker))
    this.lost = Promise.race(this.#threads.map(({ gone }) => gone))
    this.gone = Promise.all(this.#threads.map(({ gone }) => gone))
    void this.lost.then(() => this.finish())
  }

  /**
   * Loads the trunk in the first lane; the others follow one by one, so that the start does not wait for
   * them. Resolves when the first has run the base.
   */
  async start(init: EngineInit): Promise<Ready> {
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

  /** Lanes that have run the base and are not gone. */
  get ready(): number {
    return this.#threads.filter((thread) => thread.ready).length
  }

  /** Resolves when all have run the base. @throws RequestFailed, ThreadGone */
  allReady(): Promise<void> {
    return this.#allReady
  }

  /** A further segment of shared memory, beside those that `start` was given. */
  share(segment: SharedArrayBuffer): void {
    for (const thread of this.#threads) thread.share(segment)
  }

  /**
   * Makes a row known to all lanes; those not ready yet learn of it before their first run.
   * @throws RequestFailed, ThreadGone
   */
  async setRow(row: number, content: SharedRow): Promise<void> {
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

  /** @throws RequestFailed, ThreadGone */
  run(batch: EngineBatch): Promise<EngineResult> {
    const ready = this.#threads.filter((thread) => thread.ready)
    const [first] = this.#threads
    return ready
      .reduce((best, thread) => (thread.pendingBytes < best.pendingBytes ? thread : best), first!)
      .run(batch)
  }

  /**
   * Runs a batch in each lane that is ready. @param batch makes one for each @throws RequestFailed,
   * ThreadGone
   */
  runInEach(batch: () => EngineBatch): Promise<EngineResult[]> {
    return Promise.all(this.#threads.filter((thread) => thread.ready).map((thread) => thread.run(batch())))
  }

  /** Asks every thread to end when it has answered what was sent to it. */
  finish(): void {
    for (const thread of this.#threads) thread.finish()
  }
}
