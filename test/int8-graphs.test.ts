/** Graphs in 8 bits compute what plain loops over bytes compute, and serve any mix of domains. */
import path from 'node:path'
import * as ort from 'onnxruntime-node'
import t, { type Test } from 'tap'
import { withValues } from '../src/compiler/int8/calibration.js'
import { frozenConvolutions } from '../src/compiler/int8/convolutions.js'
import { Histogram } from '../src/compiler/int8/histogram.js'
import { int8Graph } from '../src/compiler/int8/int8-graph.js'
import { inputStep, OUTPUT_ZERO, type Ranges } from '../src/compiler/int8/ranges.js'
import { MAX_WEIGHT, quantiseWeights } from '../src/compiler/int8/weights.js'
import type { BuildOptions, BuiltFamily } from '../src/compiler/build.js'
import { matrixPlaces } from '../src/compiler/places.js'
import { int8Files, readGraph, withInt8 } from '../src/compiler/quantise.js'
import { findGraph } from '../src/manifest/graphs.js'
import { bankLayout, PIXELS } from '../src/manifest/layout.js'
import { parseManifest } from '../src/manifest/schema.js'
import { FLOAT, type Model, saveModel, UINT8 } from '../src/onnx/onnx.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import { packRow } from '../src/engine/row.js'
import { type Conv, Network } from './networks.js'
import { basePack, build, distance, openTrunk, randomPixels } from './trunk.js'

const SIZE = 16
const settings = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const

/** Slots with stride and dilation, and frozen convolutions beside them: grouped, pointwise, with a bias. */
function network(): Network {
  const net = new Network(SIZE, {}, 5)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 8]), 8))
  const y = net.relu(net.bn('b.bn', net.conv('b.conv', x, [8, 12], { stride: 2 }), 12))
  const grouped = net.relu(net.conv('c.conv', y, [12, 12], { group: 3, bias: true }))
  const dilated = net.bn(
    'd.bn',
    net.conv('d.conv', grouped, [12, 12], { dilation: 2, pads: [2, 2, 2, 2] }),
    12,
  )
  const sum = net.relu(net.add(y, dilated))
  const wide = net.relu(net.conv('e.conv', sum, [12, 40], { kernel: [1, 1], bias: true }))
  net.linear('head', net.vector(wide), [40, 3])
  return net
}

/** Inputs of the graph for one domain. */
function feedsOf(built: BuiltFamily, pack: Pack, pixels: Uint8Array): Record<string, ort.Tensor> {
  const layout = bankLayout(built.manifest)
  const { tensors } = packRow(pack, basePack(built), built.manifest, layout, 'f32')
  const area = SIZE * SIZE * 3
  const feeds: Record<string, ort.Tensor> = {
    [PIXELS]: new ort.Tensor('uint8', pixels, [pixels.length / area, SIZE, SIZE, 3]),
  }
  for (const [index, { single }] of layout.tensors.entries())
    for (const { name, dims, offset, elements } of single) {
      const values = (tensors[index] as Float32Array).slice(offset, offset + elements)
      feeds[name] = new ort.Tensor('float32', values, dims)
    }
  return feeds
}

const reader = (built: BuiltFamily) => (name: string) => built.files.get(name)!
const oneGraph = (built: BuiltFamily) =>
  readGraph(findGraph(built.manifest, { serves: 'one', bank: 'f32' })!, reader(built))

/** A pack unlike the base in every slot. */
function otherPack(built: BuiltFamily): Pack {
  const base = basePack(built)
  const slots = [...base.slots].map(([name, { scale, bias, matrix }]) => {
    const { out, columns } = built.manifest.slots.find((slot) => slot.name === name)!
    const made = Float32Array.from({ length: out * columns }, (_, at) => Math.sin(at) / columns)
    const values = { scale: scale.map((value) => 1.2 * value), bias: bias.map((value) => value - 0.1) }
    return [name, { ...values, ...((matrix ?? columns > 0) && { matrix: made }) }] as const
  })
  return { ...base, slots: new Map(slots), mean: [0.4, 0.4, 0.5] }
}

/** Calibrates on random pixels, as `facet family quantize` does on images. */
async function calibrated(built: BuiltFamily, packs: readonly Pack[]): Promise<Ranges> {
  const { model, calibration } = withValues(oneGraph(built))
  const session = await ort.InferenceSession.create(saveModel(model), settings)
  const runs = []
  for (const [seed, pack] of packs.entries()) {
    const values = await session.run(feedsOf(built, pack, randomPixels(4, SIZE, 20 + seed)))
    runs.push(
      new Map(
        Object.entries(values).map(([name, { data, dims }]) => [
          name,
          { values: data as Float32Array, dims },
        ]),
      ),
    )
  }
  for (const run of runs) calibration.add(run)
  return calibration.ranges()
}

