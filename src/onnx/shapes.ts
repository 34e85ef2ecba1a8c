/**
 * Shapes of a backbone's values: enough of ONNX shape inference for convolutional networks.
 *
 * A value whose shape it cannot infer has no entry. The batch dimension is null.
 */
import type { Graph } from './graph.js'
import { type Dim, INT64, integers, intOf, intsOf, type Node, textOf } from './onnx.js'

export type Shape = Dim[]
export type Shapes = ReadonlyMap<string, Shape>

const sameAsInput = new Set(
  `Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Elu Selu Celu Softplus Softsign Mish Gelu
   Erf Exp Log Sqrt Reciprocal Neg Abs Floor Ceil Sign Cast BatchNormalization InstanceNormalization LRN
   LpNormalization MeanVarianceNormalization GroupNormalization LayerNormalization Softmax LogSoftmax`.split(
    /\s+/,
  ),
)
const broadcasting = new Set(['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Min', 'Max', 'Sum', 'Mean'])

/** Shapes of all values that can be inferred. @param input shape of the image input, `[null, ...]` */
export function inferShapes(graph: Graph, input: Shape): Shapes {
  const shapes = new Map<string, Shape>()
  for (const value of graph.values)
    if (value.dims && value.dims.length > 0) shapes.set(value.name, value.dims)
  for (const [name, tensor] of graph.constants) shapes.set(name, tensor.dims)
  shapes.set(graph.input.name, input)
  for (const node of graph.nodes) {
    if (node.op === 'Split') {
      splitShapes(graph, node, shapes)
      continue
    }
    const shape = shapeOf(graph, node, shapes)
    // Otherwise the shape that the file states stays, if there is one.
    if (shape) shapes.set(node.outputs[0]!, shape)
  }
  return shapes
}

function shapeOf(graph: Graph, node: Node, shapes: Shapes): Shape | undefined {
  const inputs = node.inputs.map((name) => shapes.get(name))
  const x = inputs[0]
  if (!x) return undefined
  if (sameAsInput.has(node.op)) return x
  if (broadcasting.has(node.op))
    return inputs.every((shape) => shape) ? broadcast(inputs as Shape[]) : undefined
  const constantInts = (index: number): number[] | undefined => {
    const tensor = graph.constant(node.inputs[index])
    return tensor?.type === INT64 ? integers(tensor) : undefined
  }
  switch (node.op) {
    case 'Conv': {
      const weight = inputs[1]
      if (!weight) return undefined
      return [x[0]!, weight[0]!, ...windows(node, x.slice(2), weight.slice(2).map(Number))]
    }
    case 'MaxPool':
    case 'AveragePool':
    case 'LpPool':
      return [x[0]!, x[1]!, ...windows(node, x.slice(2), intsOf(node, 'kernel_shape') ?? [])]
    case 'GlobalAveragePool':
    case 'GlobalMaxPool':
    case 'GlobalLpPool':
      return [x[0]!, x[1]!, ...x.slice(2).map(() => 1)]
    case 'Concat':
      return inputs.every((shape) => shape?.length === x.length)
        ? concat(inputs as Shape[], axisOf(intOf(node, 'axis', 1), x.length))
        : undefined
    case 'Pad': {
      const pads = intsOf(node, 'pads') ?? constantInts(1)
      // Pads that are computed (PyTorch writes a subgraph for F.pad) leave the sizes open and the number of
      // axes known.
      if (!pads) return x.map(() => null)
      if (pads.length !== 2 * x.length) return undefined
      return x.map((dim, axis) => plus(dim, pads[axis]! + pads[axis + x.length]!))
    }
    case 'Flatten': {
      const axis = axisOf(intOf(node, 'axis', 1), x.length)
      return [product(x.slice(0, axis)), product(x.slice(axis))]
    }
    case 'Reshape': {
      const target = constantInts(1)
      return target && reshape(x, target)
    }
    case 'Squeeze': {
      const axes = intsOf(node, 'axes') ?? constantInts(1)
      return axes && without(x, axes)
    }
    case 'Unsqueeze': {
      const axes = intsOf(node, 'axes') ?? constantInts(1)
      if (!axes) return undefined
      const out = [...x]
      for (const axis of axes.map((axis) => axisOf(axis, x.length + axes.length)).sort((a, b) => a - b))
        out.splice(axis, 0, 1)
      return out
    }
    case 'ReduceMean':
    case 'ReduceMax':
    case 'ReduceSum': {
      const axes = intsOf(node, 'axes') ?? constantInts(1) ?? x.map((_, axis) => axis)
      const reduced = new Set(axes.map((axis) => axisOf(axis, x.length)))
      if (intOf(node, 'keepdims', 1) === 0) return without(x, [...reduced])
      return x.map((dim, axis) => (reduced.has(axis) ? 1 : dim))
    }
    case 'Transpose': {
      const order = intsOf(node, 'perm') ?? x.map((_, axis) => x.length - 1 - axis)
      return order.map((axis) => x[axis]!)
    }
    case 'Gemm': {
      const weight = inputs[1]
      return weight && [x[0]!, weight[intOf(node, 'transB', 0) ? 0 : 1]!]
    }
    case 'MatMul': {
      const weight = inputs[1]
      return weight?.length === 2 && x.length >= 2 ? [...x.slice(0, -1), weight[1]!] : undefined
    }
    default:
      return undefined
  }
}

