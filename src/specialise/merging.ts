/** The thread that merges packs (`merge-thread.ts`) as seen from the main thread: started when needed, ended when idle. */
import { Worker } from 'node:worker_threads'
import type { Clock } from '../concurrency/clock.js'
import type { FromMerge, MergeOptions, ToMerge } from './merge-thread.js'

/** While traffic begins, merges follow each other with an opening in between; a start takes longer than a merge. */
const IDLE_MS = 10_000

interface Waiting {
  resolve(network: Uint8Array): void
  reject(error: Error): void
}

interface Thread {
  worker: Worker
  /** What it has not answered, by id. */
  waiting: Map<number, Waiting>
}

export class Merging {
  readonly #options: MergeOptions
  readonly #clock: Pick<Clock, 'after'>
  #thread: Thread | undefined
  #lastId = 0
  #cancelEnd: () => void = () => {}
  #closed = false

  constructor(options: MergeOptions, clock: Pick<Clock, 'after'>) {
    this.#options = options
    this.#clock = clock
  }

  /**
   * The dedicated network of a pack of the family, as an ONNX file.
   * @throws Error that says why there is none
   */
  merge(pack: Uint8Array): Promise<Uint8Array> {
    if (this.#closed) return Promise.reject(new Error('no further networks are merged'))
    this.#cancelEnd()
    this.#thread ??= this.#start()
    const { worker, waiting } = this.#thread
    const id = ++this.#lastId
    worker.postMessage({ id, pack } satisfies ToMerge)
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }))
  }

  /** Ends the thread. What waits for it is rejected. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#end()
  }

  #start(): Thread {
    const workerData = this.#options
    const worker = new Worker(new URL('./merge-thread.js', import.meta.url), {
      name: 'facet-merge',
      workerData,
    })
    const thread: Thread = { worker, waiting: new Map() }
    let cause: unknown
    worker.on('message', (answer: FromMerge) => this.#answer(thread, answer))
    worker.on('error', (error) => {
      cause = error
    })
    worker.once('exit', () => {
      if (this.#thread === thread) this.#thread = undefined
      const why = cause instanceof Error ? `: ${cause.message}` : ''
      for (const { reject } of thread.waiting.values())
        reject(new Error(`the thread that merges has ended${why}`, { cause }))
    })
    return thread
  }

  #answer({ waiting }: Thread, answer: FromMerge): void {
    const merge = waiting.get(answer.id)
    waiting.delete(answer.id)
    if (waiting.size === 0) this.#cancelEnd = this.#clock.after(IDLE_MS, () => void this.#end())
    if ('network' in answer) merge?.resolve(answer.network)
    else merge?.reject(new Error(answer.message))
  }

  async #end(): Promise<void> {
    this.#cancelEnd()
    const thread = this.#thread
    this.#thread = undefined
    await thread?.worker.terminate()
  }
}
