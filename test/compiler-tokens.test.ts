/** Linear layers and normalisations of tokens as slots: a family computes the formula, wherever the batch lies. */
import * as ort from 'onnxruntime-node'
import t from 'tap'
import type { BuildOptions } from '../src/compiler/build.js'
import { matrixPlaces } from '../src/compiler/places.js'
import { slotParts } from '../src/manifest/kinds/kinds.js'
import type { FamilyManifest, Slot } from '../src/manifest/manifest.js'
import { loadModel, saveModel } from '../src/onnx/onnx.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { checkGraphs, matricesOf, ROWS } from './graph-checks.js'
import { OnnxGraph } from './graphs.js'
import { random } from './networks.js'
import { convTokens, forOneImage, rootNetworks, type TokenNetwork, transformer } from './token-networks.js'
import { basePack, build, normalised, randomPixels } from './trunk.js'

/** A domain with random numbers in every slot. */
function randomPack(base: Pack, { slots }: FamilyManifest, seed: number): Pack {
  const next = random(seed * 91)
  const weights = slots.map((slot): [string, SlotWeights] => {
    const parts = slotParts(slot).map(({ name, dims }): [string, Float32Array] => {
      const count = dims.reduce((product, dim) => product * dim, 1)
      const middle = name === 'scale' ? 1 : 0
      return [name, Float32Array.from({ length: count }, () => middle + 0.4 * next())]
    })
    return [slot.name, Object.fromEntries(parts) as SlotWeights]
  })
  const mean = [0, 1, 2].map(() => 0.5 + 0.2 * next()) as Pack['mean']
  return { ...base, mean, std: [0.2, 0.3, 0.4], slots: new Map(weights), head: null, labels: null }
}

function takes({ kind, columns, rank }: Slot): string {
  if (columns === 0) return kind
  return rank === undefined ? `${kind} ${columns}` : `${kind} ${rank}x${columns}`
}

const ofTransformer = (linear: (inputs: number, outputs: number) => string) => ({
  'one.norm': 'norm',
  'one.qkv': linear(16, 48),
  'one.proj': linear(16, 16),
  'one.norm2': 'norm',
  'one.fc1': linear(16, 32),
  'one.fc2': linear(32, 16),
  'two.in': linear(16, 16),
  'two.out': linear(16, 16),
  'three.norm': 'norm',
  'three.window': linear(16, 16),
  norm: 'norm',
})

const ofRoots = (layers: number) =>
  Object.fromEntries([
    ['groups', 'norm'],
    ...Array.from({ length: layers }, (_, index) => [
      [`norm${index}`, 'norm'],
      [`fc${index}`, 'linear 2x16'],
    ]).flat(),
  ])

interface Case {
  network: TokenNetwork
  options: Partial<BuildOptions>
  slots: Record<string, string>
}

const cases: Record<string, Case> = {
  'a transformer, factors': {
    network: transformer,
    options: { rank: 2 },
    slots: ofTransformer((inputs) => `linear 2x${inputs}`),
  },
  'a transformer, whole matrices': {
    network: transformer,
    options: { rank: 'full' },
    slots: ofTransformer((inputs) => `linear ${inputs}`),
  },
  'a transformer, factors behind the layers': {
    network: transformer,
    options: { design: 'series', rank: 3 },
    slots: ofTransformer((_, outputs) => `linear 3x${outputs}`),
  },
  'a transformer, factors at some layers': {
    network: transformer,
    options: { rank: 2, slots: matrixPlaces('^two', undefined) },
    slots: { ...ofTransformer(() => 'linear'), 'two.in': 'linear 2x16', 'two.out': 'linear 2x16' },
  },
  'a transformer, normalisations': {
    network: transformer,
    options: { design: 'bn' },
    slots: { patch: 'conv', 'one.norm': 'norm', 'one.norm2': 'norm', 'three.norm': 'norm', norm: 'norm' },
  },
  'convolutions and tokens, factors': {
    network: convTokens,
    options: { rank: 2 },
    slots: { norm: 'norm', pw1: 'linear 2x16', pw2: 'linear 2x64', groups: 'norm' },
  },
  'convolutions and tokens, normalisations': {
    network: convTokens,
    options: { design: 'bn' },
    slots: { stem: 'conv', depth: 'depthwise', norm: 'norm', groups: 'norm' },
  },
  'root mean squares and a number for each group of channels, operator set 18': {
    network: rootNetworks[18],
    options: { rank: 2 },
    slots: ofRoots(4),
  },
  'root mean squares and a number for each channel, operator set 23': {
    network: rootNetworks[23],
    options: { rank: 2 },
    slots: ofRoots(5),
  },
  'an export for one image': {
    network: forOneImage,
    options: { rank: 2 },
    slots: {
      norm: 'norm',
      ...Object.fromEntries(['q', 'k', 'proj', 'window'].map((name) => [name, 'linear 2x16'])),
    },
  },
  'layers without a matrix': {
    network: convTokens,
    options: { design: 'bn', open: /./ },
    slots: {
      stem: 'conv',
      depth: 'depthwise',
      norm: 'norm',
      pw1: 'linear',
      pw2: 'linear',
      groups: 'norm',
    },
  },
}

