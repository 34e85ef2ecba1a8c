/** Normalisations as exporters decompose them: a product with a constant behind what normalises, and a sum behind it. */
import type { Graph } from '../../onnx/graph.js'
import { FLOAT, floats, type Node, type Tensor } from '../../onnx/onnx.js'

export interface Decomposed {
  /** What is scaled. */
  normalised: string
  /** The constant that scales it. */
  scale: string
  /** The sum behind that, and the constant that it adds; undefined where there is none. */
  shift: { sum: Node; bias: string } | undefined
}

/** The normalisation whose scale a node multiplies by; undefined for another node. */
export function decomposed(graph: Graph, node: Node): Decomposed | undefined {
  if (node.op !== 'Mul') return undefined
  const [normalised, scale] = apart(graph, node)
  if (normalised === undefined || scale === undefined) return undefined
  const isByRoot = isByRootMeanSquare(graph, normalised)
  if (!isByRoot && !isNormalised(graph, normalised)) return undefined
  const [sum, ...others] = graph.consumers(node.outputs[0]!)
  const [, bias] = sum?.op === 'Add' && others.length === 0 ? apart(graph, sum) : []
  if (sum && bias !== undefined && isVector(graph.constant(bias)!))
    return { normalised, scale, shift: { sum, bias } }
  // What is divided by its root mean square may be centred, as in a LayerNorm, which has a bias.
  return isByRoot ? { normalised, scale, shift: undefined } : undefined
}

/** Whether one size at most is larger than 1. */
function isVector({ dims }: Tensor): boolean {
  return dims.filter((size) => size !== 1).length <= 1
}

/** Of a node's two inputs, the one that is computed and the one that is constant. */
function apart(graph: Graph, { inputs }: Node): [string | undefined, string | undefined] {
  const [left, right] = inputs as [string, string]
  const isConstant = (name: string) => graph.constant(name)?.type === FLOAT
  if (isConstant(right) && !isConstant(left)) return [left, right]
  if (isConstant(left) && !isConstant(right)) return [right, left]
  return [undefined, undefined]
}

/** Whether a value is divided by a deviation, or comes from an InstanceNormalization over groups of channels. */
function isNormalised(graph: Graph, value: string): boolean {
  const node = graph.producer(value)
  if (node?.op === 'Div') return graph.producer(node.inputs[1]!)?.op === 'Sqrt'
  return node?.op === 'Reshape' && graph.producer(node.inputs[0]!)?.op === 'InstanceNormalization'
}

/** Whether a value is `x / sqrt(mean(x²) + eps)`, as a quotient or as a product with the reciprocal. */
function isByRootMeanSquare(graph: Graph, value: string): boolean {
  const node = graph.producer(value)
  const [left, right] = node?.inputs ?? []
  if (node?.op === 'Div') return isRootMeanSquare(graph, right!, left!)
  if (node?.op !== 'Mul') return false
  return isInverseRoot(graph, right!, left!) || isInverseRoot(graph, left!, right!)
}

/** Whether a value is `1 / sqrt(mean(x²) + eps)`. */
function isInverseRoot(graph: Graph, value: string, x: string): boolean {
  const node = graph.producer(value)
  const [left, right] = node?.inputs ?? []
  if (node?.op === 'Reciprocal') return isRootMeanSquare(graph, left!, x)
  if (node?.op === 'Pow') return isNumber(graph, right, -0.5) && isMeanSquare(graph, left!, x)
  return node?.op === 'Div' && isNumber(graph, left, 1) && isRootMeanSquare(graph, right!, x)
}

/** Whether a value is `sqrt(mean(x²) + eps)`. */
function isRootMeanSquare(graph: Graph, value: string, x: string): boolean {
  const node = graph.producer(value)
  if (node?.op === 'Pow')
    return isNumber(graph, node.inputs[1], 0.5) && isMeanSquare(graph, node.inputs[0]!, x)
  return node?.op === 'Sqrt' && isMeanSquare(graph, node.inputs[0]!, x)
}

/** Whether a value is `mean(x²) + eps`. */
function isMeanSquare(graph: Graph, value: string, x: string): boolean {
  const sum = graph.producer(value)
  const [computed] = sum?.op === 'Add' ? apart(graph, sum) : []
  const mean = computed === undefined ? undefined : graph.producer(computed)
  const square = mean?.op === 'ReduceMean' ? graph.producer(mean.inputs[0]!) : undefined
  if (square?.op === 'Pow') return square.inputs[0] === x && isNumber(graph, square.inputs[1], 2)
  return square?.op === 'Mul' && square.inputs.every((name) => name === x)
}

function isNumber(graph: Graph, name: string | undefined, number: number): boolean {
  const tensor = graph.constant(name)
  if (tensor?.type !== FLOAT) return false
  const values = floats(tensor)
  return values.length === 1 && values[0] === number
}
