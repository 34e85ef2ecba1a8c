/**
 * A queue of single images of many domains in front of dedicated sessions. A session can batch only the
 * images that wait for its own domain, so in mixed traffic its batches are small, whatever batch size would
 * suit it.
 */
import type { DedicatedFleet } from './dedicated.js'

interface Waiting {
  pixels: Uint8Array
  resolve(): void
  reject(error: unknown): void
}

export class DedicatedQueue {
  readonly #fleet: DedicatedFleet
  /** Most images of a batch. */
  readonly #maxBatch: number
  /** `[side, side, 3]` */
  readonly #side: number
  /** Waiting images by domain, in the order in which the domains' oldest images arrived. */
  readonly #waiting = new Map<number, Waiting[]>()
  /** Runs that each worker has been given and has not answered. */
  readonly #given: number[]

  /** @param side height and width of an image */
  constructor(fleet: DedicatedFleet, maxBatch: number, side: number) {
    this.#fleet = fleet
    this.#maxBatch = maxBatch
    this.#side = side
    this.#given = new Array(fleet.options.workers).fill(0)
  }

  /** Queues one image of a domain; resolves once its batch has run. */
  predict(domain: number, pixels: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const queue = this.#waiting.get(domain)
      if (queue) queue.push({ pixels, resolve, reject })
      else this.#waiting.set(domain, [{ pixels, resolve, reject }])
      this.#start()
    })
  }

  /**
   * Gives each worker a batch of the domain that has waited longest among those of that worker. A worker that
   * is running gets its next batch already, so that it need not wait for it.
   */
  #start(): void {
    for (const [domain, queue] of this.#waiting) {
      const worker = domain % this.#fleet.options.workers
      if (this.#given[worker]! >= 2) continue
      const batch = queue.splice(0, this.#maxBatch)
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