/** The family with graphs in 8 bits beside its own. */
async function quantisedFamily(built: BuiltFamily, packs: readonly Pack[]): Promise<BuiltFamily> {
  const made = int8Files(built.manifest, reader(built), await calibrated(built, packs))
  const record = {
    calibration: [{ domain: 'base', images: 4 }],
    accuracy: [],
    created: '2026-01-01T00:00:00.000Z',
    tool: 'tests',
  }
  const manifest = withInt8(built.manifest, made, record)
  return {
    ...built,
    manifest: parseManifest(JSON.stringify(manifest)),
    files: new Map([...built.files, ...made.files]),
  }
}

/**
 * The bytes of a convolution, by plain loops over bytes.
 * @param x `[N, C, H, W]`, real values
 * @param most the largest magnitude of each channel of the output, in steps of the input
 */
function plain(conv: Conv, x: ort.Tensor, most: readonly number[]): Uint8Array {
  const [samples, , height, width] = x.dims as [number, number, number, number]
  const { values, steps } = quantiseWeights(conv.weight, conv.out)
  const data = x.data as Float32Array
  const length = data.length / samples
  const sampleSteps = Array.from({ length: samples }, (_, n) => {
    const own = data.subarray(n * length, (n + 1) * length)
    return inputStep(Math.max(0, ...own))
  })
  const bytes = data.map((value, at) => byte(value / sampleSteps[Math.floor(at / length)]!))
  const [top, left, bottom, right] = conv.pads
  const span = (axis: 0 | 1) => conv.dilation[axis] * (conv.kernel[axis] - 1) + 1
  const rows = Math.floor((height + top + bottom - span(0)) / conv.stride[0]) + 1
  const columns = Math.floor((width + left + right - span(1)) / conv.stride[1]) + 1
  const perGroup = conv.in / conv.group
  const out = new Uint8Array(samples * conv.out * rows * columns)
  let at = 0
  for (let n = 0; n < samples; n++)
    for (let o = 0; o < conv.out; o++) {
      const first = Math.floor(o / (conv.out / conv.group)) * perGroup
      const size = Math.max(most[o]! / (OUTPUT_ZERO - 1), steps[o]!)
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) {
          let sum = 0
          let weight = o * perGroup * conv.kernel[0] * conv.kernel[1]
          for (let i = first; i < first + perGroup; i++)
            for (let dy = 0; dy < conv.kernel[0]; dy++)
              for (let dx = 0; dx < conv.kernel[1]; dx++, weight++) {
                const y = r * conv.stride[0] - top + dy * conv.dilation[0]
                const z = c * conv.stride[1] - left + dx * conv.dilation[1]
                if (y < 0 || y >= height || z < 0 || z >= width) continue
                const value = bytes[((n * conv.in + i) * height + y) * width + z]!
                sum += value * values[weight]!
              }
          out[at++] = byte((steps[o]! * sum) / size + OUTPUT_ZERO)
        }
    }
  return out
}

function byte(value: number): number {
  return Math.max(0, Math.min(255, Math.round(value)))
}

/** Values around the convolutions of a graph in 8 bits. */
async function valuesOf(
  model: Model,
  feeds: Record<string, ort.Tensor>,
  names: { floats: string[]; bytes: string[] },
) {
  const typed = (all: string[], type: number) =>
    [...new Set(all)].map((name) => ({ name, type, dims: undefined }))
  const outputs = [...typed(names.floats, FLOAT), ...typed(names.bytes, UINT8)]
  const session = await ort.InferenceSession.create(saveModel({ ...model, outputs }), settings)
  return session.run(feeds)
}

