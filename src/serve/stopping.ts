/** What a service consists of, and its orderly end. */
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../concurrency/clock.js'
import { draining } from '../errors.js'
import type { Principals } from '../http/access/token-file.js'
import type { DecodeProcesses } from '../image/apart/processes.js'
import type { Predictor } from '../predict/predictor.js'
import type { Registry } from '../registry/registry.js'
import type { Each } from './families.js'
import type { FamilyRuntime } from './family-runtime.js'
import type { PredictionLog } from './prediction-log.js'
import type { Prewarm } from './prewarm.js'
import type { Readiness } from './readiness.js'
import type { SpareMemory } from './spare-memory.js'

/** After the grace period, milliseconds for the last answers to reach their clients. */
const LAST_ANSWERS_MS = 250

/** The parts that are started and stopped. */
export interface Assembly {
  app: FastifyInstance
  predictor: Predictor
  runtimes: Each<FamilyRuntime>
  registry: Registry
  readiness: Readiness
  processes: DecodeProcesses
  spareMemory: SpareMemory
  predictionLog: PredictionLog | undefined
  prewarm: Prewarm
}

/**
 * The orderly end, in the order of the request's path: not ready, no new connections, requests in flight
 * answered, then the queues, the engines and the store. Past the grace period predictions still in the service are
 * answered with `draining`; then all connections are closed.
 */
export function stopper(
  { app, predictor, runtimes, registry, readiness, processes, spareMemory, predictionLog, prewarm }: Assembly,
  principals: Principals,
  clock: Clock,
  gracePeriodMs: number,
): () => Promise<void> {
  const end = async () => {
    readiness.drain()
    spareMemory.end()
    principals.close()
    let cancel = clock.after(gracePeriodMs, () => {
      predictor.abandon(draining())
      for (const runtime of runtimes) runtime.abandon(draining())
      cancel = clock.after(LAST_ANSWERS_MS, () => app.server.closeAllConnections())
    })
    // Whatever fails to end, the parts below it are ended too; the first failure is told.
    try {
      await app.close()
    } finally {
      cancel()
      await predictionLog?.close()
      await prewarm.end()
      await Promise.all(runtimes.map(({ specialists }) => specialists?.close()))
      await Promise.all(runtimes.map(({ scheduler }) => scheduler.drain()))
      try {
        await registry.close()
      } finally {
        await Promise.all([...runtimes.map(({ engine }) => engine.stop()), processes.stop()])
      }
    }
  }
  let ended: Promise<void> | undefined
  return () => {
    ended ??= end()
    return ended
  }
}
