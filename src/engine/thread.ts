/**
 * One worker thread, from its start to its exit: requests out, answers matched to them, and what is pending
 * when it dies. Knows the messages, and no other thread.
 */
import type { Worker } from 'node:worker_threads'
import type { EngineBatch, EngineInit, EngineResult, FromWorker, RowTensors, ToWorker } from './messages.js'

/** The thread answered that this one request failed; it goes on. */
export class RequestFailed extends Error {}

/** The thread is gone, and the request with it. */
export class ThreadGone extends Error {}

interface Pending {
  resolve(result: EngineResult | undefined): void
  reject(error: Error): void
}

/** `Omit` over each member of a union. */
type WithoutId<T> = T extends { id: number } ? Omit<T, 'id'> : never

export class EngineThread {
  /** Resolves with the reason when the thread has exited, whatever ended it. Never rejects. */
  readonly gone: Promise<Error>
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  readonly #ready: Promise<string>
  #settleReady!: { resolve(provider: string): void; reject(error: Error): void }
  #lastId = 0
  #gone: ThreadGone | undefined

  /** @param worker just made: nothing of it has been heard yet */
  constructor(worker: Worker) {
    this.#worker = worker
    let cause: unknown
    this.#worker.on('error', (error) => {
      cause = error
    })
    this.#worker.on('message', (message: FromWorker) => this.#receive(message))
    this.gone = new Promise((resolve) => {
      this.#worker.once('exit', (code) => resolve(this.#close(code, cause)))
    })
    this.#ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject }
    })
    // A thread that dies before anybody started it has nobody waiting here.
    this.#ready.catch(() => {})
  }

  /** Requests that are not answered yet. */
  get pending(): number {
    return this.#pending.size
  }

  /** Loads the trunk. Resolves with the provider's name after a forward pass on the base. */
  start(init: EngineInit): Promise<string> {
    this.#post({ type: 'init', init }, [])
    return this.#ready
  }

  /** @throws RequestFailed, ThreadGone */
  async stage(row: number, tensors: RowTensors): Promise<void> {
    const { affine, matrices, head } = tensors
    const arrays = [affine, ...matrices, ...(head ? [head.weight, head.bias] : [])]
    const own = arrays.flatMap(({ buffer }) => (buffer instanceof ArrayBuffer ? [buffer] : []))
    await this.#request({ type: 'stage', row, tensors }, [...new Set(own)])
  }

  clear(row: number): void {
    this.#post({ type: 'clear', row }, [])
  }

  /** @throws RequestFailed, ThreadGone */
  async run({ pixels, rows }: EngineBatch): Promise<EngineResult> {
    // A part of a larger buffer would take the whole with it. Not `slice`: a Node `Buffer`'s copies nothing.
    const own = pixels.byteLength === pixels.buffer.byteLength ? pixels : new Uint8Array(pixels)
    const result = await this.#request({ type: 'run', batch: { pixels: own, rows } }, [
      own.buffer as ArrayBuffer,
    ])
    return result!
  }

  /**
   * Asks the thread to end once everything sent before is answered. It must never be terminated: inside a
   * run that aborts the process (design: section 4).
   */
  finish(): void {
    this.#post({ type: 'stop' }, [])
  }

  #request(message: WithoutId<ToWorker>, transfer: ArrayBuffer[]): Promise<EngineResult | undefined> {
    if (this.#gone) return Promise.reject(this.#gone)
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#post({ ...message, id } as ToWorker, transfer)
      this.#pending.set(id, { resolve, reject })
    })
  }

  #post(message: ToWorker, transfer: ArrayBuffer[]): void {
    this.#worker.postMessage(message, transfer)
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        this.#settleReady.resolve(message.provider)
        break
      case 'staged':
        this.#take(message.id)?.resolve(undefined)
        break
      case 'result':
        this.#take(message.id)?.resolve(message.result)
        break
      case 'failed': {
        const waiting = message.id === null ? this.#settleReady : this.#take(message.id)
        waiting?.reject(new RequestFailed(message.message))
      }
    }
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    return pending
  }

  #close(code: number, cause: unknown): ThreadGone {
    const why = cause instanceof Error ? cause.message : `exit code ${code}`
    this.#gone = new ThreadGone(`the engine's thread ended: ${why}`, { cause })
    this.#settleReady.reject(this.#gone)
    for (const { reject } of this.#pending.values()) reject(this.#gone)
    this.#pending.clear()
    return this.#gone
  }
}
