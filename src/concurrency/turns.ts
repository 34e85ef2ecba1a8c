/**
 * Long work on the thread that does HTTP, a slice at a time: between two slices the event loop turns, so that
 * other requests are read and answered.
 *
 * Work is a generator that yields where it may be interrupted, at least once in a fraction of a millisecond.
 * All of it shares one queue: however many requests have long work, one slice runs in a turn of the loop.
 */

/** Work that can be interrupted wherever it yields. It returns its result. */
export type Steps<T> = Generator<void, T, void>

/** Time of the long work in one turn of the event loop, ms. */
const SLICE_MS = 4

/** Does work at once, to its end. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

export interface TurnsOptions {
  /** Time of all slices in one turn of the event loop, ms. */
  sliceMs: number
  now(): number
  /** Calls back when the event loop has turned. */
  defer(next: () => void): void
}

interface Job {
  /** Works for so many milliseconds at most; true at its end, also where it failed. */
  work(ms: number): boolean
}

export class Turns {
  readonly #options: TurnsOptions
  readonly #jobs: Job[] = []
  /** Time that slices have taken in this turn of the event loop, ms. */
  #used = 0
  #deferred = false

  constructor(options: Partial<TurnsOptions> = {}) {
    this.#options = { sliceMs: SLICE_MS, now: () => performance.now(), defer: setImmediate, ...options }
  }

  /**
   * Does work in turn with other work. It begins at once where there is time left in this turn of the loop,
   * and short work ends then.
   *
   * @param check called before each slice; what it throws ends the work
   * @throws what the work or the check throws
   */
  run<T>(steps: Steps<T>, check?: () => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const work = (ms: number) => {
        try {
          check?.()
          const result = this.#advance(steps, ms)
          if (result === null) return false
          resolve(result.value)
        } catch (error) {
          // The work may have something to put away.
          steps.return(undefined as T)
          reject(error)
        }
        return true
      }
      const left = this.#options.sliceMs - this.#used
      if (this.#jobs.length === 0 && left > 0 && this.#timed(work, left)) return
      this.#jobs.push({ work })
      this.#defer()
    })
  }

  /** Runs until the work ends or its time is up; null where it has not ended. */
  #advance<T>(steps: Steps<T>, ms: number): { value: T } | null {
    const { now } = this.#options
    const end = now() + ms
    do {
      const step = steps.next()
      if (step.done) return { value: step.value }
    } while (now() < end)
    return null
  }

  /** Counts what a slice takes, until the loop has turned. */
  #timed(work: (ms: number) => boolean, ms: number): boolean {
    const start = this.#options.now()
    const ended = work(ms)
    this.#used += this.#options.now() - start
    this.#defer()
    return ended
  }

  #defer(): void {
    if (this.#deferred) return
    this.#deferred = true
    this.#options.defer(() => {
      this.#deferred = false
      this.#used = 0
      this.#turn()
    })
  }

  #turn(): void {
    const { sliceMs } = this.#options
    while (this.#jobs.length > 0 && this.#used < sliceMs) {
      const job = this.#jobs.shift()!
      if (!this.#timed((ms) => job.work(ms), sliceMs - this.#used)) this.#jobs.push(job)
    }
    if (this.#jobs.length > 0) this.#defer()
  }
}

/** The turns of this thread. */
export const turns = new Turns()
