/**
 * Process start and end: the log, the signals, the exit code.
 *
 * The process never leaves by `process.exit` while the engine runs: ending a thread inside a run aborts the
 * whole process. An orderly stop ends every part, and the process then ends by itself.
 */
import { pino } from 'pino'
import { systemClock } from './clock.js'
import type { ServeConfig } from './config.js'
import { startService } from './service.js'

/** Runs the service until SIGTERM or SIGINT. @throws what `startService` throws when the start fails */
export async function serve(config: ServeConfig): Promise<void> {
  const logger = pino({ level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime })
  const service = await startService(config, { logger, clock: systemClock })
  logger.info({ url: service.url, family: service.family, device: service.engine.provider }, 'listening')

  const stop = (signal: NodeJS.Signals) => {
    logger.info({ signal }, 'stopping')
    service.stop().then(
      () => logger.info('stopped'),
      (error: unknown) => {
        logger.error({ err: error }, 'did not stop cleanly')
        process.exitCode = 1
      },
    )
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
}
