/** Shape inference agrees with onnxruntime: each operator is run, and its output's shape is compared. */
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import * as ort from 'onnxruntime-node'
import t, { type Test } from 'tap'
import { openGraph } from '../src/onnx/graph.js'
import { loadModel } from '../src/onnx/onnx.js'
import { inferShapes, type Shapes } from '../src/onnx/shapes.js'
import { Random } from './random.js'

const { onnx } = onnxProto
const { AttributeType } = onnx.AttributeProto
const { DataType } = onnx.TensorProto

const BATCH = 2
const CHANNELS = 3
const HEIGHT = 9
const WIDTH = 7

type Attributes = Record<string, number | number[] | string>
/** A constant input: int64 values, or ones of a shape. */
type Constant = { ints: number[] } | { ones: number[] }

interface Step {
  op: string
  /** `x` is the image, `y0`, `y1`, ... the outputs of the steps before, '' an input left out. */
  inputs: (string | Constant)[]
  attributes?: Attributes
  outputs?: number
}

function step(op: string, inputs: Step['inputs'], attributes: Attributes = {}, outputs = 1): Step {
  return { op, inputs, attributes, outputs }
}

function attribute(name: string, value: Attributes[string]): Onnx.IAttributeProto {
  if (typeof value === 'string')
    return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) }
  if (Array.isArray(value)) return { name, type: AttributeType.INTS, ints: value }
  return { name, type: AttributeType.INT, i: value }
}

function tensor(name: string, constant: Constant): Onnx.ITensorProto {
  if ('ints' in constant) {
    const dims = [constant.ints.length]
    return { name, dims, dataType: DataType.INT64, int64Data: constant.ints }
  }
  const length = constant.ones.reduce((product, dim) => product * dim, 1)
  return { name, dims: constant.ones, dataType: DataType.FLOAT, floatData: Array(length).fill(1) }
}

/** A model of the steps, all their values among its outputs. */
function modelOf(steps: readonly Step[], opset: number, valueInfo: Onnx.IValueInfoProto[] = []) {
  const initializer: Onnx.ITensorProto[] = []
  const names: string[] = []
  const node = steps.map(({ op, inputs, attributes = {}, outputs = 1 }) => {
    const input = inputs.map((entry) => {
      if (typeof entry === 'string') return entry
      const name = `constant${initializer.length}`
      initializer.push(tensor(name, entry))
      return name
    })
    const output = Array.from({ length: outputs }, (_, index) => `y${names.length + index}`)
    names.push(...output)
    const list = Object.entries(attributes).map(([name, value]) => attribute(name, value))
    return { opType: op, input, output, attribute: list }
  })
  const image = [BATCH, CHANNELS, HEIGHT, WIDTH].map((dimValue) => ({ dimValue }))
  const type = (dim?: Onnx.TensorShapeProto.IDimension[]) => {
    return { tensorType: { elemType: DataType.FLOAT, ...(dim && { shape: { dim } }) } }
  }
  const bytes = onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ version: opset }],
    graph: {
      name: 'shapes',
      node,
      initializer,
      valueInfo,
      input: [{ name: 'x', type: type(image) }],
      output: names.map((name) => ({ name, type: type() })),
    },
  }).finish()
  return { bytes, names }
}

function inferred(bytes: Uint8Array, input: (number | null)[]): Shapes {
  return inferShapes(openGraph(loadModel(bytes)), input)
}

/** Runs the steps and compares the shape of every value, once with a free batch and once with a known one. */
async function agrees(t: Test, what: string, steps: readonly Step[], opset = 13): Promise<void> {
  const { bytes, names } = modelOf(steps, opset)
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const pixels = new Float32Array(BATCH * CHANNELS * HEIGHT * WIDTH).fill(0.5)
  const x = new ort.Tensor('float32', pixels, [BATCH, CHANNELS, HEIGHT, WIDTH])
  const found = await session.run({ x })
  const free = inferred(bytes, [null, CHANNELS, HEIGHT, WIDTH])
  const known = inferred(bytes, [BATCH, CHANNELS, HEIGHT, WIDTH])
  for (const name of names) {
    const dims = [...found[name]!.dims]
    t.same(known.get(name), dims, `${what}: ${name}`)
    const open = free.get(name) ?? []
    t.same(
      open.map((dim, axis) => dim ?? dims[axis]),
      dims,
      `${what}: ${name}, any batch`,
    )
    t.ok(open.filter((dim) => dim === null).length <= 1, `${what}: ${name}, only the batch is open`)
  }
}

const kernel = (...sizes: number[]): Constant => ({ ones: [4, CHANNELS, ...sizes] })
const vector = (length: number): Constant => ({ ones: [length] })

