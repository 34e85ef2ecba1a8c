/** Runs a family's graphs on images through the engine, as the service does. */
import type { Family } from '../family/family.js'
import { type FamilyEngineOptions, startFamilyEngine } from './family-engine.js'

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
  options: FamilyEngineOptions,
): Promise<FamilyFeatures> {
  const engine = await startFamilyEngine(family, [family.base], options)
  try {
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
