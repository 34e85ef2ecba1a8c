/** How many images a second each version gets, lately: rates that forget exponentially. */
import type { Clock } from '../concurrency/clock.js'

/** After so long without images a rate is a third of what it was (1/e), ms. */
const MEMORY_MS = 10_000
/** A version with a lower rate is forgotten, images a second. */
const NOTHING = 1e-3

export class Traffic {
  readonly #clock: Pick<Clock, 'now'>
  readonly #rates = new Map<string, { rate: number; at: number }>()

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /** One more image of a version. */
  count(version: string): void {
    const now = this.#clock.now()
    this.#rates.set(version, { rate: this.#rate(version, now) + 1000 / MEMORY_MS, at: now })
  }

  /** Images a second. */
  of(version: string): number {
    return this.#rate(version, this.#clock.now())
  }

  /** The versions that have some traffic. */
  versions(): string[] {
    for (const version of this.#rates.keys()) if (this.of(version) < NOTHING) this.#rates.delete(version)
    return [...this.#rates.keys()]
  }

  #rate(version: string, now: number): number {
    const known = this.#rates.get(version)
    return known ? known.rate * Math.exp((known.at - now) / MEMORY_MS) : 0
  }
}
