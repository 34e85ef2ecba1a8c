/**
 * What the kinds of convolution have in common: convolutions of four dimensions as slots, with the BatchNorm behind them
 * if they have one.
 */
import type { Kind, Slot } from '../../manifest/manifest.js'
import type { Graph } from '../../onnx/graph.js'
import {
  BackboneError,
  floats,
  intOf,
  intsAttribute,
  intsOf,
  type Node,
  type Tensor,
} from '../../onnx/onnx.js'
import type { Shapes } from '../../onnx/shapes.js'
import { slotValue } from './names.js'
import { affineOf, withConvBias } from './batch-norm.js'
import { allocate } from './choice.js'
import { emitSample, type Grid, gridOf } from './grid.js'
import {
  type Backbone,
  batchProblem,
  type Candidate,
  type ClosedSlot,
  closed,
  type MergeWriter,
  type OpenSlot,
  type TrunkWriter,
} from './kind.js'
import { mergedWeights, readMatrix } from './merged-weights.js'

/** What the weights of a convolution say of its form. */
export interface Form {
  in: number
  out: number
  group: number
  kernel: [number, number]
}

/** The form of a convolution with constant weights of four dimensions; undefined for another. */
export function formOf(graph: Graph, node: Node): Form | undefined {
  const weight = graph.weights(node.inputs[1], 4)
  if (!weight) return undefined
  const [out, perGroup, height, width] = weight.dims as [number, number, number, number]
  const group = intOf(node, 'group', 1)
  return { in: perGroup * group, out, group, kernel: [height, width] }
}

/** Whether a node is a convolution of such a form. */
export function isConvolution(graph: Graph, node: Node, fits: (form: Form) => boolean): boolean {
  if (node.op !== 'Conv') return false
  const form = formOf(graph, node)
  return form !== undefined && fits(form)
}

/** A slot that is being opened, for what is written in its place. */
export interface OpenedConvolution {
  slot: Slot
  node: Node
  series: boolean
  group: number
  /** Undefined where the windows have no centre: there is no matrix then. */
  grid: Grid | undefined
  /** The graph makes a domain's own weights of the frozen ones, instead of a product beside the layer. */
  merges: boolean
  output: string
}

/**
 * Opens a convolution.
 *
 * @param own writes the slot as a node of Facet's own operator; undefined where that computes no such slot
 * @throws BackboneError where weights or bias are no constants
 */
export function openConvolution(
  kind: Kind,
  { graph, shapes, choice }: Backbone,
  candidate: Candidate,
  own?: (opened: OpenedConvolution) => ((trunk: TrunkWriter) => void) | undefined,
): OpenSlot | ClosedSlot {
  const { node, name, next } = candidate
  const { weight, bias } = weightsOf(graph, node)
  const { group, kernel, out, in: channels } = formOf(graph, node)!
  const sizes = shapes.get(node.inputs[0]!)?.slice(2)
  const grid = gridOf(node, kernel, sizes)
  const noCentre = choice.design === 'parallel' && typeof grid === 'string' ? grid : undefined
  const isPooled = sizes?.length === 2 && sizes.every((size) => size === 1)
  const isFolded = !next && bias !== undefined && !isPooled
  const allocation =
    noCentre !== undefined && kind !== 'depthwise' && choice.pattern?.test(name)
      ? noCentre
      : allocate(choice, {
          name,
          kind,
          in: channels,
          out,
          normalised: next ? 'behind' : isFolded ? 'folded' : undefined,
          noMatrix: kind === 'depthwise' ? `group ${group}` : noCentre,
          unusualMatrix: isPooled ? 'its input is one pixel' : group === 1 ? undefined : `group ${group}`,
        })
  if (typeof allocation === 'string') return closed(candidate, allocation, allocation === noCentre)
  const problem = batchProblem(shapes.get(node.inputs[0]!))
  if (problem !== undefined) return closed(candidate, problem, true)
  const identity = { scale: new Float32Array(out).fill(1), bias: new Float32Array(out) }
  const [strideY, strideX] = intsOf(node, 'strides') ?? [1, 1]
  const slot: Slot = {
    name,
    kind,
    in: channels,
    out,
    kernel,
    stride: [strideY!, strideX!],
    ...allocation,
    ...(!next && bias && { relative: true }),
  }
  const opened: OpenedConvolution = {
    slot,
    node,
    series: choice.design === 'series',
    group,
    grid: typeof grid === 'string' ? undefined : grid,
    merges: group === 1 && kind === 'pointwise' && choice.design === 'parallel' && isWide(shapes, node, slot),
    output: (next ?? node).outputs[0]!,
  }
  const emitOwn = own?.(opened)
  return {
    slot,
    nodes: next ? [node, next] : [node],
    weights: [weight],
    base: { ...withConvBias(next ? affineOf(graph, next) : identity, bias) },
    emit: (trunk) => emit(trunk, opened),
    ...(emitOwn && { emitOwn }),
  }
}

