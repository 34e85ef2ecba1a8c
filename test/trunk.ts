/** Runs a family's trunk with onnxruntime as the engine does, for the builder's tests. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import * as ort from 'onnxruntime-node'
import { runModel } from '../src/commands/run-model.js'
import { type BuildOptions, type BuiltFamily, buildFamily } from '../src/compiler/build.js'
import { findGraph, type Precision } from '../src/manifest/graphs.js'
import { bankLayout, FEATURES, MATRIX_ROW, PIXELS, ROW } from '../src/manifest/layout.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { packRow } from '../src/engine/row.js'
import { OrtRuntime } from '../src/engine/runtime/ort.js'
import { random } from './networks.js'

export const options: BuildOptions = {
  name: 'test',
  design: 'parallel',
  kernel: 'linear',
  fp16: false,
  license: 'none',
  source: 'test.onnx',
  created: '2026-01-01T00:00:00.000Z',
  tool: 'tests',
}

/** Builds a family with the tests' defaults. */
export function build(onnx: Uint8Array, changes: Partial<BuildOptions> = {}): Promise<BuiltFamily> {
  return buildFamily(onnx, { ...options, ...changes }, runModel)
}

export function basePack(built: BuiltFamily): Pack {
  return readPack(built.files.get('base.safetensors')!, built.manifest)
}

export interface Trunk {
  manifest: FamilyManifest
  /**
   * Features of a batch, `[N, F]`.
   *
   * @param packs the domains in the bank, one a row
   * @param matrixRow the rows fed as `matrix_row`; by default `rows`
   */
  run(packs: Pack[], pixels: Uint8Array, rows: number[], matrixRow?: number[]): Promise<Float32Array>
  /** Features `[N, F]` of a batch of one domain, by the graph for such batches. */
  runOne(pack: Pack, pixels: Uint8Array): Promise<Float32Array>
}

/** Writes the family into a folder and opens its graphs for a bank of the given type. */
export async function openTrunk(
  built: BuiltFamily,
  dir: string,
  bank: 'f32' | 'f16' = 'f32',
  precision: Precision = 'fp32',
): Promise<Trunk> {
  mkdirSync(dir, { recursive: true })
  for (const [name, bytes] of built.files) writeFileSync(path.join(dir, name), bytes)
  const { manifest } = built
  const [session, sessionOfOne] = await Promise.all(
    (['any', 'one'] as const).map((serves) => {
      const settings = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const
      const { file } = findGraph(manifest, { serves, bank, precision })!
      return ort.InferenceSession.create(path.join(dir, file), settings)
    }),
  )
  const base = basePack(built)
  const layout = bankLayout(manifest)
  const runtime = new OrtRuntime({ kind: 'cpu' }, 1)
  const tensor = (data: Float32Array | Uint16Array, dims: readonly number[]) =>
    data instanceof Float32Array
      ? runtime.tensor('float32', data, dims)
      : runtime.tensor('float16', data, dims)
  return {
    manifest,
    async run(packs, pixels, rows, matrixRow = rows) {
      const bankRows = packs.map((pack) => packRow(pack, base, manifest, layout, bank))
      const stack = (parts: (Float32Array | Uint16Array)[], dims: readonly number[]) => {
        const size = parts[0]!.length
        const all =
          bank === 'f32' ? new Float32Array(parts.length * size) : new Uint16Array(parts.length * size)
        for (const [row, part] of parts.entries()) all.set(part, row * size)
        return tensor(all, [parts.length, ...dims])
      }
      const indices = (values: number[]) =>
        new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length])
      const { height, width } = manifest.input
      const feeds: Record<string, ort.Tensor> = {
        [PIXELS]: new ort.Tensor('uint8', pixels, [rows.length, height, width, 3]),
        [ROW]: indices(rows),
        [MATRIX_ROW]: indices(matrixRow),
      }
      for (const [index, { name, dims }] of layout.tensors.entries())
        feeds[name] = stack(
          bankRows.map((row) => row.tensors[index]!),
          dims,
        )
      const features = (await session!.run(feeds))[FEATURES]!
      if (`${features.dims}` !== `${[rows.length, manifest.features]}`)
        throw new Error(`features have shape [${features.dims}]`)
      return features.data as Float32Array
    },
    async runOne(pack, pixels) {
      const { tensors } = packRow(pack, base, manifest, layout, bank)
      const { height, width } = manifest.input
      const images = pixels.length / (height * width * 3)
      const feeds: Record<string, ort.Tensor> = {
        [PIXELS]: new ort.Tensor('uint8', pixels, [images, height, width, 3]),
      }
      for (const [index, { single }] of layout.tensors.entries())
        for (const { name, dims, offset, elements } of single)
          feeds[name] = tensor(tensors[index]!.subarray(offset, offset + elements), dims)
      return (await sessionOfOne!.run(feeds))[FEATURES]!.data as Float32Array
    },
  }
}

/** Random pixels `[N, H, W, 3]`. */
export function randomPixels(count: number, size: number, seed = 7): Uint8Array {
  const next = random(seed)
  return Uint8Array.from({ length: count * size * size * 3 }, () => Math.floor((next() + 1) * 128))
}

/** One image of a batch of pixels, normalised as a pack says, in `[3, H, W]`. */
export function normalised(
  pixels: Uint8Array,
  index: number,
  size: number,
  { mean, std }: Pick<Pack, 'mean' | 'std'>,
): Float64Array {
  const area = size * size
  return Float64Array.from({ length: 3 * area }, (_, i) => {
    const channel = Math.floor(i / area)
    const pixel = pixels[(index * area + (i % area)) * 3 + channel]!
    return (pixel / 255 - mean[channel]!) / std[channel]!
  })
}

/** Largest absolute difference, relative to the largest expected value. */
export function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error(`lengths ${actual.length} and ${expected.length}`)
  let difference = 0
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i]! - expected[i]!))
    largest = Math.max(largest, Math.abs(expected[i]!))
  }
  return difference / largest
}
