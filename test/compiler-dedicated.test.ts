/** A domain's dedicated network gives the answers of the family's graphs, merged or not. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import * as ort from 'onnxruntime-node'
import t from 'tap'
import { dedicatedNetwork } from '../src/compiler/dedicated.js'
import { packRow } from '../src/engine/row.js'
import { readFamily } from '../src/family/folder.js'
import { findGraph } from '../src/manifest/graphs.js'
import { bankLayout, FEATURES, PIXELS } from '../src/manifest/layout.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { loadModel, saveModel } from '../src/onnx/onnx.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { networks } from './backbones.js'
import { Network, random } from './networks.js'
import { basePack, build, distance, openTrunk, randomPixels } from './trunk.js'

/** The network of a pack by the files of its family. */
function dedicated(files: ReadonlyMap<string, Uint8Array>, manifest: FamilyManifest, pack: Pack, base: Pack) {
  const layout = bankLayout(manifest)
  const { file } = findGraph(manifest, { serves: 'one', bank: 'f32' })!
  const trunk = loadModel(files.get(file)!, (location) => files.get(location))
  const { tensors } = packRow(pack, base, manifest, layout, 'f32')
  return dedicatedNetwork(trunk, { manifest, layout }, tensors as Float32Array[])
}

async function answers(
  network: Uint8Array,
  pixels: Uint8Array,
  { input }: FamilyManifest,
): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(network, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const { height, width } = input
  const images = pixels.length / (height * width * 3)
  const feeds = { [PIXELS]: new ort.Tensor('uint8', pixels, [images, height, width, 3]) }
  return (await session.run(feeds))[FEATURES]!.data as Float32Array
}

/** A pack with random numbers in every slot but those that `leaveOut` names. */
function randomPack(base: Pack, { slots }: FamilyManifest, seed: number, leaveOut: RegExp): Pack {
  const next = random(seed * 77)
  const draw = (count: number, spread: number, middle = 0) =>
    Float32Array.from({ length: count }, () => middle + spread * next())
  const given = slots.filter(({ name }) => !leaveOut.test(name))
  const weights = given.map(({ name, out, columns }, index): [string, SlotWeights] => {
    const matrix = columns > 0 && index % 4 !== 3 && { matrix: draw(out * columns, 1 / Math.sqrt(columns)) }
    return [name, { scale: draw(out, 0.5, 1), bias: draw(out, 0.5), ...matrix }]
  })
  const mean = [0, 1, 2].map(() => 0.5 + 0.2 * next()) as Pack['mean']
  return { ...base, mean, std: [0.2, 0.3, 0.4], slots: new Map(weights), head: null, labels: null }
}

/** Kernels without a tap at their centre, and grouped convolutions, with whatever design. */
function awkward(): Network {
  const net = new Network(14)
  const x = net.relu(net.conv('hole', 'image', [3, 4], { kernel: [2, 2], dilation: 2, pads: [1, 1, 1, 1] }))
  const y = net.relu(net.conv('pairs', x, [4, 6], { group: 2 }))
  const z = net.relu(net.conv('each', y, [6, 6], { group: 6, stride: 2 }))
  net.linear('head', net.vector(net.conv('last', z, [6, 4], { dilation: 2, pads: [2, 2, 2, 2] })), [4, 2])
  return net
}

for (const [name, make] of Object.entries({ ...networks, awkward })) {
  for (const design of ['parallel', 'series', 'bn'] as const) {
    for (const fp16 of [false, true]) {
      t.test(`${name}, ${design}${fp16 ? ', trunk in half precision' : ''}`, async (t) => {
        const net = make()
        const built = await build(net.onnx(), { design, fp16, ...(name === 'awkward' && { open: /./ }) })
        const base = basePack(built)
        const trunk = await openTrunk(built, path.join(t.testdir(), 'family'))
        const pixels = randomPixels(3, net.size)
        for (const [seed, leaveOut] of [/^$/, /^$/, /./, /b|1/].entries()) {
          const pack = randomPack(base, built.manifest, seed + 1, leaveOut)
          const network = dedicated(built.files, built.manifest, pack, base)
          const expected = await trunk.runOne(pack, pixels)
          const found = await answers(saveModel(network), pixels, built.manifest)
          t.ok(distance(found, expected) <= 1e-4, `features differ by ${distance(found, expected)}`)
          if (name !== 'awkward')
            t.notOk(
              [...network.constants.keys()].some((name) => name.startsWith('matrix.')),
              'every matrix is merged',
            )
        }
      })
    }
  }
}

t.test('the shipped family: every slot is one operator, whatever the pack', async (t) => {
  const { manifest, base, dir } = await readFamily('models/resnet26-half')
  const names = [...Object.keys(manifest.files)]
  const files = new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(path.join(dir, name))] as const)),
  )
  const network = dedicated(files, manifest, base, base)
  const count = (op: string) => network.nodes.filter((node) => node.op === op).length
  t.equal(count('Conv'), manifest.slots.filter(({ kind }) => kind === 'conv').length)
  t.equal(count('BatchNormalization'), manifest.slots.filter(({ kind }) => kind === 'norm').length)
  t.notOk(network.nodes.some(({ outputs }) => /\/slot\/.*\/(scaled|adapted|v)$/.test(outputs[0]!)))
  t.same(
    network.inputs.map(({ name }) => name),
    [PIXELS],
  )
})

t.test('a graph that another builder wrote is refused', async (t) => {
  const built = await build(networks.residual().onnx())
  const { file } = findGraph(built.manifest, { serves: 'any', bank: 'f32' })!
  const files = new Map(built.files)
  const graphs = [{ serves: 'one', bank: 'f32', file } as const]
  const base = basePack(built)
  t.throws(() => dedicated(files, { ...built.manifest, graphs }, base, base), {
    message: /Build the family again/,
  })
})
