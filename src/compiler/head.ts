/**
 * Where the backbone ends and its classifier begins.
 *
 * The features are the input of the last linear layer (Gemm, MatMul, or a 1x1 convolution of a pooled map)
 * before the graph's output, or the value the caller names. The linear layer becomes the base's head. A graph that ends in
 * a vector without a classifier is taken whole.
 */
import type { Activation, Head } from '../pack/pack.js'
import type { Graph } from '../onnx/graph.js'
import { BackboneError, floatOf, floats, intOf, type Node } from '../onnx/onnx.js'
import type { Shape, Shapes } from '../onnx/shapes.js'
import { transposed } from './slots/merged-weights.js'

export interface Features {
  /** The value that holds the features: `[N, F]`, or `[N, F, 1, 1]` where `flatten` is set. */
  value: string
  size: number
  flatten: boolean
  /** The backbone's own classifier; null where there is none behind the features. */
  head: Head | null
  activation: Activation
  /** Where the features were found, for people. */
  note: string
}

export interface FeaturesWanted {
  /** A node or a value of the backbone, instead of a search. */
  features?: string
  /** Labels of the backbone's classifier: it has one, then. */
  labels?: readonly string[]
}

/**
 * Finds the feature vector.
 *
 * Of several outputs, the first that is a classifier's counts, otherwise the first that is a vector. A last linear layer
 * without bias is taken for a projection, as embedding networks have it, unless there are labels for it: its output is
 * the features.
 *
 * @throws BackboneError where the name is unknown, or the features are not one vector a sample
 */
export function findFeatures(
  graph: Graph,
  shapes: Shapes,
  { features, labels }: FeaturesWanted = {},
): Features {
  if (features !== undefined) return namedFeatures(graph, shapes, features)
  const [first] = graph.outputs
  if (first === undefined) throw new BackboneError('The model has no output.')
  const outputs = [...new Set(graph.outputs)]
  const classifiers = outputs.flatMap(
    (output) => classifierAt(graph, shapes, output, labels !== undefined) ?? [],
  )
  const vector = outputs.find((output) => isVector(shapes.get(output)))
  const found =
    classifiers[0] ?? asFeatures(shapes, vector ?? first, null, 'softmax', outputNote(graph, vector ?? first))
  const others = outputs
    .filter((output) => output !== (classifiers[0]?.output ?? vector))
    .map((name) => graph.originalName(name))
  const left = others.length === 0 ? '' : `; the model's other outputs (${others.join(', ')}) are left out`
  return { ...found, note: found.note + left }
}

/** The classifier whose logits or probabilities an output holds. */
function classifierAt(
  graph: Graph,
  shapes: Shapes,
  output: string,
  isLabelled: boolean,
): (Features & { output: string }) | undefined {
  let activation: Activation = 'softmax'
  let node = graph.producer(output)
  let bias: Float32Array | undefined
  while (node) {
    const linear = linearOf(graph, shapes, node)
    if (linear) {
      if (!linear.bias && !bias && !isLabelled) return undefined
      const features = asFeatures(
        shapes,
        linear.input,
        headOf(linear, bias),
        activation,
        `before ${node.name}`,
      )
      return { ...features, output }
    }
    if (node.op === 'Add') {
      const [value, constant] = sides(graph, node)
      if (!value || !constant) return undefined
      bias = constant
      node = graph.producer(value)
    } else if (behindLogits.has(node.op)) {
      if (node.op === 'Sigmoid') activation = 'sigmoid'
      node = graph.producer(node.inputs[0]!)
    } else return undefined
  }
  return undefined
}

/** What the graph's own output is, where it is taken for the features. */
function outputNote(graph: Graph, output: string): string {
  const name = graph.originalName(output)
  const node = graph.producer(output)
  const before = node && normalisedBy(graph, node)
  if (before !== undefined)
    return `the graph's own output ${name}, vectors of length 1 (--features ${graph.originalName(before)} takes them before they are normalised)`
  if (node?.op === 'MatMul' || node?.op === 'Gemm')
    return `the graph's own output ${name}: the last linear layer has no bias, so it is no classifier (--features ${graph.originalName(node.inputs[0]!)} takes its input)`
  return `the graph's own output ${name}: no linear layer found before it (--features names another place)`
}

