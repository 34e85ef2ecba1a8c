/** A built family is compared with its backbone before it is kept. Also: backbones in other layouts. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { CommanderError } from 'commander'
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import t, { type Test } from 'tap'
import { checkFamily } from '../src/commands/family-check.js'
import { familyCommand } from '../src/commands/family.js'
import type { BuildOptions, BuiltFamily } from '../src/compiler/build.js'
import { Control } from './engine-rig.js'
import { OnnxGraph } from './graphs.js'
import { Network, type Style } from './networks.js'
import { build } from './trunk.js'

const { onnx } = onnxProto
const control = new Control()
const createWorker = () => control.createWorker()

function backbone(style: Partial<Style> = {}, seed = 3): Network {
  const net = new Network(10, style, seed)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 12], { stride: 2 }), 12))
  const y = net.relu(net.add(x, net.bn('b.bn', net.conv('b.conv', x, [12, 12]), 12)))
  net.linear('head', net.vector(y), [12, 3])
  return net
}

/**
 * The network as an exporter from a channels-last framework writes it: `[N, H, W, 3]` and a Transpose first.
 */
function channelsLast(bytes: Uint8Array): Uint8Array {
  const model = onnx.ModelProto.decode(bytes)
  const graph = model.graph as Onnx.GraphProto
  const input = graph.input.find(({ name }) => name === 'image')!
  const dim = input.type!.tensorType!.shape!.dim!
  input.type!.tensorType!.shape!.dim = [dim[0]!, dim[2]!, dim[3]!, dim[1]!]
  for (const node of graph.node)
    node.input = (node.input ?? []).map((name) => (name === 'image' ? 'image_nchw' : name))
  const perm = { name: 'perm', type: onnx.AttributeProto.AttributeType.INTS, ints: [0, 3, 1, 2] }
  graph.node.unshift({
    opType: 'Transpose',
    name: 'to_nchw',
    input: ['image'],
    output: ['image_nchw'],
    attribute: [perm],
  })
  return onnx.ModelProto.encode(model).finish()
}

function write(dir: string, built: BuiltFamily): string {
  mkdirSync(dir, { recursive: true })
  for (const [name, bytes] of built.files) writeFileSync(path.join(dir, name), bytes)
  return dir
}

async function checked(t: Test, name: string, bytes: Uint8Array, changes: Partial<BuildOptions> = {}) {
  const built = await build(bytes, changes)
  const dir = write(path.join(t.testdirName, name), built)
  return checkFamily(dir, { ...built.backbone, bytes }, changes.fp16 === true, createWorker)
}

t.test('families of all kinds of backbones agree with them', async (t) => {
  t.testdir()
  const plain = backbone().onnx()
  const cases: [string, Uint8Array, Partial<BuildOptions>?][] = [
    ['plain', plain],
    ['feature', plain, { design: 'feature' }],
    ['channels-last', channelsLast(plain)],
    ['channels-last-fixed', channelsLast(backbone({ fixedBatch: true, vector: 'Reshape' }).onnx())],
  ]
  for (const [name, bytes, changes] of cases) {
    const difference = await checked(t, name, bytes, changes)
    t.ok(difference < 1e-5, `${name}: ${difference}`)
  }
  const half = await checked(t, 'fp16', plain, { fp16: true })
  t.ok(half < 3e-2, `fp16: ${half}`)
})

t.test('a backbone whose answers depend on the batch is refused', async (t) => {
  t.testdir()
  for (const [op, what] of [
    ['ReduceMax', 'the largest value of the whole batch'],
    ['ReduceMean', 'the mean of the whole batch'],
  ] as const) {
    const graph = new OnnxGraph()
    const all = graph.add(op, ['image'], { keepdims: 0 })
    const relative = graph.add('Sub', ['image', all])
    const map = graph.add('Relu', [
      graph.add('Conv', [relative, graph.weight('a.weight', [6, 3, 3, 3]), graph.weight('a.bias', [6])]),
    ])
    const vector = graph.add('Flatten', [graph.add('GlobalAveragePool', [map])])
    graph.add('Gemm', [vector, graph.weight('b.weight', [6, 4]), graph.weight('b.bias', [4])], {}, 'logits')
    const bytes = graph.onnx(['logits'], ['N', 3, 10, 10])
    await t.rejects(
      checked(t, op, bytes),
      { name: 'BackboneError', message: /depend on the other images of its batch.*Nothing was written/ },
      what,
    )
  }
})

t.test('a channels-last backbone opens the same slots as its channels-first twin', async (t) => {
  const [first, last] = [await build(backbone().onnx()), await build(channelsLast(backbone().onnx()))]
  t.equal(last!.manifest.fingerprint, first!.manifest.fingerprint, 'and so the same packs fit it')
  t.same(last!.manifest.input, first!.manifest.input)
  t.match(last!.backbone, { channelsLast: true })
})

t.test('a family that computes something else is told from its backbone', async (t) => {
  const other = await build(backbone({}, 4).onnx())
  const dir = write(path.join(t.testdir(), 'other'), other)
  const bytes = backbone().onnx()
  await t.rejects(checkFamily(dir, { ...other.backbone, bytes }, false, createWorker), {
    message: /does not compute what the backbone computes.*Nothing was written.*--no-check/,
  })
})

t.test('if the check fails nothing is left of the new family, and an older one stays', async (t) => {
  const model = onnx.ModelProto.decode(backbone().onnx())
  const weight = model.graph!.initializer!.find(({ name }) => name === 'b.conv.weight') as Onnx.TensorProto
  new DataView(weight.rawData.buffer, weight.rawData.byteOffset).setFloat32(0, Number.NaN, true)
  const dir = t.testdir({ 'net.onnx': Buffer.from(onnx.ModelProto.encode(model).finish()) })
  const run = async (...more: string[]) => {
    let error = ''
    const command = familyCommand()
    for (const each of [command, ...command.commands])
      each.exitOverride().configureOutput({
        writeOut: () => {},
        writeErr: (text) => {
          error += text
        },
      })
    const args = ['build', path.join(dir, 'net.onnx'), '--out', path.join(dir, 'models', 'nan'), ...more]
    await command.parseAsync(args, { from: 'user' }).catch((thrown: unknown) => {
      if (!(thrown instanceof CommanderError)) throw thrown
    })
    return error
  }
  t.match(await run(), /^error: The family (cannot be run to check|does not compute).*Nothing was written/)
  t.same(readdirSync(path.join(dir, 'models')), [])
  t.equal(await run('--no-check'), '')
  t.ok(existsSync(path.join(dir, 'models', 'nan', 'family.json')))
})
