/**
 * A clock that a test moves. Timers fire in the order of their times, and equal ones in the order of
 * creation.
 */
import type { Clock } from '../src/concurrency/clock.js'

interface Timer {
  at: number
  callback: () => void
}

export class ManualClock implements Clock {
  #now = 0
  readonly #start: number
  readonly #timers = new Set<Timer>()

  /** @param date wall-clock time at `now() === 0` */
  constructor(date = '2026-01-01T00:00:00.000Z') {
    this.#start = Date.parse(date)
  }

  now(): number {
    return this.#now
  }

  date(): Date {
    return new Date(this.#start + this.#now)
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Number of timers that wait to fire; 0 once everything has cleaned up after itself. */
  get pending(): number {
    return this.#timers.size
  }

  /**
   * Moves time on by `ms` and fires the timers that fall due, also those set meanwhile. Runs no microtasks.
   */
  advance(ms: number): void {
    const end = this.#now + ms
    for (let next = this.#due(end); next !== undefined; next = this.#due(end)) {
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.at)
      next.callback()
    }
    this.#now = end
  }

  #due(end: number): Timer | undefined {
    let first: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer
    }
    return first
  }
}

/** Turns of the event loop in `settle`: work in slices takes more than one where the machine is slow. */
const TURNS = 5

/** Runs everything that waits on settled promises. No time passes. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}
