/**
 * Short pieces of work on this thread, one in each turn of the event loop, so that everything else waits for one piece
 * and not for all of them. A bounded number waits; what finds no place is to be done elsewhere.
 */
export class Turns {
  readonly #most: number
  readonly #defer: (next: () => void) => void
  readonly #waiting: (() => void)[] = []
  /** The current turn has had its piece. */
  #taken = false

  /**
   * @param most pieces that may wait
   * @param defer calls back in the next turn
   */
  constructor(most: number, defer: (next: () => void) => void = setImmediate) {
    this.#most = most
    this.#defer = defer
  }

  /** `now` where the work may be done at once, a promise of its turn, or null where too many wait. */
  take(): 'now' | Promise<void> | null {
    if (!this.#taken) {
      this.#use()
      return 'now'
    }
    if (this.#waiting.length >= this.#most) return null
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #use(): void {
    this.#taken = true
    this.#defer(() => {
      this.#taken = false
      const next = this.#waiting.shift()
      if (next === undefined) return
      this.#use()
      next()
    })
  }
}