/**
 * Whether a pointwise convolution with a matrix has at least as many places as channels in. Making a domain's weights then
 * costs less than it saves: products with the matrix and with the scale and a sum over all places, and turns between
 * layouts (docs/experiments/2026-11-27-weights-made-in-the-graph.md).
 */
function isWide(shapes: Shapes, { outputs }: Node, slot: Slot): boolean {
  const [height, width] = (shapes.get(outputs[0]!) ?? []).slice(2)
  const places = typeof height === 'number' && typeof width === 'number' ? height * width : 0
  return slot.columns > 0 && places >= slot.in
}

function weightsOf(graph: Graph, node: Node): { weight: Tensor; bias: Tensor | undefined } {
  const weight = graph.weights(node.inputs[1], 4)
  if (!weight)
    throw new BackboneError(
      `The weights of ${node.name} are not a constant float32 tensor of four dimensions. ` +
        'Export the network in float32, not quantised, with its weights stored as initializers.',
    )
  const bias = node.inputs[2] ? graph.weights(node.inputs[2], 1) : undefined
  if (node.inputs[2] && !bias)
    throw new BackboneError(
      `The bias of ${node.name} is not a constant float32 vector. Export it as an initializer.`,
    )
  return { weight, bias }
}

/**
 * `y = scale * z + matrix · v + bias` per sample, `z` being the convolution, and `v` its sampled input
 * (parallel) or `z` itself (series).
 */
function emit(trunk: TrunkWriter, opened: OpenedConvolution): void {
  const { slot, node, series, grid, output, merges } = opened
  const { writer, bank, serves } = trunk
  if (merges) {
    if (serves === 'one') emitMergedOfOne(trunk, opened)
    else emitMerged(trunk, opened)
    return
  }
  const at = (part: string) => slotValue(slot.name, part)
  const z = writer.add('Conv', node.inputs.slice(0, 2), node.attributes, at('z'))
  const scaled = writer.add('Mul', [z, bank.scale(slot.name)], [], at('scaled'))
  if (slot.columns === 0) {
    emitBias(trunk, slot, scaled, output)
    return
  }
  const v = series ? z : emitSample(writer, node.inputs[0]!, grid!, at('v'))
  if (serves === 'one') {
    emitOfOne(trunk, slot, v, scaled, output)
    return
  }
  const adapted = emitProduct(trunk, slot, v, z, node.outputs[0]!)
  emitBias(trunk, slot, writer.add('Add', [scaled, adapted], [], at('sum')), output)
}

/** Adds matrix and bias in the graph for one domain, which has matrices as the weights of 1x1 convolutions. */
function emitOfOne(
  { writer, bank }: TrunkWriter,
  slot: Slot,
  v: string,
  scaled: string,
  output: string,
): void {
  const at = (part: string) => slotValue(slot.name, part)
  const attributes = [intsAttribute('kernel_shape', [1, 1])]
  const whole = slot.rank === undefined
  const input = whole ? v : writer.add('Conv', [v, bank.part(slot.name, 'down')], attributes, at('within'))
  const weights = bank.part(slot.name, whole ? 'matrix' : 'up')
  // onnxruntime makes one operator of this convolution, the sum behind it and a Relu behind that.
  const adapted = writer.add('Conv', [input, weights, bank.bias(slot.name)], attributes, at('adapted'))
  writer.add('Add', [adapted, scaled], [], output)
}

/** `(scale * W + matrix) · v + bias` of each sample, W being a pointwise convolution's weights. */
function emitMerged(trunk: TrunkWriter, { slot, node, grid, output }: OpenedConvolution): void {
  const { writer, bank, shapes } = trunk
  const { name, in: channels, out, rank } = slot
  const at = (part: string) => slotValue(name, part)
  const frozen = writer.add('Reshape', [node.inputs[1]!, writer.ints([out, channels])], [], at('frozen'))
  const scale = writer.add('Reshape', [bank.scale(name), writer.ints([-1, out, 1])], [], at('scale_rows'))
  const scaled = writer.add('Mul', [frozen, scale], [], at('scaled'))
  const matrix =
    rank === undefined
      ? bank.part(name, 'matrix')
      : writer.add('MatMul', [bank.part(name, 'up'), bank.part(name, 'down')], [], at('own'))
  const weights = writer.add('Add', [scaled, matrix], [], at(WEIGHTS))
  const v = emitSample(writer, node.inputs[0]!, grid!, at('v'))
  const flat = writer.add('Reshape', [v, writer.ints([0, channels, -1])], [], at('v_flat'))
  const product = writer.add('MatMul', [weights, flat], [], at('product'))
  const [height, width] = shapes.get(node.outputs[0]!)!.slice(2) as [number, number]
  const shape = writer.ints([0, out, height, width])
  emitBias(trunk, slot, writer.add('Reshape', [product, shape], [], at('adapted')), output)
}

