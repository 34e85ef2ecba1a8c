/** Describes the machine on which a figure was measured. */
import { cpus, loadavg, totalmem } from 'node:os'

/** Processor, cores, memory, load averages, Node's version and the runtime, for the JSON line of a measurement. */
export function machine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    load: loadavg().map((load) => Number(load.toFixed(1))),
    node: process.version,
    runtime: process.env.FACET_RUNTIME ?? 'auto',
  }
}
