/** Facet's own operator: what graphs are made of it, and that they give the answers of ONNX's operators. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import onnxProto from 'onnx-proto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { randomPack } from '../bench/networks.js'
import type { BuildOptions } from '../src/compiler/build.js'
import { matrixPlaces } from '../src/compiler/places.js'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine } from '../src/engine/engine.js'
import { packRow } from '../src/engine/row.js'
import { loadNative, nativeFile } from '../src/native/addon.js'
import type { Family } from '../src/family/family.js'
import { readFamily } from '../src/family/folder.js'
import type { Design } from '../src/manifest/manifest.js'
import { intAttribute } from '../src/onnx/onnx.js'
import type { Pack } from '../src/pack/pack.js'
import { family as shipped } from './engine-rig.js'
import { Network, random } from './networks.js'
import { build, distance } from './trunk.js'

const skip = !existsSync(nativeFile()) && 'it is not built: npm run native:build'

/** Nodes of a family's graph of the own operator: name of the operator, inputs, whether it has a Relu in it. */
function nodesOf(family: Family, bank: 'f32' | 'f16' = 'f32') {
  const bytes = readFileSync(family.findGraph({ serves: 'any', bank, own: true })!)
  return onnxProto.onnx.ModelProto.decode(bytes).graph!.node!.map(({ opType, input, attribute }) => ({
    op: opType!,
    inputs: input!,
    relu: Number(attribute!.find(({ name }) => name === 'relu')?.i ?? 0) === 1,
  }))
}

async function familyOf(
  t: Test,
  net: Network,
  design: Design,
  options: Partial<BuildOptions> = {},
): Promise<Family> {
  const dir = path.join(t.testdir(), design)
  mkdirSync(dir)
  for (const [name, bytes] of (await build(net.onnx(), { design, ...options })).files)
    writeFileSync(path.join(dir, name), bytes)
  return readFamily(dir)
}

t.test(
  'in the shipped family every convolution is one node with the sum and the Relu behind it',
  async (t) => {
    for (const bank of ['f32', 'f16'] as const) {
      const nodes = nodesOf(shipped, bank)
      const slots = nodes.filter(({ op }) => op === 'Slot')
      t.equal(slots.length, shipped.manifest.slots.filter(({ kind }) => kind === 'conv').length)
      t.equal(slots.filter(({ relu }) => relu).length, 24, 'all but the stem')
      t.equal(slots.filter(({ inputs }) => inputs[5]).length, 12, 'one a block')
      t.same(
        nodes.filter(({ op }) => ['Conv', 'MatMul', 'Relu', 'Transpose'].includes(op)).map(({ op }) => op),
        ['Transpose', 'Relu'],
        'of the pixels, and behind the last norm',
      )
    }
  },
)

/** A network with every sort of neighbour that a slot can have. */
function neighbours(): Network {
  const net = new Network(14, {}, 5)
  // A stem with a large kernel, whose output is read by slots and by others.
  const stem = net.relu(net.bn('b1', net.conv('stem', 'image', [3, 16], { kernel: [5, 5], stride: 2 }), 16))
  const pooled = net.maxpool(stem, 2, 1)
  // Two slots that are summed: one takes the other in.
  const left = net.bn('b2', net.conv('left', pooled, [16, 32]), 32)
  const right = net.bn('b3', net.conv('right', pooled, [16, 32], { pads: [2, 1, 0, 1] }), 32)
  const sum = net.relu(net.add(left, right))
  // What is read twice is not joined with one of its readers.
  const both = net.conv('both', sum, [32, 32], { bias: true })
  const twice = net.add(net.relu(both), both)
  // Neither whole vectors of channels nor a dilated kernel: the operators of ONNX.
  const odd = net.conv('odd', twice, [32, 20])
  const wide = net.conv('wide', odd, [20, 16], { dilation: 2 })
  const valid = net.conv('valid', wide, [16, 16], { pads: [0, 0, 0, 0], auto: 'VALID' })
  const narrow = net.relu(
    net.add(net.conv('narrow', valid, [16, 16], { kernel: [3, 1], pads: [1, 0, 1, 0] }), valid),
  )
  net.linear('head', net.vector(narrow), [16, 4])
  return net
}

t.test('what the operator does not compute stays as it is', async (t) => {
  const nodes = nodesOf(await familyOf(t, neighbours(), 'parallel'))
  const count = (op: string) => nodes.filter((node) => node.op === op).length
  t.equal(count('Slot'), 6)
  t.equal(count('Conv'), 2, 'odd and wide')
  const of = (name: string) => nodes.find(({ op, inputs }) => op === 'Slot' && inputs[1]!.startsWith(name))!
  t.ok([of('left'), of('right')].filter(({ inputs, relu }) => inputs[5] && relu).length === 1)
  t.match(of('both'), { inputs: { 5: '' }, relu: false })
  t.match(of('narrow'), { relu: true })
})

t.test('a slot without a matrix is a node that reads none', async (t) => {
  const slots = matrixPlaces('late', undefined)
  const nodes = nodesOf(await familyOf(t, neighbours(), 'parallel', { slots })).filter(
    ({ op }) => op === 'Slot',
  )
  t.same(
    nodes.map(({ inputs }) => inputs[4]).filter((matrix) => matrix),
    ['matrix.valid', 'matrix.narrow'],
  )
  t.equal(nodes.length, 6)
})

