/** The rival of the comparisons: one dedicated session per domain, in one or more threads. */
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { DedicatedOptions, FromDedicated, ToDedicated } from './dedicated-worker.js'

export interface FleetOptions extends DedicatedOptions {
  /** Threads that hold sessions. Session `n` lives in thread `n % workers`. */
  workers: number
}

/** The settings in words. */
export function describeFleet({ workers, threads, spinning }: FleetOptions): string {
  return `${workers} x ${threads} thread${threads > 1 ? 's' : ''}, spinning ${spinning ? 'on' : 'off'}`
}

/** A message without its id. The conditional type omits it from each member of the union. */
type Request = ToDedicated extends infer Message
  ? Message extends { id: number }
    ? Omit<Message, 'id'>
    : never
  : never

export class DedicatedFleet {
  readonly options: FleetOptions
  readonly #workers: Worker[]
  readonly #waiting = new Map<
    number,
    { resolve(logits: Float32Array | null): void; reject(e: Error): void }
  >()
  #next = 0

  constructor(options: FleetOptions) {
    this.options = options
    const { workers, ...workerData } = options
    this.#workers = Array.from({ length: workers }, () => {
      const worker = new Worker(new URL('./dedicated-worker.js', import.meta.url), { workerData })
      worker.on('message', (message: FromDedicated) => this.#settle(message))
      worker.on('error', (error) => {
        for (const { reject } of this.#waiting.values()) reject(error as Error)
      })
      return worker
    })
  }

  /**
   * Opens the sessions `from` to `count - 1`, each from its own file, as in a real deployment.
   * @param network gives the ONNX bytes of a domain
   */
  async open(count: number, network: (domain: number) => Uint8Array, from = 0): Promise<void> {
    for (let session = from; session < count; session++) {
      const path = join(tmpdir(), `facet-dedicated-${process.pid}-${session}.onnx`)
      await writeFile(path, network(session))
      try {
        await this.#ask(session, { type: 'open', session, path })
      } finally {
        await rm(path, { force: true })
      }
    }
  }

  /**
   * Logits `[N, classes]` of `pixels` `[N, H, W, 3]`. The buffer of `pixels` is transferred to the thread.
   */
  async run(session: number, pixels: Uint8Array, dims: number[]): Promise<Float32Array> {
    const request = { type: 'run', session, pixels, dims } as const
    return (await this.#ask(session, request, [pixels.buffer as ArrayBuffer]))!
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#workers.map(async (worker) => {
        const exit = once(worker, 'exit')
        worker.postMessage({ type: 'stop' } satisfies ToDedicated)
        await exit
      }),
    )
  }

  #ask(session: number, request: Request, transfer: ArrayBuffer[] = []): Promise<Float32Array | null> {
    const id = this.#next++
    const answer = new Promise<Float32Array | null>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
    })
    this.#workers[session % this.#workers.length]!.postMessage({ ...request, id }, transfer)
    return answer
  }

  #settle({ id, logits, error }: FromDedicated): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(logits)
    else waiting?.reject(new Error(error))
  }
}
