/**
 * Long work on the thread that does HTTP, a slice at a time: between two slices the event loop turns, so that
 * other requests are read and answered.
 *
 * Work is a generator that yields where it may be interrupted, at least once in a fraction of a millisecond.
 * All of it shares one queue: however many requests have long work, one slice runs in a turn of the loop. In the queue
 * owners take turns by the time that their work has taken (`fair-queue.ts`), and so do the works of one owner.
 */
import { FairQueue } from './fair-queue.js'

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

export interface WorkOptions {
  /** Whose work it is, a principal; all that names none is one owner's. */
  owner?: string
  /** Called before each slice; what it throws ends the work. */
  check?(): void
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
  /** A turn is a slice. */
  readonly #queue = new FairQueue<Job>(() => this.#options.sliceMs)
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
   * @throws what the work or the check throws
   */
  run<T>(steps: Steps<T>, { owner = '', check }: WorkOptions = {}): Promise<T> {
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
      this.#queue.push([owner], { work })
      if (this.#queue.length === 1) this.#slice()
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

  /** Does some of the work that is next; false where there is none, or no time left in this turn of the event loop. */
  #slice(): boolean {
    const { now, sliceMs } = this.#options
    const turn = this.#queue.first()
    if (turn === undefined || this.#used >= sliceMs) return false
    this.#queue.give(turn)
    const start = now()
    const ended = turn.item.work(sliceMs - this.#used)
    const ms = now() - start
    this.#used += ms
    this.#queue.end(turn, ms)
    if (!ended) this.#queue.push(turn.owner, turn.item)
    return true
  }

  /** Goes on when the event loop has turned. */
  #defer(): void {
    if (this.#deferred) return
    this.#deferred = true
    this.#options.defer(() => {
      this.#deferred = false
      this.#used = 0
      while (this.#slice());
      if (this.#used > 0) this.#defer()
    })
  }
}

/** The turns of this thread. */
export const turns = new Turns()