t.test('the design series has no such graph, nor has a network of mostly other convolutions', async (t) => {
  const series = await familyOf(t, neighbours(), 'series')
  t.equal(series.findGraph({ serves: 'any', bank: 'f32', own: true }), undefined)
  const net = new Network(8)
  const dilated = net.conv('b', net.conv('a', 'image', [3, 16]), [16, 16], { dilation: 2 })
  net.linear('head', net.vector(dilated), [16, 4])
  const family = await familyOf(t, net, 'parallel')
  t.equal(family.findGraph({ serves: 'any', bank: 'f32', own: true }), undefined)
})

const PACKS = 3

interface Start {
  own: boolean
  bank: 'f32' | 'f16'
  threads?: number
  /** Is given each pack before it is written. */
  change?(pack: Pack): void
}

async function start(
  t: Test,
  family: Family,
  { own, bank: bankDtype, threads = 1, change }: Start,
): Promise<Engine> {
  const native = { ...loadNative(), hasOwnOperator: own }
  const logger = pino({ level: 'silent' })
  const device = { kind: 'cpu' } as const
  const options = { family, bankDtype, device, threads, logger, native, clock: systemClock, lanes: 1 }
  const engine = new Engine({ ...options, rows: PACKS + 1, bankMode: 'shared' })
  t.teardown(() => engine.stop())
  await engine.start()
  for (let row = 1; row <= PACKS; row++) {
    const pack = randomPack(family, row, 4)
    change?.(pack)
    await engine.writeRow(row, packRow(pack, family.base, family.manifest, family.layout, bankDtype))
  }
  return engine
}

/** Runs batches of one domain and of several on both. */
async function compare(t: Test, family: Family, own: Engine, plain: Engine) {
  const { height, width } = family.manifest.input
  const next = random(3)
  for (const rows of [[0], [2], [1, 1, 1], [3, 0, 2, 1, 3, 2, 0, 1]]) {
    const pixels = Uint8Array.from({ length: rows.length * height * width * 3 }, () => 128 + 127 * next())
    const batch = () => ({ pixels: pixels.slice(), rows: Int32Array.from(rows) })
    const [found, expected] = [await own.run(batch(), 1), await plain.run(batch(), 1)]
    const apart = distance(found.features, expected.features)
    t.ok(apart <= 1e-5, `rows ${rows}: ${apart}`)
    t.ok(found.features.some((value) => value !== 0))
  }
}

for (const [name, design, bank, threads, options] of [
  ['parallel', 'parallel', 'f32', 1, {}],
  ['parallel, weights in half precision', 'parallel', 'f16', 2, { fp16: true }],
  ['matrices at some slots', 'parallel', 'f32', 1, { slots: matrixPlaces('early+late', undefined) }],
  ['bn', 'bn', 'f32', 1, {}],
] as const)
  t.test(`${name}, ${bank} bank: both graphs give one answer, whatever the batch`, { skip }, async (t) => {
    const family = await familyOf(t, neighbours(), design, options)
    const own = await start(t, family, { own: true, bank, threads })
    await compare(t, family, own, await start(t, family, { own: false, bank }))
  })

/**
 * Gives each slot of the operator's graph a basis that has the input's channels in reverse. In half precision a Cast
 * makes single precision of it.
 * @returns names of the slots
 */
function reverseInputs(family: Family, bank: 'f32' | 'f16'): Set<string> {
  const file = family.findGraph({ serves: 'any', bank, own: true })!
  const { ModelProto, TensorProto } = onnxProto.onnx
  const model = ModelProto.decode(readFileSync(file))
  const { node, initializer } = model.graph!
  const names = new Set<string>()
  for (const slot of node!.filter(({ opType }) => opType === 'Slot')) {
    const { name, in: input } = family.manifest.slots.find(({ name }) => slot.input![1]!.startsWith(name))!
    const single = `${name}/basis`
    const stored = { name: bank === 'f32' ? single : `${single}/half`, dims: [input, input] }
    const ones = (one: number) =>
      Array.from({ length: input ** 2 }, (_, at) =>
        (at % input) + Math.floor(at / input) === input - 1 ? one : 0,
      )
    if (bank === 'f32')
      initializer!.push({ ...stored, dataType: TensorProto.DataType.FLOAT, floatData: ones(1) })
    else {
      initializer!.push({ ...stored, dataType: TensorProto.DataType.FLOAT16, int32Data: ones(0x3c00) })
      const attribute = [intAttribute('to', TensorProto.DataType.FLOAT)]
      node!.unshift({ opType: 'Cast', input: [stored.name], output: [single], attribute })
    }
    // Behind the steps, which a slot in float32 leaves out.
    slot.input = [...Array.from({ length: 7 }, (_, at) => slot.input![at] ?? ''), single]
    names.add(name)
  }
  writeFileSync(file, ModelProto.encode(model).finish())
  return names
}

/** Turns the rows of some slots' matrices round. */
function reverseRows(family: Family, pack: Pack, names: ReadonlySet<string>) {
  for (const { name, columns } of family.manifest.slots)
    if (names.has(name)) {
      const matrix = pack.slots.get(name)!.matrix!
      for (let start = 0; start < matrix.length; start += columns)
        matrix.subarray(start, start + columns).reverse()
    }
}

for (const bank of ['f32', 'f16'] as const)
  t.test(`${bank} bank: with a basis a slot's matrix is the bank's times it`, { skip }, async (t) => {
    const family = await familyOf(t, neighbours(), 'parallel', { fp16: bank === 'f16' })
    const names = reverseInputs(family, bank)
    t.equal(names.size, 6)
    const own = await start(t, family, { own: true, bank })
    const change = (pack: Pack) => reverseRows(family, pack, names)
    await compare(t, family, own, await start(t, family, { own: false, bank, change }))
  })
