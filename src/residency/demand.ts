/**
 * How often each version was asked for lately: a count that decays exponentially, so it follows the rate of requests.
 *
 * Times are in units of the minimum residency, the time in which a version in a row shows whether it is asked for.
 * Requests close together count once: requests that wait for the same load are no rate. Cold versions count too: a
 * version that had to leave is as much in demand as before.
 */
import type { Clock } from '../concurrency/clock.js'

/** The count falls to 1/e in so many minimum residencies. */
const DECAY_RESIDENCIES = 2.5
/** Requests that follow a counted one sooner than in so many minimum residencies are not counted. */
const PAUSE_RESIDENCIES = 0.1
/** Versions that are remembered before those that nobody asks for are looked for. */
const MIN_SWEPT = 1024
/** A count below this says nothing. */
const NEGLIGIBLE = 0.01

interface Count {
  value: number
  /** `clock.now()` when it had this value, at the last counted request. */
  at: number
}

export class Demand {
  readonly #clock: Pick<Clock, 'now'>
  readonly #decayMs: number
  readonly #pauseMs: number
  readonly #counts = new Map<string, Count>()
  #sweepAbove = MIN_SWEPT

  /** @param minResidencyMs 0 for no counting: nothing is in demand then */
  constructor(clock: Pick<Clock, 'now'>, minResidencyMs: number) {
    this.#clock = clock
    this.#decayMs = DECAY_RESIDENCIES * minResidencyMs
    this.#pauseMs = PAUSE_RESIDENCIES * minResidencyMs
  }

  /** Versions that are remembered. */
  get size(): number {
    return this.#counts.size
  }

  /** A version is asked for. */
  ask(version: string): void {
    if (this.#decayMs === 0) return
    const now = this.#clock.now()
    const count = this.#counts.get(version)
    if (count === undefined) {
      this.#counts.set(version, { value: 1, at: now })
      if (this.#counts.size > this.#sweepAbove) this.#sweep(now)
    } else if (now - count.at >= this.#pauseMs) {
      count.value = 1 + this.#decayed(count, now)
      count.at = now
    }
  }

  /**
   * The decayed count of a version's requests. At one request in half a minimum residency it swings around 4.5, and is
   * 1.5 before the third request.
   */
  of(version: string): number {
    const count = this.#counts.get(version)
    return count === undefined ? 0 : this.#decayed(count, this.#clock.now())
  }

  /** Forgets a version that no domain lists. */
  delete(version: string): void {
    this.#counts.delete(version)
  }

  #decayed({ value, at }: Count, now: number): number {
    return value * Math.exp((at - now) / this.#decayMs)
  }

  #sweep(now: number): void {
    for (const [version, count] of this.#counts)
      if (this.#decayed(count, now) < NEGLIGIBLE) this.#counts.delete(version)
    this.#sweepAbove = Math.max(MIN_SWEPT, 2 * this.#counts.size)
  }
}
