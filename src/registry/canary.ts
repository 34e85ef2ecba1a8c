/**
 * The canary run of a new pack, on a staged row that no request can reach: black, white and noise images must
 * give finite features and a finite head. Whatever does not is refused before anything is written.
 */
import type { Engine } from '../engine/engine.js'
import { FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'

/** Runs the canary on a row. @throws FacetError `invalid_pack` (422) naming the images that fail */
export type Canary = (row: number, generation: number) => Promise<void>

const imageNames = ['black', 'white', 'noise'] as const

export function createCanary(
  engine: Pick<Engine, 'run'>,
  { height, width }: Pick<InputSpec, 'height' | 'width'>,
): Canary {
  const images = canaryImages(height * width * 3)
  return async (row, generation) => {
    const rows = new Int32Array(imageNames.length).fill(row)
    const result = await engine.run({ pixels: images.slice(), rows }, generation).catch((error: unknown) => {
      if (!(error instanceof FacetError) || error.code !== 'inference_failed') throw error
      throw new FacetError(
        'invalid_pack',
        'The pack fails its canary run: the model cannot be run with it.',
        {
          cause: error,
        },
      )
    })
    const size = result.features.length / imageNames.length
    const problems = imageNames.flatMap((name, index) => {
      if (!result.features.subarray(index * size, (index + 1) * size).every(Number.isFinite))
        return [`The features of the ${name} canary image are not finite.`]
      const logits = result.logits[index]
      return logits && !logits.every(Number.isFinite)
        ? [`The head's answer to the ${name} canary image is not finite.`]
        : []
    })
    if (problems.length > 0) {
      throw new FacetError('invalid_pack', `The pack fails its canary run: ${problems.join(' ')}`, {
        problems,
      })
    }
  }
}

/** Black, white and uniform noise, one after the other; the noise is the same at every start. */
function canaryImages(elements: number): Uint8Array {
  const images = new Uint8Array(imageNames.length * elements)
  images.fill(255, elements, 2 * elements)
  let state = 0x9e3779b9
  for (let index = 2 * elements; index < images.length; index++) {
    // xorshift32 (Marsaglia 2003)
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    images[index] = state >>> 24
  }
  return images
}
