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
  /** Bytes of a bank row and a head of so many classes. */
  bytes(classes: number): number
}

export class PinRoom {
  readonly #limits: PinLimits
  /** Classes of the largest version that must still fit. */
  readonly #largest: number
  #left: number
  #pins = 0

  constructor(limits: PinLimits, base: { classes: number }, largest: number) {
    this.#limits = limits
    this.#largest = largest
    this.#left = limits.memory - limits.bytes(base.classes)
  }

  /** Pinned versions so far. */
  get pins(): number {
    return this.#pins
  }

  /** Adds a pinned version if it fits, and says whether it did. */
  add(classes: number): boolean {
    const { rows, bytes } = this.#limits
    const own = bytes(classes)
    if (this.#pins + 2 >= rows || this.#left - own < bytes(Math.max(this.#largest, classes))) return false
    this.#pins++
    this.#left -= own
    return true
  }
}
