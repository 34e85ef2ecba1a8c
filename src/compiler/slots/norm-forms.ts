/**
 * The forms in which a backbone has a normalisation that stands alone, as one node or as exporters decompose it: what it
 * normalises, and the scale and bias behind that, which become the slot's.
 */
import type { Graph } from '../../onnx/graph.js'
import { FLOAT, floats, floatTensor, intOf, type Node, type Tensor } from '../../onnx/onnx.js'
import type { Shapes } from '../../onnx/shapes.js'
import type { Writer } from '../../onnx/writer.js'
import { type Affine, affineOf } from './batch-norm.js'

export interface NormForm {
  /** The nodes that the slot stands for. */
  nodes: readonly [Node, ...Node[]]
  base: Affine
  /** Axis of the channels in its input and output: the second, or the last. */
  channels: 'second' | 'last'
  /** The value whose shape the output has. */
  like: string
  /** Writes what is scaled, unless the graph has it, and returns its name. */
  emitNormalised(writer: Writer, name: string): string
}

/** The initializer that such a slot is called by; undefined for a node that begins no normalisation. */
export function normWeights(graph: Graph, node: Node): string | undefined {
  if (node.op === 'InstanceNormalization' && isBare(graph, node)) return undefined
  if (node.op === 'BatchNormalization' || fused.has(node.op)) return node.inputs[1]
  return decomposed(graph, node)?.scale
}

/** Whether it neither scales nor adds: as a part of a GroupNorm it is written so. */
function isBare(graph: Graph, { inputs }: Node): boolean {
  const [scale, bias] = inputs.slice(1).map((name) => graph.weights(name, 1))
  const isAll = (tensor: Tensor | undefined, value: number) =>
    tensor !== undefined && floats(tensor).every((each) => each === value)
  return isAll(scale, 1) && isAll(bias, 0)
}

/**
 * The form of a normalisation, or why it cannot be a slot.
 *
 * @throws BackboneError where a BatchNorm's parameters are not constant
 */
export function normForm(graph: Graph, shapes: Shapes, node: Node): NormForm | string {
  const input = node.inputs[0]!
  const rank = shapes.get(input)?.length
  if (node.op === 'BatchNormalization') {
    if (rank !== 2 && rank !== 4)
      return `its input has ${rank ?? 'an unknown number of'} dimensions, not 2 or 4`
    const base = affineOf(graph, node)
    return { nodes: [node], base, channels: 'second', like: input, emitNormalised: () => input }
  }
  return fused.has(node.op) ? fusedForm(graph, shapes, node) : decomposedForm(graph, shapes, node)
}

/** Operators that normalise, and scale and add behind that. */
const fused: ReadonlySet<string> = new Set([
  'LayerNormalization',
  'GroupNormalization',
  'InstanceNormalization',
])

function fusedForm(graph: Graph, shapes: Shapes, node: Node): NormForm | string {
  const [input, scaleName, biasName] = node.inputs as [string, string, string | undefined]
  const rank = shapes.get(input)?.length
  const isLayer = node.op === 'LayerNormalization'
  const axis = intOf(node, 'axis', -1)
  if (isLayer && axis !== -1 && axis !== (rank ?? 0) - 1) return 'it normalises more than the last axis'
  if (node.outputs.slice(1).some((name) => graph.consumers(name).length > 0))
    return 'its mean or deviation is read'
  const scale = graph.weights(scaleName, 1)
  const bias = biasName ? graph.weights(biasName, 1) : undefined
  if (!scale || (biasName && !bias)) return 'its scale and bias are not constant vectors'
  const count = scale.dims[0]!
  const channels = isLayer ? 'last' : 'second'
  if (shapes.get(input)?.at(isLayer ? -1 : 1) !== count) return 'it has a scale for each group of channels'
  return {
    nodes: [node],
    base: { scale: floats(scale), bias: bias ? floats(bias) : new Float32Array(count) },
    channels,
    like: input,
    emitNormalised(writer, name) {
      const ones = writer.constant(`${name}_ones`, floatTensor([count], new Float32Array(count).fill(1)))
      const zeros = isLayer
        ? []
        : [writer.constant(`${name}_zeros`, floatTensor([count], new Float32Array(count)))]
      return writer.add(node.op, [input, ones, ...zeros], node.attributes, name)
    },
  }
}

/** A multiplication with a constant for each channel behind what normalises, and the sum behind it. */
interface Decomposed {
  normalised: string
  scale: string
  sum: Node
  bias: string
}

function decomposed(graph: Graph, node: Node): Decomposed | undefined {
  if (node.op !== 'Mul') return undefined
  const [normalised, scale] = apart(graph, node)
  if (normalised === undefined || scale === undefined || !isNormalised(graph, normalised)) return undefined
  const [sum, ...others] = graph.consumers(node.outputs[0]!)
  if (sum?.op !== 'Add' || others.length > 0) return undefined
  const [, bias] = apart(graph, sum)
  return bias === undefined ? undefined : { normalised, scale, sum, bias }
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

function decomposedForm(graph: Graph, shapes: Shapes, node: Node): NormForm | string {
  const { normalised, scale, sum, bias } = decomposed(graph, node)!
  const shape = shapes.get(normalised)
  const last = vectorOf(graph.constant(scale)!, graph.constant(bias)!, 0)
  const second = shape && vectorOf(graph.constant(scale)!, graph.constant(bias)!, shape.length - 2)
  const form = { nodes: [node, sum] as const, like: normalised, emitNormalised: () => normalised }
  if (last && shape?.at(-1) === last.scale.length) return { ...form, base: last, channels: 'last' }
  if (second && shape?.[1] === second.scale.length) return { ...form, base: second, channels: 'second' }
  return 'its scale and bias are not one number a channel'
}

/** Constants `[C]` with so many dimensions of size 1 behind the channels, and any in front. */
function vectorOf(scale: Tensor, bias: Tensor, behind: number): Affine | undefined {
  const fits = ({ dims }: Tensor) => {
    const at = dims.length - 1 - behind
    return at >= 0 && dims.every((size, axis) => axis === at || size === 1)
  }
  if (!fits(scale) || !fits(bias)) return undefined
  const affine = { scale: floats(scale), bias: floats(bias) }
  return affine.scale.length === affine.bias.length ? affine : undefined
}