/** Operators on the way from a vector to its length. */
const onTheWay = new Set('Clip Expand Max Add Sqrt Pow Mul Abs Unsqueeze Reshape Cast'.split(' '))
const sums = new Set(['ReduceL2', 'ReduceSum', 'ReduceSumSquare'])

/** The vector that a node divides by its own length; undefined where it does something else. */
function normalisedBy(graph: Graph, node: Node): string | undefined {
  const [vector, divisor] = node.inputs
  if (node.op === 'LpNormalization') return vector
  if (node.op !== 'Div') return undefined
  let summed = false
  for (let at = graph.producer(divisor!); at; at = graph.producer(at.inputs[0]!)) {
    if (sums.has(at.op)) summed = true
    else if (!onTheWay.has(at.op)) return undefined
    if (at.inputs[0] === vector) return summed ? vector : undefined
  }
  return undefined
}

/** Operators that may stand between a classifier's linear layer and the graph's output. */
const behindLogits = new Set('Softmax LogSoftmax Sigmoid Flatten Reshape Squeeze ArgMax TopK'.split(' '))

interface Linear {
  node: Node
  input: string
  classes: number
  size: number
  /** `[classes, size]` */
  weight: Float32Array
  bias: Float32Array | undefined
}

function namedFeatures(graph: Graph, shapes: Shapes, name: string): Features {
  const node = graph.nodes.find((entry) => entry.name === name)
  const value = node?.outputs[0] ?? graph.nameOf(name)
  if (!node && !graph.producer(value)) {
    const ends = graph.nodes.slice(-8).map((entry) => entry.name)
    throw new BackboneError(
      `The graph has no node and no value named ${name} (Identity, Dropout and Constant nodes do not count). Its last nodes are: ${ends.join(', ')}.`,
    )
  }
  const found = linearBehind(graph, shapes, value)
  return asFeatures(shapes, value, found?.head ?? null, found?.activation ?? 'softmax', `named ${name}`)
}

/** The linear layer that alone reads the value, with an Add behind it if there is one. */
function linearBehind(
  graph: Graph,
  shapes: Shapes,
  value: string,
): { head: Head; activation: Activation } | undefined {
  const [next, ...others] = graph.consumers(value)
  if (!next || others.length > 0) return undefined
  if (next.op === 'Flatten' || next.op === 'Squeeze' || next.op === 'Reshape')
    return linearBehind(graph, shapes, next.outputs[0]!)
  const linear = linearOf(graph, shapes, next)
  if (!linear) return undefined
  let bias: Float32Array | undefined
  let last = next
  const after = graph.consumers(next.outputs[0]!)
  if (after.length === 1 && after[0]!.op === 'Add') {
    bias = sides(graph, after[0]!)[1]
    last = after[0]!
  }
  const end = graph.consumers(last.outputs[0]!)[0]
  const activation = end?.op === 'Sigmoid' ? 'sigmoid' : 'softmax'
  // Behind a classifier comes the graph's output, directly or through what usually follows logits. Otherwise
  // the layer is one of an MLP.
  if (end ? !behindLogits.has(end.op) : !graph.outputs.includes(last.outputs[0]!)) return undefined
  return { head: headOf(linear, bias), activation }
}

