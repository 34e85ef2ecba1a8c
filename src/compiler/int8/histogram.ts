/** How often values of each size occur, and the range of 8-bit numbers that loses the least of them. */
import { OUTPUT_ZERO } from './ranges.js'

const BINS = 1024
/** The bound that a histogram begins with; a power of two. */
const FIRST_BOUND = 2 ** -10
/** Ranges that are tried, as shares of the whole one. */
const SHARES = Array.from({ length: 36 }, (_, index) => 1 - index / 50)

/**
 * Counts magnitudes in bins of one width, which doubles when a value comes that is beyond the last one: the order in which
 * values come does not matter.
 */
export class Histogram {
  #counts = new Float64Array(BINS)
  #bound = FIRST_BOUND
  #most = 0

  /** Counts `values[from]` to `values[to - 1]`, each times `factor`. @throws RangeError for one that is not finite */
  add(values: Float32Array, from: number, to: number, factor = 1): void {
    let most = 0
    for (let at = from; at < to; at++) {
      const size = Math.abs(values[at]!)
      if (size > most) most = size
      else if (Number.isNaN(size)) throw new RangeError('a value is not a number')
    }
    most *= factor
    if (!Number.isFinite(most)) throw new RangeError('a value is not finite')
    this.#most = Math.max(this.#most, most)
    while (this.#bound <= most) this.#double()
    const scale = (BINS / this.#bound) * factor
    const counts = this.#counts
    for (let at = from; at < to; at++) {
      const value = values[at]!
      // Zero is a byte of its own, so nothing of it is lost.
      if (value !== 0) counts[Math.min(Math.floor(Math.abs(value) * scale), BINS - 1)]! += 1
    }
  }

  /**
   * The largest magnitude of the range with the smallest squared error: what is beyond it is cut, and what is within is
   * rounded to a byte.
   */
  best(): number {
    let best = { most: 0, error: Number.POSITIVE_INFINITY }
    for (const share of SHARES) {
      const most = share * this.#most
      const error = this.#error(most, best.error)
      if (error < best.error) best = { most, error }
    }
    return best.most
  }

  /** @param enough the sum is given up where it is larger */
  #error(most: number, enough: number): number {
    const width = this.#bound / BINS
    const rounding = (most / (OUTPUT_ZERO - 1)) ** 2 / 12
    let sum = 0
    for (let bin = 0; bin < BINS && sum < enough; bin++) {
      const count = this.#counts[bin]!
      if (count === 0) continue
      const cut = Math.max((bin + 0.5) * width - most, 0)
      sum += count * (cut > 0 ? cut * cut : rounding)
    }
    return sum
  }

  #double(): void {
    const counts = new Float64Array(BINS)
    this.#counts.forEach((count, bin) => {
      counts[bin >> 1]! += count
    })
    this.#counts = counts
    this.#bound *= 2
  }
}
