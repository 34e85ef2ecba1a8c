/** Settings of V8's garbage collector for a process whose cores are always busy. */
import { setFlagsFromString } from 'node:v8'

/**
 * Garbage is marked on the thread that made it. V8 would mark in helper threads, which get no turn beside busy lanes:
 * collections then take seconds, and the heap grows by tens of megabytes meanwhile
 * (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
const MARKING = '--no-concurrent-marking'

/** Applies to all threads of the process. Call it before the process has work. */
export function tuneCollector(): void {
  setFlagsFromString(MARKING)
}
