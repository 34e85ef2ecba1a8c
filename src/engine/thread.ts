/**
 * One worker thread as seen from the main thread: sends requests, matches the answers to them, and rejects
 * what is pending when the thread dies. Knows the messages, and no other thread.
 *
 * A thread is first not started (messages wait in a backlog), then starting (messages are sent, and answered
 * after the start), then ready, then gone. It can be gone from each of these, and stays so.
 */
import type { Worker } from 'node:worker_threads'
import { type EngineBatch, type EngineResult, ownPixels } from './batch.js'
import { LaneGone, RequestFailed } from './lane-group.js'
import type { EngineInit, FromWorker, SharedRow, ToWorker } from './messages.js'
import type { Ready } from './plan.js'
import { Awaited, Unanswered } from './unanswered.js'

/** `Omit` over each member of a union. */
type WithoutId<T> = T extends { id: number } ? Omit<T, 'id'> : never

export class EngineThread {
  readonly #createWorker: () => Worker
  #worker: Worker | undefined
  /** Messages from before the start. */
  #backlog: { message: ToWorker; transfer: ArrayBuffer[] }[] = []
  readonly #unanswered = new Unanswered<EngineResult | undefined>()
  readonly #started = new Awaited<Ready>()
  readonly #ended = new Awaited<Error>()
  #isReady = false
  /** Why the thread could not start; it exits by itself then. */
  #startFailure: RequestFailed | undefined
  #pendingBytes = 0
  #gone: LaneGone | undefined

  /** @param createWorker called at the start */
  constructor(createWorker: () => Worker) {
    this.#createWorker = createWorker
  }

  /** Resolves with the reason when the thread has exited, whatever ended it. Never rejects. */
  get gone(): Promise<Error> {
    return this.#ended.answer
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
      return this.#started.answer
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
    return this.#started.answer
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
    const own = ownPixels(batch.pixels)
    const transfer = [own.buffer]
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
    const { id, answer } = this.#unanswered.add()
    this.#post({ ...message, id } as ToWorker, transfer)
    return answer
  }

  #post(message: ToWorker, transfer: ArrayBuffer[]): void {
    if (this.#worker) this.#worker.postMessage(message, transfer)
    else this.#backlog.push({ message, transfer })
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        this.#isReady = true
        this.#started.resolve(message)
        break
      case 'rowSet':
        this.#unanswered.take(message.id)?.resolve(undefined)
        break
      case 'result':
        this.#unanswered.take(message.id)?.resolve(message.result)
        break
      case 'failed': {
        const failure = new RequestFailed(message.message)
        if (message.id === null) this.#startFailure = failure
        const waiting = message.id === null ? this.#started : this.#unanswered.take(message.id)
        waiting?.reject(failure)
      }
    }
  }

  #close(reason: LaneGone): void {
    if (this.#gone) return
    this.#gone = reason
    this.#isReady = false
    this.#backlog = []
    this.#started.reject(reason)
    this.#unanswered.fail(reason)
    this.#ended.resolve(reason)
  }
}
