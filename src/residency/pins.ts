/**
 * Which domains may be pinned together. The base and the pinned versions must leave room for one more
 * version, the largest there is: without it, neither an unpinned domain nor a new version of a pinned one
 * could be loaded.
 */
export interface PinLimits {
  /** Rows of the bank, the base's included. */
  rows: number
  /** Bytes of resident adapters and heads together. */
  memory: number
}

export class PinRoom {
  readonly #limits: PinLimits
  readonly #largest: number
  #left: number
  #pins = 0

  /** @param base bytes of the base @param largest bytes of the largest version that must still fit */
  constructor(limits: PinLimits, base: number, largest: number) {
    this.#limits = limits
    this.#largest = largest
    this.#left = limits.memory - base
  }

  /** Pinned versions so far. */
  get pins(): number {
    return this.#pins
  }

  /** Adds a pinned version of so many bytes if it fits, and says whether it did. */
  add(bytes: number): boolean {
    const { rows } = this.#limits
    if (this.#pins + 2 >= rows || this.#left - bytes < Math.max(this.#largest, bytes)) return false
    this.#pins++
    this.#left -= bytes
    return true
  }
}