function linearOf(graph: Graph, shapes: Shapes, node: Node): Linear | undefined {
  const input = node.inputs[0]!
  if (node.op === 'Gemm') {
    const weight = graph.weights(node.inputs[1], 2)
    if (!weight || intOf(node, 'transA', 0) === 1) return undefined
    const isTurned = intOf(node, 'transB', 0) === 1
    const [rows, columns] = weight.dims as [number, number]
    const [classes, size] = isTurned ? [rows, columns] : [columns, rows]
    const values = isTurned ? floats(weight) : transposed(floats(weight), rows, columns)
    const alpha = floatOf(node, 'alpha', 1)
    const beta = floatOf(node, 'beta', 1)
    const bias = graph.constant(node.inputs[2])
    return {
      node,
      input,
      classes,
      size,
      weight: values.map((value) => alpha * value),
      bias: bias && spread(floats(bias), classes)?.map((value) => beta * value),
    }
  }
  if (node.op === 'MatMul') {
    const weight = graph.weights(node.inputs[1], 2)
    if (!weight || shapes.get(input)?.length !== 2) return undefined
    const [size, classes] = weight.dims as [number, number]
    return { node, input, classes, size, weight: transposed(floats(weight), size, classes), bias: undefined }
  }
  if (node.op === 'Conv') {
    const weight = graph.weights(node.inputs[1], 4)
    if (!weight || !isPooled(shapes.get(input)) || intOf(node, 'group', 1) !== 1) return undefined
    const [classes, size, height, width] = weight.dims as [number, number, number, number]
    if (height !== 1 || width !== 1) return undefined
    const bias = graph.constant(node.inputs[2])
    return { node, input, classes, size, weight: floats(weight), bias: bias && floats(bias) }
  }
  return undefined
}

function headOf(linear: Linear, added: Float32Array | undefined): Head {
  const bias = new Float32Array(linear.classes)
  for (const part of [linear.bias, added]) {
    if (!part) continue
    const values = spread(part, linear.classes)
    if (!values)
      throw new BackboneError(
        `The classifier ${linear.node.name} has ${linear.classes} outputs, but its bias has ${part.length} values.`,
      )
    for (let index = 0; index < bias.length; index++) bias[index]! += values[index]!
  }
  return { classes: linear.classes, weight: linear.weight, bias }
}

function asFeatures(
  shapes: Shapes,
  value: string,
  head: Head | null,
  activation: Activation,
  note: string,
): Features {
  const shape = shapes.get(value)
  const size = shape?.[1]
  if (typeof size !== 'number' || !isVector(shape)) {
    if (!shape)
      throw new BackboneError(
        `The value ${value} is no feature vector: it has another number of dimensions for one image than for several. Where a squeeze() without a dimension makes it, name the dimension, or use flatten(1), and export the network again.`,
      )
    const found = `[${shape.map((dim) => dim ?? 'N').join(', ')}]`
    const remedy =
      shape[0] === null
        ? 'Name a node behind the global pooling with --features.'
        : 'N is the number of images: export the model with a free batch size, or name another node with --features.'
    throw new BackboneError(
      `The value ${value} is no feature vector: its shape is ${found}, not [N, F]. ${remedy}`,
    )
  }
  return { value, size, flatten: isPooled(shape), head, activation, note }
}

/** Whether a shape is one vector a sample: `[N, F]` or `[N, F, 1, 1]`. */
function isVector(shape: Shape | undefined): boolean {
  return shape?.[0] === null && typeof shape[1] === 'number' && (shape.length === 2 || isPooled(shape))
}

/** Whether a shape is `[N, F, 1, 1]`. */
function isPooled(shape: Shape | undefined): boolean {
  return shape?.length === 4 && shape[2] === 1 && shape[3] === 1
}

/** The two inputs of an Add where one is constant: the other's name, and the constant's values. */
function sides(graph: Graph, node: Node): [string | undefined, Float32Array | undefined] {
  const [left, right] = node.inputs as [string, string]
  const constant = graph.constant(right) ?? graph.constant(left)
  const value = graph.constant(right) ? left : right
  return constant && constant.type === 1 ? [value, floats(constant)] : [undefined, undefined]
}

function spread(values: Float32Array, count: number): Float32Array | undefined {
  if (values.length === count) return values
  return values.length === 1 ? new Float32Array(count).fill(values[0]!) : undefined
}
