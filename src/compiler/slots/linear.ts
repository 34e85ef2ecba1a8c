/**
 * Linear layers with constant weights as slots: MatMul with the bias behind it, or Gemm. Several projections in one layer
 * (queries, keys and values) are one slot.
 */
import type { Slot } from '../../manifest/manifest.js'
import type { Graph } from '../../onnx/graph.js'
import { floatOf, floats, intOf, intsAttribute, type Node, type Tensor } from '../../onnx/onnx.js'
import type { Writer } from '../../onnx/writer.js'
import { allocate } from './choice.js'
import { type CompressWriter, type GraphView, type MatrixPlace, slotNode } from './compress.js'
import { closed, type MergeWriter, type SlotBuilder, type TrunkWriter } from './kind.js'
import { mergedWeights, readMatrix, transposed } from './merged-weights.js'
import { slotValue } from './names.js'
import { fromSamples, type Tokens, tokensOf, toSamples } from './tokens.js'

/** A linear layer of a graph. */
interface Layer {
  weight: Tensor
  in: number
  out: number
}

/** The layer that a node is; undefined for another node. */
export function layerOf(graph: Graph, node: Node): Layer | undefined {
  const isGemm = node.op === 'Gemm' && intOf(node, 'transA', 0) === 0
  if (!isGemm && node.op !== 'MatMul') return undefined
  const weight = graph.weights(node.inputs[1], 2)
  if (!weight || graph.constant(node.inputs[0])) return undefined
  const [rows, columns] = weight.dims as [number, number]
  const [channels, out] = isTransposed(node) ? [columns, rows] : [rows, columns]
  return { weight, in: channels, out }
}

/** Whether the weights are `[out, in]`. */
function isTransposed(node: Node): boolean {
  return node.op === 'Gemm' && intOf(node, 'transB', 0) === 1
}

export const linear: SlotBuilder = {
  matches: (graph, node) => layerOf(graph, node) !== undefined,

  takesOver(graph, node) {
    const [next, ...others] = graph.consumers(node.outputs[0]!)
    if (node.op !== 'MatMul' || next?.op !== 'Add' || others.length > 0) return undefined
    return addedBias(graph, next, layerOf(graph, node)!.out) && next
  },

  // Exporters turn a layer's weights round and leave them without a name; its bias keeps the layer's.
  namedBy: (graph, node, next) => [
    node.inputs[1]!,
    ...(next?.inputs ?? node.inputs.slice(2)).filter((name) => graph.constant(name)),
  ],

  open({ graph, shapes, choice, batchOf }, candidate) {
    const { node, name, next } = candidate
    const { weight, in: channels, out } = layerOf(graph, node)!
    const input = node.inputs[0]!
    const tokens = tokensOf(shapes, input, batchOf(input))
    const unreadable = typeof tokens === 'string' ? tokens : biasProblem(graph, node, out)
    const isVector = shapes.get(input)?.length === 2 && shapes.get(input)![0] === null
    const allocation = allocate(choice, {
      name,
      kind: 'linear',
      in: channels,
      out,
      normalised: undefined,
      unusualMatrix: isVector ? 'its input is one vector an image' : undefined,
    })
    if (typeof allocation === 'string') return closed(candidate, allocation)
    if (typeof tokens === 'string' || unreadable !== undefined) return closed(candidate, unreadable!, true)
    const slot: Slot = {
      name,
      kind: 'linear',
      in: channels,
      out,
      kernel: [1, 1],
      stride: [1, 1],
      ...allocation,
    }
    const opened: Opened = {
      slot,
      node,
      tokens,
      series: choice.design === 'series',
      output: (next ?? node).outputs[0]!,
    }
    return {
      slot,
      nodes: next ? [node, next] : [node],
      weights: [weight],
      base: { scale: new Float32Array(out).fill(1), bias: biasOf(graph, node, next, out) },
      emit: (trunk) => (trunk.serves === 'one' ? emitOfOne(trunk, opened) : emit(trunk, opened)),
    }
  },

  merge,
  compress,
  matrixPlace,
}

/** The constant vector `[out]` that an Add behind a layer adds. */
function addedBias(graph: Graph, add: Node, out: number): Tensor | undefined {
  const found = add.inputs.map((name) => graph.constant(name)).find((tensor) => tensor !== undefined)
  const isVector = found?.dims.at(-1) === out && found.dims.slice(0, -1).every((size) => size === 1)
  return isVector && found.type === 1 ? found : undefined
}

/** Why the bias of a Gemm cannot be a slot's. */
function biasProblem(graph: Graph, node: Node, out: number): string | undefined {
  if (node.op === 'MatMul') return undefined
  if (graph.opset < 11) return `a Gemm of operator set ${graph.opset}`
  const bias = graph.constant(node.inputs[2])
  const isVector = bias?.type === 1 && bias.dims.at(-1) === out && bias.bytes.byteLength === 4 * out
  return node.inputs[2] && !isVector ? 'its bias is not a constant vector' : undefined
}

function biasOf(graph: Graph, node: Node, next: Node | undefined, out: number): Float32Array {
  if (next) return floats(addedBias(graph, next, out)!)
  const bias = node.op === 'Gemm' ? graph.constant(node.inputs[2]) : undefined
  const beta = floatOf(node, 'beta', 1)
  return bias ? floats(bias).map((value) => beta * value) : new Float32Array(out)
}

interface Opened {
  slot: Slot
  node: Node
  tokens: Tokens
  series: boolean
  output: string
}

