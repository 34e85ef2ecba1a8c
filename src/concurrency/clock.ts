/** Time, injected everywhere it is needed so that tests neither sleep nor wait. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. A jump of the wall clock does not show here. */
  now(): number
  /** Wall-clock time, for records people read. */
  date(): Date
  /** Calls `callback` once after `ms` milliseconds. Returns a function that cancels it. */
  after(ms: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => new Date(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  },
}
