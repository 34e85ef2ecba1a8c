/**
 * Backbones as exporters write them open: whatever computes shapes, constants, normalisations and class tokens, the
 * family gives the backbone's own features.
 */
import t from 'tap'
import { runModel } from '../src/commands/run-model.js'
import { openBackbone } from '../src/compiler/open.js'
import { checkedBuild } from './checked-build.js'
import { OnnxGraph } from './graphs.js'
import { build } from './trunk.js'

const EPSILON = 1e-6
const WIDTH = 16
const HEADS = 2
const SIZE = 8
const PATCH = 4
const TOKENS = (SIZE / PATCH) ** 2 + 1

/** LayerNorm of the last axis: one operator from operator set 17 on, nine before. */
function layerNorm(graph: OnnxGraph, x: string, name: string): string {
  const scale = graph.weight(`${name}.weight`, [WIDTH], 0.3, 1)
  const bias = graph.weight(`${name}.bias`, [WIDTH], 0.3)
  if (graph.opset >= 17)
    return graph.add('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: EPSILON })
  const mean = (value: string) => graph.add('ReduceMean', [value], { axes: [-1] })
  const centred = graph.add('Sub', [x, mean(x)])
  const variance = mean(graph.add('Pow', [centred, graph.floats([2], [])]))
  const deviation = graph.add('Sqrt', [graph.add('Add', [variance, graph.floats([EPSILON], [])])])
  return graph.add('Add', [graph.add('Mul', [graph.add('Div', [centred, deviation]), scale]), bias])
}

function gelu(graph: OnnxGraph, x: string): string {
  if (graph.opset >= 20) return graph.add('Gelu', [x])
  const erf = graph.add('Erf', [graph.add('Div', [x, graph.floats([Math.SQRT2], [])])])
  const product = graph.add('Mul', [x, graph.add('Add', [erf, graph.floats([1], [])])])
  return graph.add('Mul', [product, graph.floats([0.5], [])])
}

function linear(graph: OnnxGraph, x: string, name: string, [from, to]: [number, number]): string {
  const product = graph.add('MatMul', [x, graph.weight(`${name}.weight`, [from, to], 0.4)])
  return graph.add('Add', [graph.weight(`${name}.bias`, [to], 0.3), product])
}

interface Style {
  opset?: number
  half?: boolean
  /** As exported for one image: sizes are in constants. */
  fixed?: boolean
}

/** A vision transformer of one block: tokens from chains of shapes, a class token, attention with a fused QKV. */
function transformer({ opset = 17, half = false, fixed = false }: Style): {
  graph: OnnxGraph
  features: string
} {
  const graph = new OnnxGraph({ opset, half })
  const patches = graph.add(
    'Conv',
    [
      'image',
      graph.weight('patch.weight', [WIDTH, 3, PATCH, PATCH], 0.2),
      graph.weight('patch.bias', [WIDTH]),
    ],
    { kernel_shape: [PATCH, PATCH], strides: [PATCH, PATCH] },
  )
  /** Sizes of a value, as exporters compute them. */
  const sizes = (value: string, ...rest: (number | 'batch')[]) => {
    const batch = () =>
      graph.add('Unsqueeze', [
        graph.add('Gather', [graph.add('Shape', [value]), graph.int(0)]),
        graph.ints(0),
      ])
    if (fixed) return graph.ints(...rest.map((size) => (size === 'batch' ? 1 : size)))
    return graph.add(
      'Concat',
      rest.map((size) => (size === 'batch' ? batch() : graph.ints(size))),
      { axis: 0 },
    )
  }
  const flat = graph.add('Reshape', [patches, sizes(patches, 'batch', WIDTH, TOKENS - 1)])
  const tokens = graph.add('Transpose', [flat], { perm: [0, 2, 1] })
  const token = graph.weight('class_token', [1, 1, WIDTH])
  const spread = fixed ? token : graph.add('Expand', [token, sizes(tokens, 'batch', 1, WIDTH)])
  // The table of positions is computed from a constant.
  const table = graph.add('Transpose', [graph.weight('positions', [1, WIDTH, TOKENS])], { perm: [0, 2, 1] })
  let x = graph.add('Add', [graph.add('Concat', [spread, tokens], { axis: 1 }), table])

  const qkv = linear(graph, layerNorm(graph, x, 'norm1'), 'qkv', [WIDTH, 3 * WIDTH])
  const parts = graph.add('Reshape', [qkv, sizes(qkv, 'batch', TOKENS, 3, HEADS, WIDTH / HEADS)])
  const turned = graph.add('Transpose', [parts], { perm: [2, 0, 3, 1, 4] })
  const [q, k, v] = [0, 1, 2].map((part) => graph.add('Gather', [turned, graph.int(part)], { axis: 0 }))
  const keys = graph.add('Transpose', [k!], { perm: [0, 1, 3, 2] })
  const weights = graph.add(
    'Softmax',
    [graph.add('Mul', [graph.add('MatMul', [q!, keys]), graph.floats([(WIDTH / HEADS) ** -0.5], [])])],
    { axis: -1 },
  )
  const mixed = graph.add('Transpose', [graph.add('MatMul', [weights, v!])], { perm: [0, 2, 1, 3] })
  const joined = graph.add('Reshape', [mixed, sizes(mixed, 'batch', TOKENS, WIDTH)])
  x = graph.add('Add', [x, linear(graph, joined, 'proj', [WIDTH, WIDTH])])
  const hidden = gelu(graph, linear(graph, layerNorm(graph, x, 'norm2'), 'fc1', [WIDTH, 2 * WIDTH]))
  x = layerNorm(graph, graph.add('Add', [x, linear(graph, hidden, 'fc2', [2 * WIDTH, WIDTH])]), 'norm')
  return { graph, features: graph.add('Gather', [x, graph.int(0)], { axis: 1 }) }
}

function withHead({ graph, features }: ReturnType<typeof transformer>, batch: number | string): Uint8Array {
  const weight = graph.weight('head.weight', [5, WIDTH])
  graph.add('Gemm', [features, weight, graph.weight('head.bias', [5])], { transB: 1 }, 'logits')
  return graph.onnx(['logits'], [batch, 3, SIZE, SIZE])
}

for (const opset of [13, 17, 20]) {
  t.test(`a transformer of operator set ${opset} opens, for any number of images`, async (t) => {
    const { family, difference } = await checkedBuild(t, withHead(transformer({ opset }), 'N'))
    t.match(family.manifest, { features: WIDTH, slots: [], parameters: { head: 5 * WIDTH + 5 } })
    t.ok(difference <= 1e-5, `features differ by ${difference}`)
  })
}

t.test('an export for one image is freed, its class token too', async (t) => {
  const { difference } = await checkedBuild(t, withHead(transformer({ fixed: true }), 1))
  t.ok(difference <= 1e-5, `features differ by ${difference}`)
})

t.test('an export for one image whose batch is inside other sizes is refused', async (t) => {
  const rows = (graph: OnnxGraph) => graph.add('Reshape', ['image', graph.ints(3, SIZE * SIZE)])
  const refused = (graph: OnnxGraph, output: string, message: RegExp) =>
    t.rejects(build(graph.onnx([output], [1, 3, SIZE, SIZE]), { design: 'feature' }), {
      name: 'BackboneError',
      message,
    })
  const fails = new OnnxGraph()
  const product = fails.add('Mul', [rows(fails), fails.weight('weight', [3, SIZE * SIZE])])
  await refused(
    fails,
    product,
    /batches of 1 and of 3 images.*onnxruntime says: .*export it with a free batch/,
  )
  const mixes = new OnnxGraph()
  const turned = mixes.add('Transpose', [rows(mixes)], { perm: [1, 0] })
  await refused(mixes, turned, /shape is \[64, 3N\], not \[N, F\].*free batch/)
})

t.test('a file in half precision opens in float32, without its casts', async (t) => {
  const bytes = withHead(transformer({ half: true }), 'N')
  const { family, difference } = await checkedBuild(t, bytes)
  t.ok(difference <= 1e-2, `features differ by ${difference}`)
  t.match(family.notes, [/half precision/])
  const opened = await openBackbone(bytes, {}, runModel)
  t.notOk(opened.graph.nodes.some(({ op }) => op === 'Cast'))
})

t.test('shapes are known, of the batch and of its multiples, and chains of them are gone', async (t) => {
  const { graph, features } = transformer({})
  const rows = graph.add('Reshape', [features, graph.ints(-1, WIDTH / 2)])
  const vector = graph.add('Reshape', [graph.add('Relu', [rows]), graph.ints(-1, WIDTH)])
  const { shapes, graph: opened } = await openBackbone(
    graph.onnx([vector], ['N', 3, SIZE, SIZE]),
    {},
    runModel,
  )
  const shapeOf = (op: string, at = 0) =>
    shapes.get(opened.nodes.filter((node) => node.op === op).at(at)!.outputs[0]!)
  t.same(shapeOf('Conv'), [null, WIDTH, 2, 2])
  t.same(shapeOf('Concat', -1), [null, TOKENS, WIDTH])
  t.same(shapeOf('Softmax'), [null, HEADS, TOKENS, TOKENS])
  t.same(shapes.get(rows), ['2N', WIDTH / 2])
  t.same(shapes.get(vector), [null, WIDTH])
  // One chain is left: the class token is spread to the batch's size.
  t.equal(opened.nodes.filter(({ op }) => op === 'Shape').length, 1)
  t.equal(opened.nodes.filter(({ op }) => op === 'Reshape').length, 5)
})

/** A block with squeeze and excitation, hard-swish, and a depthwise convolution. */
function squeezed(weights: (graph: OnnxGraph, name: string, dims: number[]) => string) {
  const graph = new OnnxGraph({ opset: 13 })
  const conv = (x: string, name: string, dims: [number, number, number, number], attributes = {}) =>
    graph.add('Conv', [x, weights(graph, `${name}.weight`, dims), graph.weight(`${name}.bias`, [dims[0]])], {
      kernel_shape: dims.slice(2),
      ...attributes,
    })
  const swish = (x: string) =>
    graph.add('Mul', [x, graph.add('HardSigmoid', [x], { alpha: 1 / 6, beta: 0.5 })])
  const stem = swish(conv('image', 'stem', [8, 3, 3, 3], { pads: [1, 1, 1, 1] }))
  const depth = swish(conv(stem, 'depth', [8, 1, 3, 3], { group: 8, pads: [0, 0, 1, 1], strides: [2, 2] }))
  const pooled = graph.add('ReduceMean', [depth], { axes: [2, 3] })
  const gate = graph.add('Sigmoid', [
    conv(graph.add('Relu', [conv(pooled, 'down', [2, 8, 1, 1])]), 'up', [8, 2, 1, 1]),
  ])
  const x = conv(graph.add('Mul', [gate, depth]), 'point', [12, 8, 1, 1])
  const vector = graph.add('Flatten', [graph.add('GlobalAveragePool', [x])])
  const head = [vector, graph.weight('head.weight', [4, 12]), graph.weight('head.bias', [4])]
  graph.add('Gemm', head, { transB: 1 }, 'logits')
  return graph.onnx(['logits'], ['N', 3, 16, 16])
}

t.test('squeeze and excitation, hard-swish and asymmetric pads open', async (t) => {
  const bytes = squeezed((graph, name, dims) => graph.weight(name, dims))
  const { difference } = await checkedBuild(t, bytes, { design: 'parallel' })
  t.ok(difference <= 1e-5, `features differ by ${difference}`)
})

t.test('standardised weights are computed once, and slots are called by what they were', async (t) => {
  const standardised = squeezed((graph, name, dims) => {
    const weight = graph.weight(name, dims)
    const mean = graph.add('ReduceMean', [weight], { axes: [1, 2, 3] })
    const centred = graph.add('Sub', [weight, mean])
    const squares = graph.add('ReduceMean', [graph.add('Mul', [centred, centred])], { axes: [1, 2, 3] })
    return graph.add('Div', [centred, graph.add('Sqrt', [graph.add('Add', [squares, graph.floats([1e-4])])])])
  })
  const { family, difference } = await checkedBuild(t, standardised, { design: 'parallel' })
  t.ok(difference <= 1e-5, `features differ by ${difference}`)
  t.match(family.manifest.slots, [{ name: 'stem' }])
  const plain = await build(squeezed((graph, name, dims) => graph.weight(name, dims)))
  t.not(family.manifest.weights, plain.manifest.weights, 'another network than without')
  t.equal((await build(standardised)).manifest.weights, family.manifest.weights, 'the same each time')
})

t.test('zeros around an image are in front of a maximum, not left out of it', async (t) => {
  const graph = new OnnxGraph()
  const below = graph.add('Sub', [graph.add('Sigmoid', ['image']), graph.floats([2], [])])
  const padded = graph.add('Pad', [below, graph.ints(0, 0, 1, 1, 0, 0, 1, 1)])
  const pooled = graph.add('MaxPool', [padded], { kernel_shape: [3, 3], strides: [2, 2] })
  const vector = graph.add('Flatten', [graph.add('GlobalAveragePool', [pooled])], {}, 'vector')
  const { difference } = await checkedBuild(t, graph.onnx([vector], ['N', 3, SIZE, SIZE]))
  t.ok(difference <= 1e-5, `features differ by ${difference}`)
})
