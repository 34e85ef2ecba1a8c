/**
 * Process start and end: the log, the signals, the exit code.
 *
 * The process never calls `process.exit` while the engine runs: ending a thread inside a run aborts the whole process
 * (docs/decisions/0001-onnxruntime-in-worker-threads.md). An orderly stop ends every part, and the process then ends
 * by itself. A second signal kills the process at once; the store survives that. A second signal within
 * `SAME_SIGNAL_MS` is the first one again: on Ctrl-C a terminal signals the whole process group, and npm passes the
 * signal on to us once more.
 */
import { pino } from 'pino'
import { systemClock } from '../concurrency/clock.js'
import { tuneCollector } from './collector.js'
import type { ServeConfig } from '../config/config.js'
import { startService } from './service.js'

/** Milliseconds in which a second signal counts as the first one. */
const SAME_SIGNAL_MS = 500

/** Runs the service until SIGTERM or SIGINT. @throws what `startService` throws when the start fails */
export async function serve(config: ServeConfig): Promise<void> {
  tuneCollector()
  const logger = pino({ level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime })
  const service = await startService(config, { logger, clock: systemClock })
  const { engine, family } = service.runtime
  logger.info({ url: service.url, family: family.manifest.name, device: engine.provider }, 'listening')

  const signals = ['SIGTERM', 'SIGINT'] as const
  let since: number | undefined
  const stop = (signal: NodeJS.Signals) => {
    if (since !== undefined) {
      if (systemClock.now() - since < SAME_SIGNAL_MS) return
      // With our handlers removed, the default action kills the process.
      for (const each of signals) process.removeListener(each, stop)
      process.kill(process.pid, signal)
      return
    }
    since = systemClock.now()
    logger.info({ signal }, 'stopping')
    service.stop().then(
      () => logger.info('stopped'),
      (error: unknown) => {
        logger.error({ err: error }, 'did not stop cleanly')
        process.exitCode = 1
      },
    )
  }
  for (const each of signals) process.on(each, stop)
}
