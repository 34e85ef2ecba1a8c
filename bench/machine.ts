/** The machine a figure was measured on. */
import { cpus, loadavg, totalmem } from 'node:os'

/** Cores, memory and what else the machine was doing; figures without it mean little. */
export function machine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    load: loadavg().map((load) => Number(load.toFixed(1))),
    node: process.version,
  }
}
