/**
 * The canary run of a new pack: the pack is tried on a row that no request can reach, before anything is
 * written to the store. Images of black, white and noise must give finite features and finite logits.
 *
 * A sound pack costs one run, of an image with a band of each kind. A value that is not finite anywhere in
 * the image reaches the features, which are averages over the image. Where all are below `TAME_MAX`, an image
 * of one kind alone would have to give values many orders of magnitude larger than its band does to overflow,
 * so that is not tried. Otherwise each kind is run by itself, which also tells the kinds that fail
 * (docs/decisions/0011-canary-of-a-whole-image.md).
 */
import type { Engine } from '../engine/engine.js'
import type { EngineResult } from '../engine/batch.js'
import { FacetError } from '../errors.js'
import type { InputSpec } from '../manifest/manifest.js'

/**
 * Runs the canary on a staged row. @throws FacetError `invalid_pack` (422) that names the images that fail
 */
export type Canary = (row: number, generation: number) => Promise<void>

/**
 * Largest magnitude of features and logits that need no closer look. Those of trained packs are below 100;
 * float32 ends at 3e38.
 */
const TAME_MAX = 1e6

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
    if (every(together, (value) => Math.abs(value) < TAME_MAX)) return
    const problems: string[] = []
    // One run at a time, so that a prediction waits for one image of a canary at most.
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

/** The image with a band of each kind, `[H, W, 3]`. */
export function canaryImage({ height, width }: Pick<InputSpec, 'height' | 'width'>): Uint8Array {
  const images = plainImages(height * width * 3).map(([, image]) => image)
  return bandsOf(images, height, width)
}

/** Black, white and uniform noise, which is the same at every start. */
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

/**
 * One image: its first lines are the first image's, the next ones the second's, and so on, about as many of
 * each.
 */
function bandsOf(images: readonly Uint8Array[], height: number, width: number): Uint8Array {
  const joined = new Uint8Array(height * width * 3)
  images.forEach((image, index) => {
    const edge = (position: number) => Math.round((position * height) / images.length) * width * 3
    joined.set(image.subarray(edge(index), edge(index + 1)), edge(index))
  })
  return joined
}