for (const [name, { network, options, slots }] of Object.entries(cases)) {
  t.test(name, async (t) => {
    const backbone = network.write()
    const built = await build(backbone.onnx, options)
    const { manifest } = built
    t.same(Object.fromEntries(manifest.slots.map((slot) => [slot.name, takes(slot)])), slots)
    const base = basePack(built)
    const packs = [base, ...[1, 2, 3].map((seed) => randomPack(base, manifest, seed))]
    const { size } = network
    const pixels = randomPixels(ROWS.length, size, 9)

    // The formula as plain operators, one image and one domain at a time.
    const expected: number[] = []
    for (const [index, row] of ROWS.entries()) {
      const pack = packs[row]!
      const { onnx, features: output } = network.write(row === 0 ? undefined : pack)
      const model = saveModel({ ...loadModel(onnx), outputs: [{ name: output, type: 1, dims: undefined }] })
      const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 })
      const image = Float32Array.from(normalised(pixels, index, size, pack))
      const feeds = { image: new ort.Tensor('float32', image, [1, 3, size, size]) }
      expected.push(...((await session.run(feeds))[output]!.data as Float32Array))
    }
    const merged = await checkGraphs(t, built, { packs, pixels, features: expected, half: 2e-2 })
    t.same(matricesOf(merged), [], 'every matrix is merged')
  })
}

t.test('a transformer of which most weights are in its patches is a transformer', async (t) => {
  const graph = new OnnxGraph({ seed: 5 })
  const channels = 24
  const patches = graph.add('Conv', ['image', graph.weight('patch.weight', [channels, 3, 8, 8])], {
    strides: [8, 8],
  })
  const tokens = graph.add('Reshape', [patches, graph.ints(0, channels, 16)])
  const x = graph.add('Transpose', [tokens], { perm: [0, 2, 1] })
  const wide = graph.add('MatMul', [x, graph.weight('fc1.weight', [channels, 48])])
  const narrow = graph.add('MatMul', [graph.add('Relu', [wide]), graph.weight('fc2.weight', [48, channels])])
  const features = graph.add('ReduceMean', [graph.add('Add', [x, narrow])], { axes: [1], keepdims: 0 })
  const { manifest, chosen } = await build(graph.onnx([features], ['batch', 3, 32, 32]))
  t.match(chosen, /at linear layers, .* since 33% of its multiplications are those of linear layers/)
  t.same(
    manifest.slots.map(({ name, kind }) => `${name} ${kind}`),
    ['fc1 linear', 'fc2 linear'],
  )
})

t.test(
  'design feature opens nothing of a transformer, and takes every weight into its fingerprint',
  async (t) => {
    const { onnx } = transformer.write()
    const built = await build(onnx, { design: 'feature' })
    t.same(built.manifest.slots, [])
    const model = loadModel(onnx)
    const positions = model.constants.get('positions')!
    const bytes = new Uint8Array(positions.bytes)
    bytes[3]! ^= 1
    const other = saveModel({
      ...model,
      constants: new Map([...model.constants, ['positions', { ...positions, bytes }]]),
    })
    t.not((await build(other, { design: 'feature' })).manifest.fingerprint, built.manifest.fingerprint)
  },
)
