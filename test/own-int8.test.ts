/** Facet's own operator in 8 bits: what graphs are made of it, and what they give beside float32. */
import { existsSync, readFileSync } from 'node:fs'
import onnxProto from 'onnx-proto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { randomPack } from '../bench/networks.js'
import { frozenConvolutions } from '../src/compiler/int8/convolutions.js'
import { int8Files, readGraph } from '../src/compiler/quantise.js'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine } from '../src/engine/engine.js'
import { packRow } from '../src/engine/row.js'
import { findGraph, type Precision } from '../src/manifest/graphs.js'
import { loadNative, nativeFile } from '../src/native/addon.js'
import { family } from './engine-rig.js'
import { Network, random } from './networks.js'
import { build, distance } from './trunk.js'

const skip = !existsSync(nativeFile()) && 'it is not built: npm run native:build'

interface SlotNode {
  weights: string
  steps: string | undefined
}

/** Slots of a graph: names of their weights, and of the steps of those in 8 bits. */
function slotsOf(bytes: Uint8Array): SlotNode[] {
  const { node } = onnxProto.onnx.ModelProto.decode(bytes).graph!
  return node!
    .filter(({ opType }) => opType === 'Slot')
    .map(({ input }) => ({ weights: input![1]!, steps: input![6] }))
}

t.test('in the shipped family all slots but the first two are in 8 bits', (t) => {
  for (const bank of ['f32', 'f16'] as const) {
    const bytes = readFileSync(family.graph({ serves: 'any', bank, precision: 'int8', own: true }))
    const coarse = slotsOf(bytes).map(({ steps }) => steps !== undefined)
    t.same(coarse, [false, false, ...Array<boolean>(23).fill(true)])
    const { initializer } = onnxProto.onnx.ModelProto.decode(bytes).graph!
    const large = initializer!.filter(({ dims }) => dims!.length === 4 && Number(dims![1]) > 16)
    t.ok(large.every(({ dataType }) => dataType === onnxProto.onnx.TensorProto.DataType.INT8))
    const files = large.flatMap(({ externalData }) => externalData!.map(({ value }) => value))
    t.ok(files.includes('trunk.int8.weights'), 'the file of the other graphs in 8 bits')
  }
  t.end()
})

for (const fp16 of [false, true])
  t.test(`slots that stay in float32 keep their weights${fp16 ? ', of half precision' : ''}`, async (t) => {
    const net = new Network(12, {}, 5)
    const a = net.relu(net.bn('a.bn', net.conv('a', 'image', [3, 16]), 16))
    const b = net.relu(net.bn('b.bn', net.conv('b', a, [16, 32]), 32))
    const c = net.relu(net.bn('c.bn', net.conv('c', b, [32, 32]), 32))
    net.linear('head', net.vector(c), [32, 3])
    const built = await build(net.onnx(), { fp16 })
    const read = (name: string) => built.files.get(name)!
    const plain = readGraph(findGraph(built.manifest, { serves: 'any', bank: 'f32' })!, read)
    const range = { height: 12, width: 12, channels: Array<number>(32).fill(1) }
    const ranges = new Map([[frozenConvolutions(plain)[1]!.output, range]])
    const { graphs, files } = int8Files(built.manifest, read, ranges)
    t.same(
      graphs.map(({ weights, file }) => [weights, file]).slice(4),
      [
        ['int8-own', 'trunk.int8.own.onnx'],
        ['int8-own', 'trunk.int8.own.f16.onnx'],
      ],
      'behind those in plain ONNX',
    )
    const slots = slotsOf(files.get('trunk.int8.own.onnx')!)
    t.same(
      slots.map(({ steps }) => steps !== undefined),
      [false, true, false],
    )
    const before = slotsOf(read('trunk.own.onnx'))
    t.same([slots[0], slots[2]], [before[0], before[2]])
    t.not(slots[1]!.weights, before[1]!.weights)
  })

const PACKS = 3

async function start(t: Test, precision: Precision, { own = true, threads = 1 } = {}): Promise<Engine> {
  // Without VNNI the operator is slow in 8 bits, and gives the same.
  const native = { ...loadNative(), hasOwnOperator: own, hasOwnInt8: true }
  const engine = new Engine({
    family,
    rows: PACKS + 1,
    bankDtype: 'f32',
    bankMode: 'shared',
    precision,
    device: { kind: 'cpu' },
    lanes: 1,
    threads,
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    native,
  })
  t.teardown(() => engine.stop())
  await engine.start()
  for (let row = 1; row <= PACKS; row++) {
    const pack = randomPack(family, row, 4)
    await engine.writeRow(row, packRow(pack, family.base, family.manifest, family.layout, 'f32'))
  }
  return engine
}

t.test('a mix of domains gets what each image gets alone, near to float32', { skip }, async (t) => {
  const [own, threaded, exact, plain] = await Promise.all([
    start(t, 'int8'),
    start(t, 'int8', { threads: 2 }),
    start(t, 'fp32'),
    start(t, 'int8', { own: false }),
  ])
  const { height, width } = family.manifest.input
  const size = height * width * 3
  const next = random(3)
  const rows = [3, 0, 2, 1, 3]
  const pixels = Uint8Array.from(
    { length: rows.length * size },
    (_, at) => 128 + 100 * Math.sin(at / 700) + 20 * next(),
  )
  const run = async (engine: Engine, from = 0, to = rows.length) => {
    const batch = {
      pixels: pixels.slice(from * size, to * size),
      rows: Int32Array.from(rows.slice(from, to)),
    }
    return (await engine.run(batch, engine.generation)).features
  }
  const mixed = await run(own)
  const reference = await run(exact)
  const error = distance(mixed, reference)
  t.ok(error > 1e-6 && error < 0.1, `within ${error} of float32`)
  t.ok(error < 1.2 * distance(await run(plain), reference), "no further from it than ONNX's operators are")
  t.same(await run(threaded), mixed, 'whatever the threads')
  const features = family.manifest.features
  for (let sample = 0; sample < rows.length; sample++)
    t.same(
      await run(own, sample, sample + 1),
      mixed.slice(sample * features, (sample + 1) * features),
      `row ${rows[sample]} alone`,
    )
})
