/** Repeatable random numbers for tests: the same seed gives the same run. */
import { random } from '../bench/random.js'

export class Random {
  /** A uniform number in [0, 1). */
  readonly next: () => number

  constructor(seed: number) {
    this.next = random(seed)
  }

  /** A whole number from 0 to `end - 1`. */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256))
  }
}