const cases: Record<string, Step[]> = {
  'a convolution': [step('Conv', ['x', kernel(3, 3)])],
  'a convolution with strides, pads and dilations': [
    step('Conv', ['x', kernel(3, 2)], { strides: [2, 1], pads: [1, 0, 2, 1], dilations: [2, 3] }),
  ],
  'a grouped convolution': [step('Conv', ['x', { ones: [6, 1, 3, 3] }], { group: 3 })],
  'automatic pads': [
    step('Conv', ['x', kernel(3, 3)], { auto_pad: 'SAME_UPPER', strides: [2, 3] }),
    step('Conv', ['x', kernel(3, 3)], { auto_pad: 'SAME_LOWER', strides: [2, 2] }),
    step('Conv', ['x', kernel(3, 3)], { auto_pad: 'VALID', strides: [1, 2] }),
  ],
  pools: [
    step('MaxPool', ['x'], { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 1, 1] }),
    step('MaxPool', ['x'], { kernel_shape: [3, 2], dilations: [2, 2] }),
    step('AveragePool', ['x'], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }),
    step('LpPool', ['x'], { kernel_shape: [2, 3] }),
    step('GlobalAveragePool', ['x']),
    step('GlobalMaxPool', ['x']),
    step('GlobalLpPool', ['x']),
  ],
  'operators that keep the shape': [
    step('Relu', ['x']),
    step('LeakyRelu', ['y0']),
    step('PRelu', ['y1', { ones: [CHANNELS, 1, 1] }]),
    step('Sigmoid', ['y2']),
    step('Clip', ['y3']),
    step('BatchNormalization', ['y4', vector(3), vector(3), vector(3), vector(3)]),
    step('InstanceNormalization', ['y5', vector(3), vector(3)]),
    step('LRN', ['y6'], { size: 3 }),
    step('Softmax', ['y7'], { axis: 1 }),
    step('Cast', ['y8'], { to: DataType.FLOAT }),
  ],
  broadcasting: [
    step('Add', ['x', { ones: [1] }]),
    step('Mul', [{ ones: [5, CHANNELS, 1, WIDTH].slice(1) }, 'x']),
    step('GlobalAveragePool', ['x']),
    step('Mul', ['x', 'y2']),
    step('Sub', ['y2', 'x']),
    step('Add', ['y2', { ones: [1, 1, 4, 1] }]),
    step('Sum', ['x', 'y2', { ones: [WIDTH] }]),
    step('Max', ['y2', { ones: [1, 1, 1, 1] }]),
  ],
  joining: [
    step('Concat', ['x', 'x'], { axis: 1 }),
    step('Concat', ['x', 'y0'], { axis: -3 }),
    step('Concat', ['x', 'x', 'x'], { axis: 3 }),
  ],
  'a pad': [step('Pad', ['x', { ints: [0, 1, 2, 0, 0, 0, 1, 3] }])],
  flattening: [-1, 0, 1, 2, 3].map((axis) => step('Flatten', ['x'], { axis })),
  reshaping: [
    step('Reshape', ['x', { ints: [0, -1] }]),
    step('Reshape', ['x', { ints: [0, CHANNELS, HEIGHT * WIDTH] }]),
    step('Reshape', ['x', { ints: [0, -1, WIDTH] }]),
    step('Reshape', ['y1', { ints: [0, 0, HEIGHT, -1] }]),
    step('Reshape', ['x', { ints: [-1, HEIGHT * WIDTH] }]),
  ],
  'axes of one': [
    step('GlobalAveragePool', ['x']),
    step('Squeeze', ['y0', { ints: [2, -1] }]),
    step('Unsqueeze', ['y1', { ints: [-1, 1] }]),
    step('Unsqueeze', ['y1', { ints: [2, 0] }]),
  ],
  reducing: [
    step('ReduceMean', ['x'], { axes: [2, 3] }),
    step('ReduceMean', ['x'], { axes: [-1, 2], keepdims: 0 }),
    step('ReduceMax', ['x'], { axes: [1], keepdims: 0 }),
    step('ReduceSum', ['x', { ints: [3] }], { keepdims: 0 }),
    step('ReduceMean', ['x']),
  ],
  transposing: [step('Transpose', ['x'], { perm: [0, 2, 3, 1] }), step('Transpose', ['x'])],
  products: [
    step('Flatten', ['x']),
    step('Gemm', ['y0', { ones: [CHANNELS * HEIGHT * WIDTH, 5] }]),
    step('Gemm', ['y0', { ones: [4, CHANNELS * HEIGHT * WIDTH] }], { transB: 1 }),
    step('MatMul', ['y0', { ones: [CHANNELS * HEIGHT * WIDTH, 6] }]),
    step('MatMul', ['x', { ones: [WIDTH, 11] }]),
  ],
  splitting: [
    step('Split', ['x', { ints: [1, 2] }], { axis: 1 }, 2),
    step('Split', ['x', { ints: [4, 3] }], { axis: -1 }, 2),
    step('Split', ['x'], { axis: 2 }, 3),
    step('Split', ['x'], {}, 2),
  ],
}

for (const [what, steps] of Object.entries(cases)) t.test(what, (t) => agrees(t, what, steps))

