/** V8's garbage collector, set for a process whose cores are busy: with the engine, or with decoding for a GPU. */
import { setFlagsFromString } from 'node:v8'

/**
 * Garbage is marked on the thread that made it. V8 would mark in helper threads, which get no turn beside busy lanes:
 * collections then take seconds, and the heap grows by tens of megabytes meanwhile
 * (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
const MARKING = '--no-concurrent-marking'

/** For all threads of the process; to be called before it has work. */
export function tuneCollector(): void {
  setFlagsFromString(MARKING)
}
