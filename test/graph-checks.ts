/** What holds of the graphs of every family, whatever kinds of slots it has. */
import path from 'node:path'
import * as ort from 'onnxruntime-node'
import type { Test } from 'tap'
import type { BuiltFamily } from '../src/compiler/build.js'
import { dedicatedNetwork } from '../src/compiler/dedicated.js'
import { packRow } from '../src/engine/row.js'
import { findGraph } from '../src/manifest/graphs.js'
import { bankLayout, FEATURES, PIXELS } from '../src/manifest/layout.js'
import { loadModel, type Model, saveModel } from '../src/onnx/onnx.js'
import type { Pack } from '../src/pack/pack.js'
import { distance, openTrunk } from './trunk.js'

/** The domain of each image: 0 is the base. */
export const ROWS = [2, 0, 3, 1, 2]

export interface Expectation {
  /** The base's pack, and those of three domains. */
  packs: Pack[]
  /** An image for each of `ROWS`, `[N, H, W, 3]`. */
  pixels: Uint8Array
  /** Their features, `[N, F]`. */
  features: ArrayLike<number>
  /** The largest difference with a bank in half precision, relative to the largest feature. */
  half: number
}

/**
 * Compares the features of a mixed batch, and then those of each image alone, of batches of one domain, of a bank in half
 * precision and of a domain's dedicated network.
 * @returns the dedicated network
 */
export async function checkGraphs(t: Test, built: BuiltFamily, expected: Expectation): Promise<Model> {
  const { packs, pixels, features, half } = expected
  const [base, , , last] = packs as [Pack, Pack, Pack, Pack]
  const { manifest } = built
  const dir = path.join(t.testdir(), 'family')
  const trunk = await openTrunk(built, dir)
  const mixed = await trunk.run(packs, pixels, ROWS)
  t.ok(distance(mixed, features) <= 1e-4, `a mixed batch differs by ${distance(mixed, features)}`)
  const plain = await trunk.run([base], pixels, [0, 0, 0, 0, 0])
  t.ok(distance(mixed, plain) > 1e-2, 'the adapters matter')

  // Each answer equals the one that the image gets alone, by either graph.
  const bytes = pixels.length / ROWS.length
  for (const [index, row] of ROWS.entries()) {
    const image = pixels.slice(index * bytes, (index + 1) * bytes)
    const found = mixed.subarray(index * manifest.features, (index + 1) * manifest.features)
    t.ok(distance(await trunk.run(packs, image, [row]), found) <= 1e-5, 'alone')
    t.ok(distance(await trunk.runOne(packs[row]!, image), found) <= 1e-5, 'by the graph for one domain')
  }
  const many = await trunk.run(packs, pixels, [3, 3, 3, 3, 3])
  t.ok(distance(await trunk.run(packs, pixels, [3, 3, 3, 3, 3], [3]), many) <= 1e-5, 'matrices fed once')
  t.ok(distance(await trunk.runOne(last, pixels), many) <= 1e-5)

  const rounded = await openTrunk(built, dir, 'f16')
  t.ok(distance(await rounded.run(packs, pixels, ROWS), mixed) <= half, 'a bank in half precision')
  t.ok(distance(await rounded.runOne(last, pixels), many) <= half)

  const layout = bankLayout(manifest)
  const { file } = findGraph(manifest, { serves: 'one', bank: 'f32' })!
  const graph = loadModel(built.files.get(file)!, (location) => built.files.get(location))
  const { tensors } = packRow(last, base, manifest, layout, 'f32')
  const network = dedicatedNetwork(graph, { manifest, layout }, tensors as Float32Array[])
  const session = await ort.InferenceSession.create(saveModel(network), { logSeverityLevel: 3 })
  const { height, width } = manifest.input
  const feeds = { [PIXELS]: new ort.Tensor('uint8', pixels, [ROWS.length, height, width, 3]) }
  const merged = (await session.run(feeds))[FEATURES]!.data as Float32Array
  t.ok(distance(merged, many) <= 1e-4, `the dedicated network differs by ${distance(merged, many)}`)
  return network
}

/** Names of its constants that are parts of slots' matrices. */
export function matricesOf(network: Model): string[] {
  return [...network.constants.keys()].filter((name) => /^(matrix|up|down)\./.test(name))
}