/** The same as one convolution, where all samples are of one domain. */
function emitMergedOfOne({ writer, bank }: TrunkWriter, { slot, node, output }: OpenedConvolution): void {
  const { name, in: channels, out, rank } = slot
  const at = (part: string) => slotValue(name, part)
  const reshaped = (value: string, dims: number[], part: string) =>
    writer.add('Reshape', [value, writer.ints(dims)], [], at(part))
  const scale = reshaped(bank.scale(name), [out, 1, 1, 1], 'scale_rows')
  const scaled = writer.add('Mul', [node.inputs[1]!, scale], [], at('scaled'))
  const product = (rank: number) => {
    const up = reshaped(bank.part(name, 'up'), [out, rank], 'up_flat')
    const down = reshaped(bank.part(name, 'down'), [rank, channels], 'down_flat')
    return reshaped(writer.add('MatMul', [up, down], [], at('own')), [out, channels, 1, 1], 'own_taps')
  }
  const matrix = rank === undefined ? bank.part(name, 'matrix') : product(rank)
  const weights = writer.add('Add', [scaled, matrix], [], at(WEIGHTS))
  writer.add('Conv', [node.inputs[0]!, weights, bank.bias(name)], node.attributes, output)
}

/** A domain's own weights, where the graph makes them. */
const WEIGHTS = 'weights'

/** `matrix · v` of each sample, with the sizes of `z`. @param original the backbone's name of `z` */
function emitProduct(trunk: TrunkWriter, slot: Slot, v: string, z: string, original: string): string {
  const { writer, bank, shapes } = trunk
  const at = (part: string) => slotValue(slot.name, part)
  let product = writer.add('Reshape', [v, writer.ints([0, slot.columns, -1])], [], at('v_flat'))
  if (slot.rank === undefined)
    product = writer.add('MatMul', [bank.part(slot.name, 'matrix'), product], [], at('product'))
  else {
    product = writer.add('MatMul', [bank.part(slot.name, 'down'), product], [], at('within'))
    product = writer.add('MatMul', [bank.part(slot.name, 'up'), product], [], at('product'))
  }
  const [height, width] = (shapes.get(original) ?? []).slice(2)
  const shape =
    typeof height === 'number' && typeof width === 'number'
      ? writer.ints([0, slot.out, height, width])
      : writer.add('Shape', [z], [], at('shape'))
  return writer.add('Reshape', [product, shape], [], at('adapted'))
}

/** Adds the bias to images `[N, C, H, W]`. */
function emitBias({ writer, bank, serves }: TrunkWriter, slot: Slot, value: string, output: string): void {
  const bias = bank.bias(slot.name)
  const spread =
    serves === 'any'
      ? bias
      : writer.add(
          'Reshape',
          [bias, writer.ints([-1, slot.out, 1, 1])],
          [],
          slotValue(slot.name, 'bias_spread'),
        )
  writer.add('Add', [value, spread], [], output)
}

/**
 * The slot as one convolution, where one can do what the slot's convolution and matrix do. The matrix of a grouped
 * convolution mixes groups, and one beside a kernel without a tap at its centre has no place in it.
 */
export function mergeConvolution(trunk: MergeWriter, slot: Slot): void {
  const { name, out, kernel } = slot
  const own = slotValue(name, WEIGHTS)
  if (trunk.maker(own)) {
    mergeOwn(trunk, slot, trunk.reader(own))
    return
  }
  const { first, last } = trunk.ends(name)
  const z = trunk.maker(first.inputs[0]!)!
  const matrix = readMatrix(trunk, slot)
  const series = trunk.design === 'series'
  const hasCentre = kernel.every((size) => size % 2 === 1)
  if (matrix && (intOf(z, 'group', 1) !== 1 || !(series || hasCentre))) {
    trunk.keep(slot)
    return
  }
  const frozen = trunk.frozen(z.inputs[1]!)
  const scale = trunk.part(name, 'scale')!
  const weight = trunk.constant(
    name,
    'weight',
    frozen.dims,
    mergedWeights(slot, floats(frozen), scale, matrix, series),
  )
  const bias = trunk.constant(name, 'bias', [out], trunk.part(name, 'bias')!)
  trunk.replace(name, last, 'Conv', [z.inputs[0]!, weight, bias], z.attributes)
}

/** The same where the graph makes the weights. @param layer the convolution that reads them */
function mergeOwn(trunk: MergeWriter, slot: Slot, layer: Node): void {
  const { name, out } = slot
  const frozen = trunk.frozen(trunk.maker(slotValue(name, 'scaled'))!.inputs[0]!)
  const scale = trunk.part(name, 'scale')!
  const values = mergedWeights(slot, floats(frozen), scale, readMatrix(trunk, slot), false)
  const weight = trunk.constant(name, 'weight', frozen.dims, values)
  const bias = trunk.constant(name, 'bias', [out], trunk.part(name, 'bias')!)
  trunk.replace(name, layer, 'Conv', [layer.inputs[0]!, weight, bias], layer.attributes)
}
