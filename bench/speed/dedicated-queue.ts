/**
 * The rival's queue: single images of many domains in front of dedicated sessions. A session can batch only
 * what waits for its own domain, so that mixed traffic gives it the batches it gives, however large a batch
 * might suit it.
 */
import type { DedicatedFleet } from './dedicated.js'

interface Waiting {
  pixels: Uint8Array
  resolve(): void
  reject(error: unknown): void
}

export class DedicatedQueue {
  readonly #fleet: DedicatedFleet
  /** Images of a batch at most. */
  readonly #most: number
  /** `[side, side, 3]` */
  readonly #side: number
  /** Domains in the order their oldest images came in. */
  readonly #waiting = new Map<number, Waiting[]>()
  /** Runs each worker has been given and not answered. */
  readonly #given: number[]

  constructor(fleet: DedicatedFleet, most: number, side: number) {
    this.#fleet = fleet
    this.#most = most
    this.#side = side
    this.#given = new Array(fleet.options.workers).fill(0)
  }

  /** One image of a domain; resolves with its batch. */
  predict(domain: number, pixels: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const queue = this.#waiting.get(domain)
      if (queue) queue.push({ pixels, resolve, reject })
      else this.#waiting.set(domain, [{ pixels, resolve, reject }])
      this.#start()
    })
  }

  /** To each worker the oldest domain of its own, with all that waits for it; the next batch while one runs. */
  #start(): void {
    for (const [domain, queue] of this.#waiting) {
      const worker = domain % this.#fleet.options.workers
      if (this.#given[worker]! >= 2) continue
      const batch = queue.splice(0, this.#most)
      this.#waiting.delete(domain)
      if (queue.length > 0) this.#waiting.set(domain, queue)
      this.#given[worker]!++
      void this.#run(domain, batch).finally(() => {
        this.#given[worker]!--
        this.#start()
      })
    }
  }

  async #run(domain: number, batch: Waiting[]): Promise<void> {
    const length = batch[0]!.pixels.length
    const pixels = new Uint8Array(batch.length * length)
    batch.forEach((one, index) => {
      pixels.set(one.pixels, index * length)
    })
    try {
      await this.#fleet.run(domain, pixels, [batch.length, this.#side, this.#side, 3])
      for (const { resolve } of batch) resolve()
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
}