async function checkAgainstLoops(t: Test, net: Network, pixels: Uint8Array): Promise<void> {
  const built = await build(net.onnx())
  const packs = [basePack(built), otherPack(built)]
  const ranges = await calibrated(built, packs)
  const model = oneGraph(built)
  const convolutions = frozenConvolutions(model)
  const convs = net.layers.filter((layer): layer is Conv => layer.op === 'conv')
  t.equal(convolutions.length, convs.length)
  t.equal(ranges.size, convs.length - 1, 'all but the first')
  t.notOk(ranges.has(convolutions[0]!.output))
  const bytesOf = (output: string) => `facet/int8/${output}/u8`
  const values = await valuesOf(int8Graph(model, ranges), feedsOf(built, packs[1]!, pixels), {
    floats: convolutions.map(({ input }) => input),
    bytes: [...ranges.keys()].map(bytesOf),
  })
  for (const [index, { input, output }] of convolutions.entries()) {
    const range = ranges.get(output)
    if (!range) continue
    const conv = convs[index]!
    const expected = plain(conv, values[input]!, range.channels)
    const found = values[bytesOf(output)]!.data as Uint8Array
    t.equal(found.length, expected.length)
    const apart = found.map((value, at) => Math.abs(value - expected[at]!))
    // A sum in the middle between two bytes may be rounded either way.
    t.ok(
      apart.every((steps) => steps <= 1),
      `${conv.name}: at most one step apart`,
    )
    const equal = apart.filter((steps) => steps === 0).length
    t.ok(equal > 0.98 * found.length, `${conv.name}: ${equal} of ${found.length} are equal`)
  }
}

t.test('every convolution gives what loops over its bytes give', async (t) => {
  await checkAgainstLoops(t, network(), randomPixels(2, SIZE, 31))
})

t.test('the largest bytes do not saturate', async (t) => {
  const net = new Network(SIZE)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 32]), 32))
  net.linear('head', net.vector(net.relu(net.conv('b.conv', x, [32, 8]))), [8, 3])
  for (const layer of net.layers) {
    if (layer.op === 'conv') layer.weight.fill(0.1)
    if (layer.op === 'bn') layer.mean.fill(-2)
  }
  await checkAgainstLoops(t, net, new Uint8Array(SIZE * SIZE * 3).fill(255))
})

const late = matrixPlaces('late', undefined)
for (const [name, options] of Object.entries<Partial<BuildOptions>>({
  parallel: { design: 'parallel' },
  series: { design: 'series' },
  bn: { design: 'bn' },
  feature: { design: 'feature' },
  'matrices at some slots': { design: 'parallel', slots: late },
}))
  t.test(`${name}: a mix of domains gets what each gets alone, with either bank`, async (t) => {
    const built = await build(network().onnx(), options)
    const other = readPack(writePack(otherPack(built), built.manifest, { dtype: 'f32' }), built.manifest)
    const packs = [basePack(built), other]
    const family = await quantisedFamily(built, packs)
    const pixels = randomPixels(4, SIZE, 40)
    const rows = [0, 1, 1, 0]
    for (const bank of ['f32', 'f16'] as const) {
      const dir = path.join(t.testdir(), bank)
      const exact = await openTrunk(family, dir, bank)
      const coarse = await openTrunk(family, dir, bank, 'int8')
      const mixed = await coarse.run(packs, pixels, rows)
      const expected = await exact.run(packs, pixels, rows)
      const error = distance(mixed, expected)
      t.ok(error < 0.05, `within ${error} of float32`)
      t.ok(error > 1e-6, 'and not float32')
      const size = family.manifest.features
      for (const [index, row] of rows.entries()) {
        const image = pixels.slice(index * SIZE * SIZE * 3, (index + 1) * SIZE * SIZE * 3)
        const features = mixed.subarray(index * size, (index + 1) * size)
        t.ok(distance(features, await coarse.run(packs, image, [row])) < 1e-5, `row ${row} alone`)
        // Sums in another order may round a value to the next byte.
        t.ok(distance(features, await coarse.runOne(packs[row]!, image)) < 0.01, `row ${row}, its own graph`)
      }
    }
  })

t.test('weights in half precision, and graphs of old operator sets', async (t) => {
  const half = await build(network().onnx(), { fp16: true })
  const family = await quantisedFamily(half, [basePack(half)])
  const trunk = await openTrunk(family, path.join(t.testdir(), 'half'), 'f32', 'int8')
  t.ok((await trunk.runOne(basePack(half), randomPixels(1, SIZE))).every(Number.isFinite))
  const graph = loadedInt8(family)
  t.notOk(
    [...graph.constants.values()].some(({ dims, type }) => dims.length === 4 && dims[0]! > 12 && type !== 3),
    'only bytes are left of the weights',
  )
  const net = new Network(SIZE, { opset: 11 })
  net.linear('head', net.vector(net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 8]), 8))), [8, 3])
  const old = await build(net.onnx())
  await t.rejects(quantisedFamily(old, [basePack(old)]), {
    name: 'BackboneError',
    message: /operator set 11; 8 bits need 13 or later\. Export the backbone with a newer one/,
  })
})

function loadedInt8(family: BuiltFamily): Model {
  return readGraph(
    findGraph(family.manifest, { serves: 'one', bank: 'f32', precision: 'int8' })!,
    reader(family),
  )
}

