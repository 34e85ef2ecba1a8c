/** What the builder cannot open is refused with an error that names the cause and the remedy. */
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import t from 'tap'
import { loadModel } from '../src/onnx/onnx.js'
import { Network } from './networks.js'
import { build } from './trunk.js'

const { onnx } = onnxProto

function small(): Network {
  const net = new Network(8)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 4], { bias: true }), 4))
  net.linear('head', net.vector(x), [4, 2])
  return net
}

/** The small network, changed in its protobuf. */
function changed(change: (model: Onnx.ModelProto, graph: Onnx.GraphProto) => void): Uint8Array {
  const model = onnx.ModelProto.decode(small().onnx())
  change(model, model.graph as Onnx.GraphProto)
  return onnx.ModelProto.encode(model).finish()
}

const node = (graph: Onnx.GraphProto, op: string) => graph.node.find((entry) => entry.opType === op)!
const tensor = (graph: Onnx.GraphProto, name: string) =>
  graph.initializer.find((entry) => entry.name === name)!
const attributes = onnx.AttributeProto.AttributeType

/** Computes a value from a constant and the image. */
function ofTheImage(graph: Onnx.GraphProto, constant: string, output: string): void {
  const keep = { name: 'keepdims', type: attributes.INT, i: 0 }
  graph.node.unshift(
    { opType: 'ReduceMean', name: 'mean', input: ['image'], output: ['mean'], attribute: [keep] },
    { opType: 'Mul', name: 'times', input: [constant, 'mean'], output: [output] },
  )
}

