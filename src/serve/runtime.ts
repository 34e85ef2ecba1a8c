/** Which runtime runs the trunk: the native one where it is built, or onnxruntime-node. */
import type { Logger } from 'pino'
import type { ServeConfig } from '../config/config.js'
import { loadNative, type NativeAddon } from '../native/addon.js'

/**
 * The native runtime, or undefined for the stock one. Where it was not asked for by name and cannot be had, the log
 * says what is missed.
 * @throws Error with the remedy where it was asked for by name and cannot be had
 */
export function chooseRuntime(
  { runtime, device }: Pick<ServeConfig, 'runtime' | 'device'>,
  logger: Pick<Logger, 'info'>,
  load: () => NativeAddon = loadNative,
): NativeAddon | undefined {
  if (runtime === 'stock' || device.kind !== 'cpu') return undefined
  try {
    return load()
  } catch (error) {
    const reason = (error as Error).message
    if (runtime === 'native') throw new Error(`--runtime native: ${reason}`, { cause: error })
    logger.info({ reason, missed: 'one trunk for all lanes, and faster runs' }, 'stock runtime')
    return undefined
  }
}