t.test('packs of the family stay valid, and its own graphs what they are', async (t) => {
  const built = await build(network().onnx())
  const family = await quantisedFamily(built, [basePack(built)])
  t.equal(family.manifest.fingerprint, built.manifest.fingerprint)
  t.same(
    readPack(writePack(otherPack(built), built.manifest, { dtype: 'f32' }), family.manifest).design,
    'parallel',
  )
  t.same(family.manifest.graphs!.slice(0, 4), built.manifest.graphs)
  for (const [name, entry] of Object.entries(built.manifest.files)) t.same(family.manifest.files[name], entry)
  t.equal(family.manifest.graphs!.length, 8)
})

t.test('a histogram cuts what is rare and far, and keeps a plain range whole', async (t) => {
  const values = Float32Array.from({ length: 10_000 }, (_, at) => (at % 2 === 0 ? at : -at) / 10_000)
  const even = new Histogram()
  even.add(values, 0, values.length)
  t.ok(even.best() > 0.97 && even.best() < 1)
  const half = new Histogram()
  half.add(values, 0, values.length, 0.5)
  t.ok(Math.abs(half.best() - even.best() / 2) < 1e-3, 'times a factor')
  const far = new Histogram()
  for (let round = 0; round < 20; round++) far.add(values, 0, values.length)
  far.add(Float32Array.of(1.8), 0, 1)
  t.ok(far.best() < 1.5, 'one value of 200,000 does not widen every step')
  const order = new Histogram()
  order.add(Float32Array.of(1.8), 0, 1)
  for (let round = 0; round < 20; round++) order.add(values, 0, values.length)
  t.same(order.best(), far.best(), 'whatever the order')
  t.throws(() => order.add(Float32Array.of(Number.NaN), 0, 1), RangeError)
  t.throws(() => order.add(Float32Array.of(Number.POSITIVE_INFINITY), 0, 1), RangeError)
})

t.test('weights keep to what two pairs of products in 16 bits hold', async (t) => {
  t.ok(2 * 255 * MAX_WEIGHT <= 2 ** 15 - 1)
  const weights = Float32Array.from({ length: 200 }, (_, at) => Math.sin(at) * (at < 100 ? 1 : 50))
  const { values, steps } = quantiseWeights(weights, 2)
  t.ok(values.every((value) => Math.abs(value) <= MAX_WEIGHT))
  weights.forEach((weight, at) => {
    const step = steps[at < 100 ? 0 : 1]!
    if (Math.abs(values[at]!) < MAX_WEIGHT) t.ok(Math.abs(weight - step * values[at]!) <= step / 2 + 1e-6)
  })
  t.same(quantiseWeights(new Float32Array(4), 1), { values: new Int8Array(4), steps: Float32Array.of(1) })
})

t.test('depthwise convolutions stay in float32, beside pointwise ones in 8 bits', async (t) => {
  const net = new Network(SIZE, {}, 7)
  const stem = net.relu(net.bn('stem.bn', net.conv('stem', 'image', [3, 80], { stride: 2 }), 80))
  const deep = net.relu(net.bn('depth.bn', net.conv('depth', stem, [80, 80], { group: 80 }), 80))
  const wide = net.bn('project.bn', net.conv('project', deep, [80, 40], { kernel: [1, 1] }), 40)
  net.linear('head', net.vector(net.relu(wide)), [40, 3])
  const built = await build(net.onnx(), { rank: 'full', open: /./ })
  const packs = [basePack(built), otherPack(built)]
  t.same(withValues(oneGraph(built)).calibration.depthwise, 1)
  const quantised = await quantisedFamily(built, packs)
  const graph = readGraph(
    findGraph(quantised.manifest, { serves: 'any', bank: 'f32', precision: 'int8' })!,
    reader(quantised),
  )
  const layers = graph.nodes.filter(({ op }) => op === 'Conv' || op === 'QLinearConv')
  t.same(
    layers.map(({ op, outputs }) => `${op} ${outputs[0]!.includes('depth') ? 'depthwise' : ''}`),
    ['Conv ', 'Conv depthwise', 'QLinearConv '],
  )
  const [exact, bytes] = [
    await openTrunk(built, path.join(t.testdir(), 'exact')),
    await openTrunk(quantised, path.join(t.testdir(), 'bytes'), 'f32', 'int8'),
  ]
  const pixels = randomPixels(4, SIZE, 3)
  const rows = [1, 0, 1, 0]
  const found = distance(await bytes.run(packs, pixels, rows), await exact.run(packs, pixels, rows))
  t.ok(found > 0 && found < 0.05, `features differ by ${found}`)
})
