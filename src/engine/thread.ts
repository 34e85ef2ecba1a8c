/**
 * One worker thread, from its start to its exit: requests out, answers matched to them, and what is pending
 * when it dies. Knows the messages, and no other thread.
 */
import type { Worker } from 'node:worker_threads'
import type {
  EngineBatch,
  EngineInit,
  EngineResult,
  FromWorker,
  Ready,
  SharedRow,
  ToWorker,
} from './messages.js'

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
  readonly #createWorker: () => Worker
  #worker: Worker | undefined
  /** What was sent before the start. */
  #backlog: { message: ToWorker; transfer: ArrayBuffer[] }[] = []
  readonly #pending = new Map<number, Pending>()
  readonly #ready: Promise<Ready>
  #settleReady!: { resolve(ready: Ready): void; reject(error: Error): void }
  #resolveGone: (reason: Error) => void = () => {}
  #isReady = false
  #startFailure: RequestFailed | undefined
  #lastId = 0
  #work = 0
  #gone: ThreadGone | undefined

  /** @param createWorker called at the start; nothing of the worker has been heard then */
  constructor(createWorker: () => Worker) {
    this.#createWorker = createWorker
    this.gone = new Promise((resolve) => {
      this.#resolveGone = resolve
    })
    this.#ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject }
    })
    // A thread that ends before anybody started it has nobody waiting here.
    this.#ready.catch(() => {})
  }

  /** True from the forward pass on, and until the thread is gone. */
  get ready(): boolean {
    return this.#isReady
  }

  /** Bytes of pixels in runs that are not answered yet: what it has to do, as far as one can tell from outside. */
  get work(): number {
    return this.#work
  }

  /** Loads the trunk; then comes what was sent before. Resolves after a forward pass on the base.
   * @throws RequestFailed, ThreadGone */
  start(init: EngineInit): Promise<Ready> {
    if (this.#gone) return Promise.reject(this.#gone)
    let worker: Worker
    try {
      worker = this.#createWorker()
    } catch (cause) {
      this.#close(new ThreadGone("the engine's thread could not be made", { cause }))
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
      this.#close(new ThreadGone(`the engine's thread ended: ${why}`, { cause }))
    })
    this.#worker = worker
    this.#post({ type: 'init', init }, [])
    for (const { message, transfer } of this.#backlog.splice(0)) this.#post(message, transfer)
    return this.#ready
  }

  /** Tells of a further segment of shared memory, before a row that lies in it. */
  share(segment: SharedArrayBuffer): void {
    this.#post({ type: 'share', segment }, [])
  }

  /** @throws RequestFailed, ThreadGone */
  async stage(row: number, content: SharedRow): Promise<void> {
    await this.#request({ type: 'stage', row, content }, [])
  }

  clear(row: number): void {
    this.#post({ type: 'clear', row }, [])
  }

  /** @throws RequestFailed, ThreadGone */
  async run(batch: EngineBatch): Promise<EngineResult> {
    const { pixels } = batch
    // A part of a larger buffer would take the whole with it. Not `slice`: a Node `Buffer`'s copies nothing.
    const own = pixels.byteLength === pixels.buffer.byteLength ? pixels : new Uint8Array(pixels)
    const transfer = [own.buffer as ArrayBuffer]
    const bytes = own.byteLength
    this.#work += bytes
    try {
      return (await this.#request({ type: 'run', batch: { ...batch, pixels: own } }, transfer))!
    } finally {
      this.#work -= bytes
    }
  }

  /**
   * Asks the thread to end once everything sent before is answered. It must never be terminated: inside a
   * run that aborts the process (design: section 4).
   */
  finish(): void {
    if (this.#worker) this.#post({ type: 'stop' }, [])
    else this.#close(new ThreadGone("the engine's thread was not started"))
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
      case 'staged':
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

  #close(reason: ThreadGone): void {
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
