/**
 * The forms in which a backbone has a normalisation that stands alone, as one node or as exporters decompose it: what it
 * normalises, and the scale and bias behind that, which become the slot's. One by the root mean square has no bias: the
 * base's is zero.
 */
import type { Graph } from '../../onnx/graph.js'
import { floats, floatTensor, intOf, type Node, type Tensor } from '../../onnx/onnx.js'
import type { Shapes } from '../../onnx/shapes.js'
import type { Writer } from '../../onnx/writer.js'
import { type Affine, affineOf } from './batch-norm.js'
import { decomposed } from './norm-patterns.js'

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

/**
 * Operators that normalise the last axis, scale behind that, and add a bias if they have one. onnxruntime's name for
 * RMSNormalization, which ONNX has from operator set 23 on, is SimplifiedLayerNormalization.
 */
const ofLastAxis: ReadonlySet<string> = new Set([
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
])

/** Those of them that have no bias. */
export const withoutBias: ReadonlySet<string> = new Set(['RMSNormalization', 'SimplifiedLayerNormalization'])

/** All operators that normalise, and scale and add behind that. */
const fused: ReadonlySet<string> = new Set([...ofLastAxis, 'GroupNormalization', 'InstanceNormalization'])

function fusedForm(graph: Graph, shapes: Shapes, node: Node): NormForm | string {
  const [input, scaleName, biasName] = node.inputs as [string, string, string | undefined]
  const rank = shapes.get(input)?.length
  const isLayer = ofLastAxis.has(node.op)
  const axis = intOf(node, 'axis', -1)
  if (isLayer && axis !== -1 && axis !== (rank ?? 0) - 1) return 'it normalises more than the last axis'
  if (node.outputs.slice(1).some((name) => graph.consumers(name).length > 0))
    return 'its mean or deviation is read'
  const scale = graph.weights(scaleName, 1)
  const bias = biasName ? graph.weights(biasName, 1) : undefined
  if (!scale || (biasName && !bias)) return 'its scale and bias are not constant vectors'
  const count = scale.dims[0]!
  const size = shapes.get(input)?.at(isLayer ? -1 : 1)
  // GroupNormalization has a number for each group up to operator set 20, and for each channel from 21 on.
  const isOfGroups = node.op === 'GroupNormalization' && graph.opset < 21
  if (typeof size !== 'number' || (size !== count && !isOfGroups))
    return `it has ${count} scales for ${size ?? 'an unknown number of'} channels`
  const spread = (values: Float32Array) =>
    Float32Array.from({ length: size }, (_, channel) => values[Math.floor((channel * count) / size)]!)
  return {
    nodes: [node],
    base: { scale: spread(floats(scale)), bias: spread(bias ? floats(bias) : new Float32Array(count)) },
    channels: isLayer ? 'last' : 'second',
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

function decomposedForm(graph: Graph, shapes: Shapes, node: Node): NormForm | string {
  const { normalised, scale, shift } = decomposed(graph, node)!
  const shape = shapes.get(normalised)
  const factors = graph.constant(scale)!
  const addends = shift ? graph.constant(shift.bias)! : floatTensor(factors.dims, floats(factors).fill(0))
  const last = vectorOf(factors, addends, 0)
  const second = shape && vectorOf(factors, addends, shape.length - 2)
  const nodes: NormForm['nodes'] = shift ? [node, shift.sum] : [node]
  const form = { nodes, like: normalised, emitNormalised: () => normalised }
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
