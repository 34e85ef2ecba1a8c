/**
 * Process start and end: the log, the orderly stop, the exit code.
 *
 * The process never calls `process.exit` while the engine runs: ending a thread inside a run aborts the whole process
 * (docs/decisions/0001-onnxruntime-in-worker-threads.md). An orderly stop ends every part, and the process then ends
 * by itself. What cannot be ended (a lane or a decode that hangs) keeps it no longer than `LATE_MS` beyond the grace
 * period: it then kills itself, which the store survives. `signals.ts` has what happens before and after.
 */
import { systemClock } from '../concurrency/clock.js'
import { tuneCollector } from './collector.js'
import type { ServeConfig } from '../config/config.js'
import { tellInit } from './init.js'
import { openLog } from './log.js'
import { startService } from './service.js'
import type { StopSignals } from './signals.js'
import { startLine } from './start-line.js'
import { openTracing } from './tracing.js'

/** After the grace period, milliseconds for the answers on their way and for the parts to end. */
const LATE_MS = 1500
/** Milliseconds for the log's last line to be written: lines are written behind the event loop. */
const LAST_LINE_MS = 100
/** Milliseconds more for a parent that watches. */
const LATER_MS = 250

/** Runs the service until SIGTERM, SIGINT or SIGHUP. @throws what `startService` throws when the start fails */
export async function serve(config: ServeConfig, signals: StopSignals): Promise<void> {
  tuneCollector()
  const logger = await openLog({ level: config.logLevel, format: config.logFormat })
  const tracing = await openTracing(process.env, { logger, clock: systemClock })
  const service = await startService(config, { logger, clock: systemClock, tracing })
  const endsWithinMs = config.gracePeriod + LATE_MS
  tellInit(endsWithinMs + LAST_LINE_MS + LATER_MS)
  signals.serving((signal) => {
    logger.info({ signal }, 'stopping')
    let stopped = false
    const kill = () => {
      // After an orderly stop only a thread is left over that no request waits for.
      logger.fatal({ ms: endsWithinMs, stopped }, 'not ended in time: killed')
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_LINE_MS)
    }
    // The timer itself does not keep the process.
    setTimeout(kill, endsWithinMs).unref()
    const ended = service.stop().finally(() => tracing?.close())
    ended.then(
      () => {
        stopped = true
        logger.info('stopped')
        if (signal === 'SIGHUP') setTimeout(() => signals.end(signal), LAST_LINE_MS)
      },
      (error: unknown) => {
        logger.error({ err: error }, 'did not stop cleanly')
        process.exitCode = 1
      },
    )
  })
  logger.info(await startLine(service, config), 'listening')
}
