/**
 * How long the thread that runs this was held at a stretch: the time between two turns of a timer of one
 * millisecond, less the time in which the kernel let other threads have the core.
 */
import { closeSync, openSync, readSync } from 'node:fs'

/** Interval of the timer, ms. */
const TICK_MS = 1

/** The longest stretch, ms. */
export interface Held {
  ms: number
}

export class HeldMeter {
  readonly #schedule = openSchedule()
  readonly #text = Buffer.alloc(128)
  #timer: NodeJS.Timeout | undefined
  #last = 0
  #lastWaited = 0
  #longest = 0

  /** Begins, or begins anew. */
  start(): void {
    this.stop()
    this.#longest = 0
    this.#last = performance.now()
    this.#lastWaited = this.#waitedMs()
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  stop(): Held {
    if (this.#timer === undefined) return { ms: 0 }
    this.#tick()
    clearInterval(this.#timer)
    this.#timer = undefined
    return { ms: this.#longest }
  }

  close(): void {
    this.stop()
    if (this.#schedule !== null) closeSync(this.#schedule)
  }

  #tick(): void {
    const now = performance.now()
    const waited = this.#waitedMs()
    this.#longest = Math.max(this.#longest, now - this.#last - (waited - this.#lastWaited))
    this.#last = now
    this.#lastWaited = waited
  }

  /** Time that this thread has been ready to run without a core, ms; 0 where the system does not say. */
  #waitedMs(): number {
    if (this.#schedule === null) return 0
    const length = readSync(this.#schedule, this.#text, 0, this.#text.length, 0)
    return Number(this.#text.toString('latin1', 0, length).split(' ')[1]) / 1e6
  }
}

/** The kernel's account of this process's main thread; null on systems without it. */
function openSchedule(): number | null {
  try {
    return openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  } catch {
    return null
  }
}