t.test('older operator sets, which have axes, pads and parts as attributes', async (t) => {
  const steps = [
    step('Pad', ['x'], { pads: [0, 0, 1, 2, 0, 0, 3, 0] }),
    step('GlobalAveragePool', ['x']),
    step('Squeeze', ['y1'], { axes: [2, 3] }),
    step('Unsqueeze', ['y2'], { axes: [1] }),
    step('Split', ['x'], { axis: 3, split: [5, 2] }, 2),
    step('ReduceSum', ['x'], { axes: [1, 2], keepdims: 0 }),
  ]
  await agrees(t, 'operator set 10', steps, 10)
})

t.test('operator set 18, which has the axes of a mean as an input', (t) =>
  agrees(t, 'a mean', [step('ReduceMean', ['x', { ints: [2, -1] }], { keepdims: 0 })], 18),
)

t.test('windows of any size, stride, dilation and padding, rounded down or up', async (t) => {
  const random = new Random(7)
  const two = (from: number, below: number) => [from + random.below(below), from + random.below(below)]
  for (let round = 0; round < 60; round++) {
    const kernelShape = two(1, 3)
    // onnxruntime wants pads smaller than the kernel.
    const pads = [...kernelShape, ...kernelShape].map((size) => random.below(size))
    const window = { kernel_shape: kernelShape, strides: two(1, 3), pads }
    const dilations = two(1, 2)
    const steps = [
      step('MaxPool', ['x'], { ...window, dilations, ceil_mode: random.below(2) }),
      step('AveragePool', ['x'], { ...window, ceil_mode: random.below(2) }),
      step('Conv', ['x', kernel(...kernelShape)], { strides: window.strides, pads, dilations }),
    ]
    await agrees(t, JSON.stringify({ ...window, dilations }), steps)
  }
})

/** Shapes of the values of steps that are not run. */
function shapes(
  steps: readonly Step[],
  valueInfo: Onnx.IValueInfoProto[] = [],
  height: number | null = HEIGHT,
) {
  const { bytes } = modelOf(steps, 13, valueInfo)
  return inferred(bytes, [null, CHANNELS, height, WIDTH])
}

t.test('a value that cannot be followed has no shape, and neither has what is made of it', async (t) => {
  const found = shapes([
    step('NonZero', ['x']),
    step('Relu', ['y0']),
    step('Conv', ['x', 'y0']),
    step('Gemm', ['x', 'y0']),
    step('Add', ['x', 'y0']),
    step('Concat', ['x', 'y0'], { axis: 1 }),
    step('Split', ['y0'], { axis: 1 }, 2),
    step('MatMul', ['x', 'x']),
  ])
  t.same([...found.keys()], ['x'])
})

t.test('computed sizes leave open what they decide, and no more', async (t) => {
  const found = shapes([
    step('Shape', ['x']),
    step('Pad', ['x', 'y0']),
    step('Reshape', ['x', 'y0']),
    step('Squeeze', ['x', 'y0']),
    step('Unsqueeze', ['x', 'y0']),
  ])
  t.same(found.get('y1'), [null, null, null, null], 'the number of axes of a pad is known')
  for (const name of ['y2', 'y3', 'y4']) t.equal(found.get(name), undefined, name)
})

t.test('an open height stays open, and the width is known', async (t) => {
  const steps = [
    step('Conv', ['x', kernel(3, 3)]),
    step('Concat', ['x', 'x'], { axis: 2 }),
    step('Pad', ['x', { ints: [0, 0, 1, 1, 0, 0, 1, 1] }]),
    step('Split', ['x'], { axis: 2 }, 2),
    step('Flatten', ['x']),
    step('Reshape', ['x', { ints: [0, -1] }]),
    step('Add', ['x', { ones: [1, 1, 1, WIDTH] }]),
  ]
  const found = shapes(steps, [], null)
  t.same(found.get('y0'), [null, 4, null, WIDTH - 2])
  t.same(found.get('y1'), [null, CHANNELS, null, WIDTH])
  t.same(found.get('y2'), [null, CHANNELS, null, WIDTH + 2])
  t.same(found.get('y3'), [null, CHANNELS, null, WIDTH])
  t.same(found.get('y5'), [null, null], 'flattened')
  t.same(found.get('y6'), [null, null], 'reshaped')
  t.same(found.get('y7'), [null, CHANNELS, null, WIDTH])
})

t.test('pads for another number of axes are not followed', async (t) => {
  t.equal(shapes([step('Pad', ['x', { ints: [1, 1] }])]).get('y0'), undefined)
})

t.test('a shape that the file states is kept where inference knows none', async (t) => {
  const dim = [{ dimParam: 'N' }, { dimValue: 12 }]
  const stated = ['y0', 'y1'].map((name) => ({
    name,
    type: { tensorType: { elemType: DataType.FLOAT, shape: { dim } } },
  }))
  const found = shapes([step('NonZero', ['x']), step('Relu', ['x'])], stated)
  t.same(found.get('y0'), [null, 12])
  t.same(found.get('y1'), [null, CHANNELS, HEIGHT, WIDTH], 'inference knows better')
})
