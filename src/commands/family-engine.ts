/** A family's graphs in an engine, as the service runs them, with packs in its rows. */
import { pino } from 'pino'
import { systemClock } from '../concurrency/clock.js'
import { Engine, type EngineOptions } from '../engine/engine.js'
import { packRow } from '../engine/row.js'
import type { Family } from '../family/family.js'
import { availableCores } from '../host/cpu-quota.js'
import type { Pack } from '../pack/pack.js'

export type FamilyEngineOptions = Partial<Pick<EngineOptions, 'bankDtype' | 'precision' | 'createWorker'>>

/**
 * Starts an engine of one lane with all cores. Row 0 is the base's, and the packs have the rows behind it.
 *
 * @throws Error where the engine does not start; it is stopped then
 */
export async function startFamilyEngine(
  family: Family,
  packs: readonly Pack[],
  { bankDtype = 'f32', ...options }: FamilyEngineOptions = {},
): Promise<Engine> {
  const engine = new Engine({
    family,
    rows: packs.length + 1,
    bankDtype,
    bankMode: 'shared',
    device: { kind: 'cpu' },
    lanes: 1,
    threads: availableCores(),
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    ...options,
  })
  try {
    await engine.start()
    const { base, manifest, layout } = family
    for (const [index, pack] of packs.entries())
      await engine.writeRow(index + 1, packRow(pack, base, manifest, layout, bankDtype))
    return engine
  } catch (error) {
    await engine.stop()
    throw error
  }
}
