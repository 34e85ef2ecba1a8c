/**
 * The engine's threads as one: each has the trunk's sessions and knows every row, and a run goes to the one with
 * the least to do. They begin and end together: when one is lost the others finish what they were sent.
 *
 * Two threads that share the operators of one run wait for each other at each; a run a thread does not (measured:
 * docs/performance.md). Whether and when other threads follow is the engine's business.
 */
import type { Worker } from 'node:worker_threads'
import type { EngineBatch, EngineInit, EngineResult, RowTensors } from './messages.js'
import { EngineThread } from './thread.js'

export class Lanes {
  /** Resolves with the reason when the first thread has exited, whatever ended it. Never rejects. */
  readonly lost: Promise<Error>
  /** Resolves when all of them have. */
  readonly gone: Promise<unknown>
  readonly #threads: readonly EngineThread[]

  constructor(count: number, createWorker: () => Worker) {
    this.#threads = Array.from({ length: count }, () => new EngineThread(createWorker()))
    this.lost = Promise.race(this.#threads.map(({ gone }) => gone))
    this.gone = Promise.all(this.#threads.map(({ gone }) => gone))
    void this.lost.then(() => this.finish())
  }

  /** Loads the trunk in each. Resolves with the provider's name when all have done a forward pass on the base. */
  async start(init: EngineInit): Promise<string> {
    const [provider] = await Promise.all(this.#threads.map((thread) => thread.start(init)))
    return provider!
  }

  /**
   * Makes a row known to all. Buffers that are not shared are taken over.
   * @throws RequestFailed, ThreadGone
   */
  async stage(row: number, { head, ...adapter }: RowTensors): Promise<void> {
    const last = this.#threads.length - 1
    await Promise.all(
      this.#threads.map((thread, index) => {
        return thread.stage(row, { ...adapter, head: index < last ? structuredClone(head) : head })
      }),
    )
  }

  clear(row: number): void {
    for (const thread of this.#threads) thread.clear(row)
  }

  /** @throws RequestFailed, ThreadGone */
  run(batch: EngineBatch): Promise<EngineResult> {
    const least = this.#threads.reduce((best, thread) => (thread.pending < best.pending ? thread : best))
    return least.run(batch)
  }

  /** Asks every thread to end once what was sent to it is answered. */
  finish(): void {
    for (const thread of this.#threads) thread.finish()
  }
}
