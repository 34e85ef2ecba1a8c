/** Settings of V8's garbage collector for a process whose cores are always busy. */
import { PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/**
 * Garbage is marked on the thread that made it. V8 would mark in helper threads, which get no turn beside busy lanes:
 * collections then take seconds, and the heap grows by tens of megabytes meanwhile
 * (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
const MARKING = '--no-concurrent-marking'

/**
 * Bytes to which V8's young generation grows on the main thread. Without a bound it doubles to 32 MiB under load, however
 * little of that is alive (docs/experiments/2026-11-27-where-private-memory-goes.md).
 */
const YOUNG_BYTES = 8 * 2 ** 20

/** By how much the young generation grows at a time: doubled, or not at all. Its limit itself is read at V8's start alone. */
export function growth(youngBytes: number): string {
  return `--semi-space-growth-factor=${2 * youngBytes <= YOUNG_BYTES ? 2 : 1}`
}

/** Applies to all threads of the process. Call it before the process has work. */
export function tuneCollector(): void {
  setFlagsFromString(MARKING)
  // V8 shrinks the young generation of an idle process, and it may then grow again.
  const bound = () => setFlagsFromString(growth(youngBytes()))
  new PerformanceObserver(bound).observe({ entryTypes: ['gc'] })
}

function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0
}
