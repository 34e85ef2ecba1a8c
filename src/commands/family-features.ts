/** Runs a family's graphs on images through the engine, as the service does. */
import { pino } from 'pino'
import { systemClock } from '../concurrency/clock.js'
import { Engine, type EngineOptions } from '../engine/engine.js'
import { packRow } from '../engine/row.js'
import type { Family } from '../family/family.js'
import { availableCores } from '../host/cpu-quota.js'

export interface FamilyFeatures {
  /** `[N, F]` from the graph for batches of one domain. */
  alone: Float32Array
  /** The same twice, from one batch on the graph for any domains: of the base, and of the same in another row. */
  mixed: [Float32Array, Float32Array]
}

/**
 * Features of the base for the images in a batch of one domain and in a batch of two, for which the engine has different
 * graphs.
 */
export async function familyFeatures(
  family: Family,
  pixels: Uint8Array,
  images: number,
  { bankDtype = 'f32', ...options }: Partial<Pick<EngineOptions, 'bankDtype' | 'precision' | 'createWorker'>>,
): Promise<FamilyFeatures> {
  const engine = new Engine({
    family,
    rows: 2,
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
    await engine.writeRow(1, packRow(base, base, manifest, layout, bankDtype))
    const twice = Uint8Array.from({ length: 2 * pixels.length }, (_, at) => pixels[at % pixels.length]!)
    const mixedRows = Int32Array.from({ length: 2 * images }, (_, index) => (index < images ? 0 : 1))
    const alone = await engine.run(
      { pixels: pixels.slice(), rows: new Int32Array(images) },
      engine.generation,
    )
    const mixed = await engine.run({ pixels: twice, rows: mixedRows }, engine.generation)
    const half = mixed.features.length / 2
    return { alone: alone.features, mixed: [mixed.features.subarray(0, half), mixed.features.subarray(half)] }
  } finally {
    await engine.stop()
  }
}
