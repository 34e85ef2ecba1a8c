/**
 * Which versions have dedicated networks: the ones with the most images a second, as far as their memory reaches, and
 * without changing back and forth.
 *
 * - While there is room, the version with the highest rate gets one, from `LEAST_RATE` on.
 * - Where there is none, it takes the place of the one with the lowest rate, when for `CHALLENGE_MS` some version
 *   without a network has had `CHALLENGE_RATIO` times that rate.
 * - A version whose rate falls below `IDLE_RATE` loses its network.
 *
 * Knows no engine and no time but what it is told.
 */

/** A promotion costs about half a second of CPU time, and an image in a dedicated network saves half a millisecond. */
const LEAST_RATE = 1
const IDLE_RATE = 0.1
const CHALLENGE_RATIO = 1.5
const CHALLENGE_MS = 5000

/** A version and its images a second. */
export interface Rated {
  version: string
  rate: number
}

/** Whether a version has traffic enough for a network. */
export function isHot({ rate }: Rated): boolean {
  return rate >= LEAST_RATE
}

/** The one with the least traffic; undefined of none. */
export function lowestOf(rated: readonly Rated[]): Rated | undefined {
  return rated.reduce<Rated | undefined>(
    (low, each) => (low && low.rate <= each.rate ? low : each),
    undefined,
  )
}

/** What is to be done: first the one, then the other. */
export interface Change {
  demote?: string
  promote?: string
}

export class Choice {
  /** Since when the lowest has been challenged without a break; null while it is not. */
  #challengedSince: number | null = null

  /**
   * @param held versions that have networks @param others versions that may get one
   * @param room further networks that fit
   */
  next(now: number, held: readonly Rated[], others: readonly Rated[], room: number): Change | null {
    const lowest = lowestOf(held)
    const highest = others.reduce<Rated | undefined>(
      (high, each) => (high && high.rate >= each.rate ? high : each),
      undefined,
    )
    if (lowest && lowest.rate < IDLE_RATE) return { demote: lowest.version }
    const hot = highest && isHot(highest) ? highest : undefined
    if (hot && room >= 1) return { promote: hot.version }
    if (!hot || !lowest || hot.rate < CHALLENGE_RATIO * lowest.rate) {
      this.#challengedSince = null
      return null
    }
    this.#challengedSince ??= now
    if (now - this.#challengedSince < CHALLENGE_MS) return null
    this.#challengedSince = null
    return { demote: lowest.version, promote: hot.version }
  }
}
