/**
 * When lost threads are replaced: soon at first, and ever later while they keep dying. An engine that ran
 * well for long begins anew.
 */
import type { Clock } from '../concurrency/clock.js'

/** Wait before the first try; each further try waits twice as long. */
const FIRST_WAIT_MS = 100
/** The longest wait, and how long an engine must run well for its earlier tries to be forgotten. */
const LONGEST_WAIT_MS = 30_000

export class Restarts {
  readonly #clock: Clock
  #tries = 0
  /** When the last lane became ready; Infinity while one is not. */
  #wholeSince = Number.POSITIVE_INFINITY
  #cancel: () => void = () => {}

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Tries since the engine last ran well for long. */
  get tries(): number {
    return this.#tries
  }

  /** All lanes are ready. */
  whole(): void {
    this.#wholeSince = this.#clock.now()
  }

  /** A lane is lost. */
  lost(): void {
    if (this.#clock.now() - this.#wholeSince > LONGEST_WAIT_MS) this.#tries = 0
    this.#wholeSince = Number.POSITIVE_INFINITY
  }

  /** Calls `restart` when it is time for the next try. */
  schedule(restart: () => void): void {
    const ms = Math.min(FIRST_WAIT_MS * 2 ** this.#tries, LONGEST_WAIT_MS)
    this.#tries += 1
    this.#cancel = this.#clock.after(ms, restart)
  }

  /** The scheduled try is not made. A no-op where none is scheduled. */
  cancel(): void {
    this.#cancel()
  }
}