/** Output sizes of a sliding window (Conv and the pools), per axis; null where the input's size is. */
function windows(node: Node, sizes: Shape, kernel: number[]): Shape {
  const strides = intsOf(node, 'strides') ?? kernel.map(() => 1)
  const dilations = intsOf(node, 'dilations') ?? kernel.map(() => 1)
  const pads = intsOf(node, 'pads') ?? kernel.flatMap(() => [0, 0])
  const auto = textOf(node, 'auto_pad', 'NOTSET')
  const ceil = intOf(node, 'ceil_mode', 0) === 1
  return sizes.map((size, axis) => {
    if (typeof size !== 'number') return null
    const span = dilations[axis]! * (kernel[axis]! - 1) + 1
    if (auto.startsWith('SAME')) return Math.ceil(size / strides[axis]!)
    const [begin, end] = auto === 'VALID' ? [0, 0] : [pads[axis]!, pads[axis + sizes.length]!]
    const steps = (size + begin + end - span) / strides[axis]!
    if (!ceil) return Math.floor(steps) + 1
    // ONNX leaves out a last window that would start in the padding.
    const last = Math.ceil(steps)
    return last * strides[axis]! >= size + begin ? last : last + 1
  })
}

function splitShapes(graph: Graph, node: Node, shapes: Map<string, Shape>): void {
  const x = shapes.get(node.inputs[0]!)
  if (!x) return
  const axis = axisOf(intOf(node, 'axis', 0), x.length)
  const given = graph.constant(node.inputs[1])
  const parts = intsOf(node, 'split') ?? (given ? integers(given) : undefined)
  const size = x[axis]
  node.outputs.forEach((name, index) => {
    const even = typeof size === 'number' ? size / node.outputs.length : null
    shapes.set(name, x.with(axis, parts?.[index] ?? (Number.isInteger(even) ? even : null)))
  })
}

function broadcast(shapes: Shape[]): Shape {
  const rank = Math.max(...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) => {
    const dims = shapes.map((shape) => {
      const index = axis - (rank - shape.length)
      return index < 0 ? 1 : shape[index]!
    })
    const large = dims.find((dim) => typeof dim === 'number' && dim > 1)
    return large ?? (dims.every((dim) => dim === 1) ? 1 : null)
  })
}

function concat(shapes: Shape[], axis: number): Shape {
  const sum = shapes.reduce<Dim>((total, shape) => {
    const dim = shape[axis]
    return typeof total === 'number' && typeof dim === 'number' ? total + dim : null
  }, 0)
  return shapes[0]!.with(axis, sum)
}

function reshape(x: Shape, target: number[]): Shape {
  const out: Shape = target.map((dim, axis) => (dim === 0 ? x[axis]! : dim))
  const free = out.indexOf(-1)
  if (free < 0) return out
  // Where both shapes begin with the free batch, the other sizes must have the same product.
  const from = out[0] === null ? x.slice(1) : x
  const to = out.filter((_, axis) => axis !== free && !(axis === 0 && out[0] === null))
  const total = product(from)
  const rest = product(to)
  return out.with(
    free,
    typeof total === 'number' && typeof rest === 'number' && rest > 0 ? total / rest : null,
  )
}

function product(dims: Shape): Dim {
  return dims.reduce<Dim>(
    (total, dim) => (typeof total === 'number' && typeof dim === 'number' ? total * dim : null),
    1,
  )
}

function without(x: Shape, axes: number[]): Shape {
  const dropped = new Set(axes.map((axis) => axisOf(axis, x.length)))
  return x.filter((_, axis) => !dropped.has(axis))
}

function plus(dim: Dim, amount: number): Dim {
  return typeof dim === 'number' ? dim + amount : null
}

function axisOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis
}
