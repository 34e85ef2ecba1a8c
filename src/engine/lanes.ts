/**
 * The engine's threads as one: each has the trunk's sessions and knows every row, and a run goes to the one with
 * the least to do. When one is lost the others finish what they were sent, and all are gone.
 *
 * Two threads that share the operators of one run wait for each other at each; a run a thread does not (measured:
 * docs/performance.md). Whether and when other threads follow is the engine's business.
 */
import type { Worker } from 'node:worker_threads'
import type { EngineBatch, EngineInit, EngineResult, Ready, SharedRow } from './messages.js'
import { EngineThread } from './thread.js'

export class Lanes {
  /** Resolves with the reason when the first thread has exited, whatever ended it. Never rejects. */
  readonly lost: Promise<Error>
  /** Resolves when all of them have. */
  readonly gone: Promise<unknown>
  readonly #threads: readonly EngineThread[]
  #widened: Promise<void> = Promise.resolve()

  constructor(count: number, createWorker: () => Worker) {
    this.#threads = Array.from({ length: count }, () => new EngineThread(createWorker))
    this.lost = Promise.race(this.#threads.map(({ gone }) => gone))
    this.gone = Promise.all(this.#threads.map(({ gone }) => gone))
    void this.lost.then(() => this.finish())
  }

  /**
   * Loads the trunk in the first; the others follow one by one, so that the start does not wait for them.
   * Resolves when the first has done a forward pass on the base.
   */
  async start(init: EngineInit): Promise<Ready> {
    const [first, ...others] = this.#threads
    const ready = await first!.start(init)
    this.#widened = others.reduce(async (before, thread) => {
      await before
      await thread.start(init)
    }, Promise.resolve())
    // One that fails is lost, which says it all.
    this.#widened.catch(() => {})
    return ready
  }

  /** How many have done a forward pass and are not gone. */
  get ready(): number {
    return this.#threads.filter((thread) => thread.ready).length
  }

  /** Resolves when all have done a forward pass. @throws RequestFailed, ThreadGone */
  widened(): Promise<void> {
    return this.#widened
  }

  /** A further segment of shared memory, beside those that `start` was given. */
  share(segment: SharedArrayBuffer): void {
    for (const thread of this.#threads) thread.share(segment)
  }

  /**
   * Makes a row known to all; those not ready yet learn of it before their first run.
   * @throws RequestFailed, ThreadGone
   */
  async stage(row: number, content: SharedRow): Promise<void> {
    const ready: Promise<void>[] = []
    for (const thread of this.#threads) {
      const staged = thread.stage(row, content)
      if (thread.ready) ready.push(staged)
      else staged.catch(() => {})
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
    return ready.reduce((best, thread) => (thread.work < best.work ? thread : best), first!).run(batch)
  }

  /** A batch in each thread that is ready, made anew for each. @throws RequestFailed, ThreadGone */
  runInEach(batch: () => EngineBatch): Promise<EngineResult[]> {
    return Promise.all(this.#threads.filter((thread) => thread.ready).map((thread) => thread.run(batch())))
  }

  /** Asks every thread to end once what was sent to it is answered. */
  finish(): void {
    for (const thread of this.#threads) thread.finish()
  }
}
