/**
 * The canary run of a new pack, on a staged row that no request can reach: black, white and noise must give finite
 * features and a finite head. Whatever does not is refused before anything is written.
 *
 * A sound pack costs one run: of an image with a band of each. What is not finite
 * anywhere reaches the pooled features, and an image of one kind alone would have to come out many orders of magnitude
 * larger than its band to overflow where the bands stay tame. Where they do not, each kind is run by itself, which also
 * tells which of them fails.
 */
import type { Engine } from '../engine/engine.js'
import type { EngineResult } from '../engine/messages.js'
import { FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'

/** Runs the canary on a row. @throws FacetError `invalid_pack` (422) naming the images that fail */
export type Canary = (row: number, generation: number) => Promise<void>

/** Features and logits of trained packs are below a hundred; float32 ends at 3e38. */
const TAME = 1e6

export function createCanary(
  engine: Pick<Engine, 'run'>,
  input: Pick<InputSpec, 'height' | 'width'>,
): Canary {
  const { height, width } = input
  const kinds = plainImages(height * width * 3)
  const images = kinds.map(([, image]) => image)
  const bands = bandsOf(images, height, width)
  return async (row, generation) => {
    const run = (image: Uint8Array) => {
      const batch = { pixels: image.slice(), rows: Int32Array.of(row) }
      return engine.run(batch, generation).catch(refused)
    }
    const together = await run(bands)
    if (every(together, (value) => Math.abs(value) < TAME)) return
    const problems: string[] = []
    // One after the other, so that a prediction waits for one image of a canary and not for all.
    for (const [name, image] of kinds) addProblem(name, await run(image), problems)
    if (problems.length === 0) addProblem('banded', together, problems)
    if (problems.length > 0) {
      throw new FacetError('invalid_pack', `The pack fails its canary run: ${problems.join(' ')}`, {
        problems,
      })
    }
  }
}

function addProblem(name: string, { features, logits }: EngineResult, problems: string[]): void {
  if (!features.every(Number.isFinite))
    problems.push(`The features of the ${name} canary image are not finite.`)
  else if (logits[0]?.every(Number.isFinite) === false)
    problems.push(`The head's answer to the ${name} canary image is not finite.`)
}

function every({ features, logits }: EngineResult, accepts: (value: number) => boolean): boolean {
  return features.every(accepts) && (logits[0]?.every(accepts) ?? true)
}

function refused(error: unknown): never {
  if (!(error instanceof FacetError) || error.code !== 'inference_failed') throw error
  const message = 'The pack fails its canary run: the model cannot be run with it.'
  throw new FacetError('invalid_pack', message, { cause: error })
}

/** Black, white and uniform noise; the noise is the same at every start. */
function plainImages(elements: number): [name: string, pixels: Uint8Array][] {
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

/** The first rows of the first image, the next of the next, and so on: of each as many. */
function bandsOf(images: readonly Uint8Array[], height: number, width: number): Uint8Array {
  const joined = new Uint8Array(height * width * 3)
  images.forEach((image, index) => {
    const edge = (position: number) => Math.round((position * height) / images.length) * width * 3
    joined.set(image.subarray(edge(index), edge(index + 1)), edge(index))
  })
  return joined
}