const refusals: Record<string, [Uint8Array, RegExp]> = {
  'bytes that are no protobuf': [new TextEncoder().encode('not an ONNX file'), /not an ONNX model/],
  'an empty file': [new Uint8Array(), /not an ONNX model/],
  'a truncated file': [small().onnx().slice(0, -100), /not an ONNX model/],
  'an ancient operator set': [
    changed((model) => {
      model.opsetImport = [{ domain: '', version: 6 }]
    }),
    /operator set 6; 7 is the oldest/,
  ],
  'no operator set': [
    changed((model) => {
      model.opsetImport = [{ domain: 'ai.onnx.ml', version: 3 }]
    }),
    /imports no ONNX operator set/,
  ],
  'a foreign operator': [
    changed((_, graph) => {
      Object.assign(node(graph, 'Relu'), { domain: 'com.microsoft', name: 'fast' })
    }),
    /Node fast uses operator com\.microsoft\.Relu.*before any runtime's optimisation/,
  ],
  'local functions': [
    changed((model) => {
      model.functions = [{ name: 'Block' }]
    }),
    /local functions \(Block/,
  ],
  'control flow': [
    changed((_, graph) => {
      const attribute = { name: 'then_branch', type: attributes.GRAPH, g: { name: 'then' } }
      Object.assign(node(graph, 'Relu'), { opType: 'If', attribute: [attribute] })
    }),
    /\(If\) has a subgraph.*without control flow/,
  ],
  'two inputs': [
    changed((_, graph) => {
      graph.input.push({ ...graph.input[0]!, name: 'mask' })
    }),
    /2 inputs \(image, mask\)/,
  ],
  'no input': [
    changed((_, graph) => {
      graph.input = []
    }),
    /no input/,
  ],
  'an input of doubles': [
    changed((_, graph) => {
      graph.input[0]!.type!.tensorType!.elemType = 11
    }),
    /input image holds neither float32 nor bytes .*--fp16/,
  ],
  'a sequence as input': [
    changed((_, graph) => {
      graph.input[0]!.type!.tensorType!.shape!.dim!.pop()
    }),
    /3 dimensions.*\[N, 3, H, W\]/,
  ],
  'grey images': [
    changed((_, graph) => {
      graph.input[0]!.type!.tensorType!.shape!.dim![1] = { dimValue: 1 }
    }),
    /1 channels.*three channels/,
  ],
  'an input of open size': [
    changed((_, graph) => {
      graph.input[0]!.type!.tensorType!.shape!.dim![2] = { dimParam: 'height' }
    }),
    /leaves its input's height open.*--height/,
  ],
  'weights that are computed': [
    changed((_, graph) => {
      const conv = node(graph, 'Conv')
      ofTheImage(graph, conv.input![1]!, 'cleaned')
      conv.input![1] = 'cleaned'
    }),
    /weights of a\.conv are not a constant float32 tensor.*initializers/,
  ],
  'a bias that is computed': [
    changed((_, graph) => {
      const conv = node(graph, 'Conv')
      ofTheImage(graph, conv.input![2]!, 'cleaned')
      conv.input![2] = 'cleaned'
    }),
    /bias of a\.conv is not a constant/,
  ],
  'a norm whose parameters are computed': [
    changed((_, graph) => {
      const norm = node(graph, 'BatchNormalization')
      ofTheImage(graph, norm.input![3]!, 'cleaned')
      norm.input![3] = 'cleaned'
    }),
    /parameter cleaned of a\.bn is not a constant/,
  ],
  'a norm in training mode': [
    changed((model, graph) => {
      model.opsetImport = [{ domain: '', version: 14 }]
      const mode = { name: 'training_mode', type: attributes.INT, i: 1 }
      node(graph, 'BatchNormalization').attribute!.push(mode)
    }),
    /a\.bn .*training mode.*evaluation mode/,
  ],
  'random numbers': [
    changed((_, graph) => {
      const relu = node(graph, 'Relu')
      graph.node.splice(graph.node.indexOf(relu), 0, {
        opType: 'RandomNormalLike',
        name: 'noise',
        input: [relu.input![0]!],
        output: ['noise'],
      })
      relu.input = ['noise']
    }),
    /noise \(RandomNormalLike\) draws random numbers.*evaluation mode/,
  ],
  'a missing value': [
    changed((_, graph) => {
      node(graph, 'Relu').input = ['nowhere']
    }),
    /reads nowhere, which nothing before it makes/,
  ],
  'a tensor with too little data': [
    changed((_, graph) => {
      tensor(graph, 'a.conv.weight').rawData = new Uint8Array(8)
    }),
    /initializer a\.conv\.weight has 8 bytes of data, but its shape \[4, 3, 3, 3\] needs 432/,
  ],
  'a tensor of text': [
    changed((_, graph) => {
      Object.assign(tensor(graph, 'a.conv.weight'), { dataType: 8, rawData: new Uint8Array() })
    }),
    /a\.conv\.weight has element type 8/,
  ],
  'sparse weights': [
    changed((_, graph) => {
      graph.sparseInitializer = [{ dims: [2] }]
    }),
    /sparse initializers/,
  ],
  'external data that is not there': [
    changed((_, graph) => {
      const entry = { key: 'location', value: 'weights.bin' }
      Object.assign(tensor(graph, 'a.conv.weight'), { dataLocation: 1, externalData: [entry] })
    }),
    /a\.conv\.weight lies in the external data file "weights\.bin", which is not beside the model/,
  ],
  'a linear network': [
    changed((_, graph) => {
      graph.node = [
        { opType: 'Flatten', input: ['image'], output: ['flat'] },
        { opType: 'Gemm', input: ['flat', 'wide'], output: [graph.output[0]!.name!] },
      ]
      graph.initializer = [
        { name: 'wide', dims: [192, 2], dataType: 1, rawData: new Uint8Array(192 * 2 * 4) },
      ]
    }),
    /No slot can be opened: wide \(its input is one vector an image\)/,
  ],
}

for (const [what, [bytes, message]] of Object.entries(refusals)) {
  t.test(what, async (t) => {
    await t.rejects(build(bytes), { name: 'BackboneError', message })
  })
}

t.test('options that do not fit the backbone', async (t) => {
  const bytes = small().onnx()
  await t.rejects(build(bytes, { height: 9 }), { message: /fixed height of 8, not 9.*--height/ })
  await t.rejects(build(bytes, { resize: 7 }), {
    message: /7 pixels is too small for a crop of 8x8.*--resize/,
  })
  await t.rejects(build(bytes, { labels: ['one'] }), { message: /2 classes, but there are 1 labels/ })
  await t.rejects(build(bytes, { name: 'a/b' }), { name: 'FamilyError', message: /name/ })
  await t.rejects(build(bytes, { labels: ['a', 'a'] }), { message: /duplicate|twice/i })
  for (const design of ['bn', 'feature'] as const)
    await t.rejects(build(bytes, { design, rank: 4 }), { message: /has no matrices: leave --rank out/ })
  await t.rejects(build(bytes, { design: 'feature', open: /a/ }), {
    message: /opens no slots: leave --open out/,
  })
})

t.test('weights that overflow fp16 are refused, and stored as float32 without the option', async (t) => {
  const net = new Network(8)
  const x = net.conv('wide', 'image', [3, 64])
  if (net.layers[0]?.op === 'conv') net.layers[0].weight[5] = 1e5
  net.linear('head', net.vector(x), [64, 2])
  await t.rejects(build(net.onnx(), { fp16: true }), {
    name: 'BackboneError',
    message: /wide\.weight cannot be stored as fp16.*100000.*without --fp16/,
  })
  t.ok(await build(net.onnx()))
})

t.test('data of every storage is read alike', (t) => {
  const plain = loadModel(small().onnx()).constants.get('a.conv.weight')!
  const values = Array.from(new Float32Array(new Uint8Array(plain.bytes).buffer))
  const typed = changed((_, graph) => {
    const weight = tensor(graph, 'a.conv.weight')
    weight.rawData = new Uint8Array()
    weight.floatData = values
  })
  t.same([...loadModel(typed).constants.get('a.conv.weight')!.bytes], [...plain.bytes])
  const outside = changed((_, graph) => {
    const weight = tensor(graph, 'a.conv.weight')
    weight.rawData = new Uint8Array()
    weight.dataLocation = onnx.TensorProto.DataLocation.EXTERNAL
    weight.externalData = [
      { key: 'location', value: 'weights.bin' },
      { key: 'offset', value: '16' },
      { key: 'length', value: '432' },
    ]
  })
  const file = new Uint8Array(16 + 432)
  file.set(plain.bytes, 16)
  const read = (location: string) => (location === 'weights.bin' ? file : undefined)
  t.same([...loadModel(outside, read).constants.get('a.conv.weight')!.bytes], [...plain.bytes])
  t.throws(() => loadModel(outside, () => file.subarray(0, 100)), {
    message: /needs bytes 16 to 448 of "weights\.bin", which has 100.*truncated/,
  })
  t.end()
})
