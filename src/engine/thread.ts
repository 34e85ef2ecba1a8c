/**
 * One worker thread as seen from the main thread: sends requests, matches the answers to them, and rejects
 * what is pending when the thread dies. Knows the messages, and no other thread.
 *
 * A thread is first not started (messages wait in a backlog), then starting (messages are sent, and answered
 * after the start), then ready, then gone. It can be gone from each of these, and stays so.
 */
import type { Worker } from 'node:worker_threads'
import { LaneGone, RequestFailed } from './lane-group.js'
import type {
  EngineBatch,
  EngineInit,
  EngineResult,
  FromWorker,
  Ready,
  SharedRow,
  ToWorker,
} from './messages.js'

interface Pending {
  resolve(result: EngineResult | undefined): void
  reject(error: Error): void
}

/** `Omit` over each member of a union. */
type WithoutId<T> = T extends { id: number } ? Omit<T, 'id'> : never

export class EngineThread {
  /** Resolves with the reason when the thread has exited, whatever ended it. Never rejects. */
  readonly gone: Promise<Error>
  readonly #createWorker: () => Worker
  #worker: Worker | undefined
  /** Messages from before the start. */
  #backlog: { message: ToWorker; transfer: ArrayBuffer[] }[] = []
  readonly #pending = new Map<number, Pending>()
  readonly #ready: Promise<Ready>
  #settleReady!: { resolve(ready: Ready): void; reject(error: Error): void }
  #resolveGone: (reason: Error) => void = () => {}
  #isReady = false
  /** Why the thread could not start; it exits by itself then. */
  #startFailure: RequestFailed | undefined
  #lastId = 0
  #pendingBytes = 0
  #gone: LaneGone | undefined

  /** @param createWorker called at the start */
  constructor(createWorker: () => Worker) {
    this.#createWorker = createWorker
    this.gone = new Promise((resolve) => {
      this.#resolveGone = resolve
    })
    this.#ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject }
    })
    // Where the thread ends without a start, nobody handles this rejection.
    this.#ready.catch(() => {})
  }

  /** Whether it has run the base, and is not gone. */
  get ready(): boolean {
    return this.#isReady
  }

  /** Bytes of pixels in runs that are not answered yet: a measure of what it has to do. */
  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /**
   * Starts the thread and loads the trunk, before what was sent earlier. Resolves when the thread has run the
   * base.
   * @throws RequestFailed, LaneGone
   */
  start(init: EngineInit): Promise<Ready> {
    if (this.#gone) return Promise.reject(this.#gone)
    let worker: Worker
    try {
      worker = this.#createWorker()
    } catch (cause) {
      this.#close(new LaneGone("the engine's thread could not be made", { cause }))
      return this.#ready
    }
    let cause: unknown
    worker.on('error', (error) => {
      cause = error
    })
    worker.on('message', (message: FromWorker) => this.#receive(message))
    worker.once('exit', (code) => {
      cause ??= this.#startFailure
      const why = cause instanceof Error ? cause.message : `exit code ${code}`
      this.#close(new LaneGone(`the engine's thread ended: ${why}`, { cause }))
    })
    this.#worker = worker
    this.#post({ type: 'init', init }, [])
    for (const { message, transfer } of this.#backlog.splice(0)) this.#post(message, transfer)
    return this.#ready
  }

  /** Sends a further segment of shared memory. It must come before a row that lies in it. */
  share(segment: SharedArrayBuffer): void {
    this.#post({ type: 'share', segment }, [])
  }

  /** @throws RequestFailed, LaneGone */
  async setRow(row: number, content: SharedRow): Promise<void> {
    await this.#request({ type: 'setRow', row, content }, [])
  }

  clear(row: number): void {
    this.#post({ type: 'clear', row }, [])
  }

  /** @throws RequestFailed, LaneGone */
  async run(batch: EngineBatch): Promise<EngineResult> {
    const { pixels } = batch
    // Pixels that are a part of a larger buffer would take all of it along. Not `slice`: that of a Node
    // `Buffer` does not copy.
    const own = pixels.byteLength === pixels.buffer.byteLength ? pixels : new Uint8Array(pixels)
    const transfer = [own.buffer as ArrayBuffer]
    const bytes = own.byteLength
    this.#pendingBytes += bytes
    try {
      return (await this.#request({ type: 'run', batch: { ...batch, pixels: own } }, transfer))!
    } finally {
      this.#pendingBytes -= bytes
    }
  }

  /**
   * Asks the thread to end when it has answered what was sent before. It must never be terminated: inside a
   * run that aborts the process (docs/decisions/0001-onnxruntime-in-worker-threads.md).
   */
  finish(): void {
    if (this.#worker) this.#post({ type: 'stop' }, [])
    else this.#close(new LaneGone("the engine's thread was not started"))
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
    if (this.#worker) this.#worker.postMessage(message, transfer)
    else this.#backlog.push({ message, transfer })
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        this.#isReady = true
        this.#settleReady.resolve(message)
        break
      case 'rowSet':
        this.#take(message.id)?.resolve(undefined)
        break
      case 'result':
        this.#take(message.id)?.resolve(message.result)
        break
      case 'failed': {
        const failure = new RequestFailed(message.message)
        if (message.id === null) this.#startFailure = failure
        const waiting = message.id === null ? this.#settleReady : this.#take(message.id)
        waiting?.reject(failure)
      }
    }
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    return pending
  }

  #close(reason: LaneGone): void {
    if (this.#gone) return
    this.#gone = reason
    this.#isReady = false
    this.#backlog = []
    this.#settleReady.reject(reason)
    for (const { reject } of this.#pending.values()) reject(reason)
    this.#pending.clear()
    this.#resolveGone(reason)
  }
}
