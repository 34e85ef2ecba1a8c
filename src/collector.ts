/** V8's garbage collector, set for a process whose cores are busy: with the engine, or with decoding for a GPU. */
import { setFlagsFromString } from 'node:v8'

/**
 * The thread that made garbage collects it, by itself. V8 would share that work with helper threads, and these get no
 * turn beside busy lanes: marking then takes seconds, in which the heap grows by tens of megabytes, and a scavenge
 * waits for its helpers (docs/LOG.md).
 */
const FLAGS = ['--no-concurrent-marking', '--no-parallel-scavenge']

/** For all threads of the process; to be called before it has work. */
export function tuneCollector(): void {
  for (const flag of FLAGS) setFlagsFromString(flag)
}
