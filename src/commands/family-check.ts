/**
 * Checks that a built family computes what its backbone computes. Both run on the same random images: the family through
 * the engine, as in the service, and the backbone as its file has it. The backbone gets one image at a time, the family
 * all of them: an image's answer must not depend on the others of its batch, which may be anyone's.
 */
import type { BackboneInterface } from '../compiler/backbone.js'
import { backboneModel, type BackboneModel } from '../compiler/backbone.js'
import { encodeFloat16 } from '../bytes/float16.js'
import {
  BackboneError,
  FLOAT16,
  floats,
  type ReadExternal,
  type Tensor,
  tensorOf,
  UINT8,
} from '../onnx/onnx.js'
import type { EngineOptions } from '../engine/engine.js'
import type { Family } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import type { InputSpec } from '../manifest/manifest.js'
import { familyFeatures } from './family-features.js'
import { runModel } from './run-model.js'

/**
 * Largest allowed difference of a feature, relative to the largest feature; half precision rounds the
 * weights.
 */
const MAX_DIFFERENCE = { f32: 1e-3, f16: 3e-2 }

export interface Backbone extends BackboneInterface {
  /** The ONNX file. */
  bytes: Uint8Array
  external?: ReadExternal
}

/**
 * Runs the family in `dir` and its backbone.
 *
 * @param fp16 the family's weights are stored in half precision
 * @returns the largest difference of a feature, relative to the largest feature
 * @throws BackboneError where they do not agree, or either cannot be run
 */
export async function checkFamily(
  dir: string,
  backbone: Backbone,
  fp16: boolean,
  createWorker?: EngineOptions['createWorker'],
): Promise<number> {
  const family = await readFamily(dir)
  const model = backboneModel(backbone.bytes, backbone.features, backbone.external)
  const batch = model.batch ?? 1
  const images = Math.max(batch, 2)
  const pixels = unlikeImages(images, family.manifest.input)
  const values = backboneInput(pixels, images, family, backbone)
  const run = (size: number) => runBackbone(model, values, shape(size, family, backbone.channelsLast))
  const expected = await run(batch)
  let worst = 0
  const options = createWorker ? { createWorker } : {}
  const found = await familyFeatures(family, pixels, images, options).catch(cannotRun('The family'))
  for (const features of [found.alone, ...found.mixed])
    worst = Math.max(worst, difference(features, expected))
  const tolerance = fp16 || backbone.half ? MAX_DIFFERENCE.f16 : MAX_DIFFERENCE.f32
  if (worst <= tolerance) return worst
  if (model.batch === null) {
    const together = difference(await run(images), expected)
    if (!(together <= tolerance)) throw dependsOnBatch(together)
  }
  throw new BackboneError(
    `The family does not compute what the backbone computes: its features differ by ${worst.toPrecision(2)} of the largest one, ` +
      `and ${tolerance} is allowed. Nothing was written. Please report this backbone; --no-check writes the family all the same.`,
  )
}

function dependsOnBatch(apart: number): BackboneError {
  return new BackboneError(
    `The backbone's features of an image depend on the other images of its batch: they differ by ${apart.toPrecision(2)} of the largest one. ` +
      'A service puts images of all domains into one batch. Export the network without what it computes over the whole batch (such as x.mean() or x.max() without axes, or scales that are quantised at run time). Nothing was written.',
  )
}

/**
 * Features of all images, `[N, F]`.
 * @param values images, as the file takes them
 * @param dims of one run: as many images as it takes at once
 */
async function runBackbone(
  { bytes, input, type }: BackboneModel,
  values: Float32Array,
  dims: number[],
): Promise<Float32Array> {
  const size = dims.reduce((product, dim) => product * dim, 1)
  const feeds = Array.from({ length: values.length / size }, (_, at) => {
    const part = values.slice(at * size, (at + 1) * size)
    return new Map([[input, inputTensor(dims, type, part)]])
  })
  const answers = await runModel(bytes, feeds).catch(cannotRun('The backbone'))
  return Float32Array.from(answers.flatMap((answer) => [...floats([...answer.values()][0]!)]))
}

function cannotRun(what: string): (error: Error) => never {
  return (error) => {
    // The engine keeps what the runtime says for its log.
    const { message } = error.cause instanceof Error ? error.cause : error
    throw new BackboneError(
      `${what} cannot be run to check the result: ${message.replace(/[\s.]+$/, '')}. Nothing was written; --no-check leaves the check out.`,
      { cause: error },
    )
  }
}

function shape(images: number, { manifest }: Family, channelsLast: boolean): number[] {
  const { height, width } = manifest.input
  return channelsLast ? [images, height, width, 3] : [images, 3, height, width]
}

/** Pixels `[N, H, W, 3]` as the backbone's file takes them, in its layout. */
function backboneInput(
  pixels: Uint8Array,
  images: number,
  { manifest }: Family,
  { channelsLast, normalisation: { mean, std } }: Backbone,
): Float32Array {
  const area = manifest.input.height * manifest.input.width
  const values = new Float32Array(pixels.length)
  for (let image = 0; image < images; image++) {
    for (let at = 0; at < area; at++) {
      for (let channel = 0; channel < 3; channel++) {
        const from = (image * area + at) * 3 + channel
        const to = channelsLast ? from : (image * 3 + channel) * area + at
        values[to] = (pixels[from]! / 255 - mean[channel]!) / std[channel]!
      }
    }
  }
  return values
}

function inputTensor(dims: number[], type: number, values: Float32Array): Tensor {
  const array =
    type === FLOAT16 ? encodeFloat16(values) : type === UINT8 ? Uint8Array.from(values, Math.round) : values
  return tensorOf(dims, type, array)
}

/** The largest difference, relative to the largest expected value; infinite where a value is not finite. */
function difference(found: Float32Array, expected: Float32Array): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY
  let largest = Number.MIN_VALUE
  let worst = 0
  for (let at = 0; at < found.length; at++) {
    const apart = Math.abs(found[at]! - expected[at]!)
    if (!Number.isFinite(apart)) return Number.POSITIVE_INFINITY
    largest = Math.max(largest, Math.abs(expected[at]!))
    worst = Math.max(worst, apart)
  }
  return worst / largest
}

/** Random images `[N, H, W, 3]`, every second one of which is darker and has less contrast. */
function unlikeImages(images: number, { height, width }: InputSpec): Uint8Array {
  const size = height * width * 3
  const pixels = randomPixels(images * size)
  return pixels.map((value, at) => (Math.floor(at / size) % 2 === 0 ? value : 32 + (value >> 2)))
}

/** Pseudo-random bytes, the same every time (xorshift32, Marsaglia 2003). */
function randomPixels(count: number): Uint8Array {
  let state = 0x9e3779b9
  return Uint8Array.from({ length: count }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 24
  })
}
