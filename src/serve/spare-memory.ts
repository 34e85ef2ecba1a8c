/**
 * Gives back memory that the service holds and does not need: what its start has left, and each burst of work. The native
 * add-on does that (native/src/memory.rs).
 */
import type { Clock } from '../concurrency/clock.js'
import type { NativeAddon } from '../native/addon.js'

/** After the start, milliseconds to the next time; twice as long to each further one. */
const FIRST_MS = 1000
/** Milliseconds between two times at most. */
const LONGEST_MS = 60_000

export class SpareMemory {
  readonly #native: Pick<NativeAddon, 'giveBackMemory'> | undefined
  readonly #clock: Clock
  #cancel = () => {}
  #ended = false

  /** @param native without it nothing is given back */
  constructor(native: Pick<NativeAddon, 'giveBackMemory'> | undefined, clock: Clock) {
    this.#native = native
    this.#clock = clock
  }

  /** Begins once the service has started. */
  begin(): void {
    if (this.#native) void this.#giveBack(this.#native, FIRST_MS)
  }

  end(): void {
    this.#ended = true
    this.#cancel()
  }

  /** @param wait milliseconds to the next time */
  async #giveBack(native: Pick<NativeAddon, 'giveBackMemory'>, wait: number): Promise<void> {
    await native.giveBackMemory()
    if (this.#ended) return
    const next = Math.min(2 * wait, LONGEST_MS)
    this.#cancel = this.#clock.after(wait, () => void this.#giveBack(native, next))
  }
}
