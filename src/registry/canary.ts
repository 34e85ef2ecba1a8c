/**
 * The canary run of a new pack, on a staged row that no request can reach: black, white and noise images must
 * give finite features and a finite head. Whatever does not is refused before anything is written.
 */
import type { Engine } from '../engine/engine.js'
import { FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'

/** Runs the canary on a row. @throws FacetError `invalid_pack` (422) naming the images that fail */
export type Canary = (row: number, generation: number) => Promise<void>

export function createCanary(
  engine: Pick<Engine, 'run'>,
  { height, width }: Pick<InputSpec, 'height' | 'width'>,
): Canary {
  const images = canaryImages(height * width * 3)
  return async (row, generation) => {
    const problems: string[] = []
    // One after the other, so that a prediction waits for one image of a canary and not for all.
    for (const [name, image] of images) {
      const pixels = image.slice()
      const result = await engine.run({ pixels, rows: Int32Array.of(row) }, generation).catch(refused)
      if (!result.features.every(Number.isFinite))
        problems.push(`The features of the ${name} canary image are not finite.`)
      else if (result.logits[0]?.every(Number.isFinite) === false)
        problems.push(`The head's answer to the ${name} canary image is not finite.`)
    }
    if (problems.length > 0) {
      throw new FacetError('invalid_pack', `The pack fails its canary run: ${problems.join(' ')}`, {
        problems,
      })
    }
  }
}

function refused(error: unknown): never {
  if (!(error instanceof FacetError) || error.code !== 'inference_failed') throw error
  const message = 'The pack fails its canary run: the model cannot be run with it.'
  throw new FacetError('invalid_pack', message, { cause: error })
}

/** Black, white and uniform noise; the noise is the same at every start. */
function canaryImages(elements: number): [name: string, pixels: Uint8Array][] {
  let state = 0x9e3779b9
  const noise = Uint8Array.from({ length: elements }, () => {
    // xorshift32 (Marsaglia 2003)
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 24
  })
  return [
    ['black', new Uint8Array(elements)],
    ['white', new Uint8Array(elements).fill(255)],
    ['noise', noise],
  ]
}
