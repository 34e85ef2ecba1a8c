/** Which runtime runs the trunk, and where the bank is: what the configuration leaves open is decided here. */
import type { Logger } from 'pino'
import type { ServeConfig } from '../config/config.js'
import { showBytes } from '../config/quantities.js'
import { adapterBytes } from '../engine/bank-spec.js'
import type { BankMode } from '../engine/plan.js'
import type { Family } from '../family/family.js'
import { loadNative, NATIVE_REMEDY, type NativeAddon } from '../native/addon.js'

export interface ChosenRuntime {
  /** Undefined for the stock runtime. */
  native: NativeAddon | undefined
  bank: BankMode
}

/**
 * The native runtime, or the stock one. Where the native one was not asked for by name and cannot be had, the log says
 * what is missed.
 * @throws Error with the remedy where it was asked for, or what only it has, and it cannot be had
 */
export function chooseRuntime(
  { runtime, device, bank, bankGiven }: Pick<ServeConfig, 'runtime' | 'device' | 'bank' | 'bankGiven'>,
  logger: Pick<Logger, 'info' | 'warn'>,
  load: () => NativeAddon = loadNative,
): ChosenRuntime {
  const isCpu = device.kind === 'cpu'
  if (runtime === 'stock' || (!isCpu && bank !== 'device')) return { native: undefined, bank }
  try {
    const native = load()
    if (bank === 'device' && !native.hasDeviceBank)
      throw new Error(`The native runtime is an earlier one, which has no bank on a device. ${NATIVE_REMEDY}`)
    return { native, bank }
  } catch (error) {
    const reason = (error as Error).message
    const asked =
      runtime === 'native' ? '--runtime native' : bankGiven && bank === 'device' && '--bank device'
    if (asked) throw new Error(`${asked}: ${reason}`, { cause: error })
    if (isCpu) logger.info({ reason, missed: 'one trunk for all lanes, and faster runs' }, 'stock runtime')
    else logger.warn({ reason, missed: 'adapters in the memory of the GPU' }, 'stock runtime')
    return { native: undefined, bank: bank === 'device' ? 'compact' : bank }
  }
}

/** Where adapters are not in the memory of the GPU that runs them: what that costs. */
export function tellCopies(
  { device, bank, bankDtype: dtype }: Pick<ServeConfig, 'device' | 'bank' | 'bankDtype'>,
  families: readonly Pick<Family, 'manifest' | 'layout'>[],
  logger: Pick<Logger, 'warn'>,
): void {
  if (device.kind === 'cpu' || bank === 'device') return
  for (const { manifest, layout } of families)
    logger.warn(
      {
        family: manifest.name,
        forEachDomainOfABatch: showBytes(adapterBytes({ layout, dtype }, 'whole')),
        remedy: NATIVE_REMEDY,
      },
      'each run copies the adapters of its domains to the GPU',
    )
}