/**
 * `y = scale * z + matrix · v + bias` for each token of a sample, `z` being the frozen layer, and `v` its input (parallel)
 * or `z` itself (series).
 */
function emit({ writer, bank }: TrunkWriter, { slot, node, tokens, series, output }: Opened): void {
  const { name, in: channels, out } = slot
  const at = (part: string) => slotValue(name, part)
  const spread = (value: string, part: string) =>
    writer.add('Reshape', [value, writer.ints([-1, 1, out])], [], at(part))
  const frozen = writer.add(node.op, node.inputs.slice(0, 2), node.attributes, at('z'))
  const z = toSamples(writer, frozen, tokens, out, at('z_tokens'))
  let sum = writer.add('Mul', [z, spread(bank.scale(name), 'scale_last')], [], at('scaled'))
  if (slot.columns > 0) {
    const v = series ? z : toSamples(writer, node.inputs[0]!, tokens, channels, at('v'))
    sum = writer.add('Add', [sum, emitProduct(writer, slot, v, [0, 2, 1], bank)], [], at('sum'))
  }
  const bias = spread(bank.bias(name), 'bias_last')
  fromSamples(writer, tokens, out, at('tokens'), output, (made) => writer.add('Add', [sum, bias], [], made))
}

/** The same where all samples are of one domain: wherever the batch is, all tokens are treated alike. */
function emitOfOne({ writer, bank }: TrunkWriter, { slot, node, series, output }: Opened): void {
  const { name, out } = slot
  const at = (part: string) => slotValue(name, part)
  const z = writer.add(node.op, node.inputs.slice(0, 2), node.attributes, at('z'))
  const scale = writer.add('Reshape', [bank.scale(name), writer.ints([out])], [], at('scale_last'))
  const scaled = writer.add('Mul', [z, scale], [], at('scaled'))
  let added = bank.bias(name)
  if (slot.columns > 0) {
    const product = emitProduct(writer, slot, series ? z : node.inputs[0]!, [1, 0], bank)
    added = writer.add('Add', [product, added], [], at('adapted'))
  }
  writer.add('Add', [scaled, added], [], output)
}

/** `matrix · v` of tokens. @param turn the order of a matrix's axes that swaps rows and columns */
function emitProduct(
  writer: Writer,
  { name, rank }: Slot,
  v: string,
  turn: number[],
  bank: TrunkWriter['bank'],
): string {
  const at = (part: string) => slotValue(name, part)
  const times = (value: string, part: string, output: string) => {
    const turned = writer.add(
      'Transpose',
      [bank.part(name, part)],
      [intsAttribute('perm', turn)],
      at(`${part}_turned`),
    )
    return writer.add('MatMul', [value, turned], [], at(output))
  }
  if (rank === undefined) return times(v, 'matrix', 'product')
  return times(times(v, 'down', 'within'), 'up', 'product')
}

/** The matrix as `up · basis`, of each token. */
function compress(trunk: CompressWriter, slot: Slot): void {
  const { name, columns, rank, basis } = slot
  const product = trunk.maker(slotValue(name, 'product'))
  const first = rank === undefined ? product : trunk.maker(slotValue(name, 'within'))
  const turned = (part: string, value: string, order: number[]) =>
    slotNode(slot, part, 'Transpose', [value], { attributes: [intsAttribute('perm', order)] })
  const down = turned('basis_turned', trunk.basis(slot, [basis!, columns]), [1, 0])
  const onBasis = slotNode(slot, 'on_basis', 'MatMul', [first.inputs[0]!, down.outputs[0]!])
  const up = turned('up_of_basis', trunk.up(slot), trunk.serves === 'one' ? [1, 0] : [0, 2, 1])
  const output = product.outputs[0]!
  const adapted = slotNode(slot, 'product', 'MatMul', [onBasis.outputs[0]!, up.outputs[0]!], { output })
  trunk.replace(product, down, onBasis, up, adapted)
}

function matrixPlace(graph: GraphView, { name, rank }: Slot): MatrixPlace | undefined {
  const first = graph.find(slotValue(name, rank === undefined ? 'product' : 'within'))
  const sum = graph.reader(slotValue(name, 'scaled'))
  return first && sum && { input: first.inputs[0]!, output: sum.outputs[0]!, last: true }
}

/** The slot as one layer. */
function merge(trunk: MergeWriter, slot: Slot): void {
  const { name, in: channels, out } = slot
  const { first, last } = trunk.ends(name)
  const layer = trunk.maker(first.inputs[0]!)!
  const frozen = trunk.frozen(layer.inputs[1]!)
  const isTurned = isTransposed(layer)
  const alpha = floatOf(layer, 'alpha', 1)
  const values = floats(frozen).map((value) => alpha * value)
  const rows = isTurned ? values : transposed(values, channels, out)
  const scale = trunk.part(name, 'scale')!
  const merged = mergedWeights(slot, rows, scale, readMatrix(trunk, slot), trunk.design === 'series')
  const weight = trunk.constant(
    name,
    'weight',
    frozen.dims,
    isTurned ? merged : transposed(merged, out, channels),
  )
  const bias = trunk.constant(name, 'bias', [out], trunk.part(name, 'bias')!)
  const attributes = layer.attributes.filter((attribute) => attribute.name !== 'alpha')
  trunk.replace(name, layer, layer.op, [layer.inputs[0]!, weight], attributes)
  trunk.replace(name, last, 'Add', [layer.outputs[0]!, bias], [])
}
