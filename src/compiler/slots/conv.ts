/** Convolutions of four dimensions as slots, with the BatchNorm behind them if they have one. */
import type { Design, Slot } from '../../manifest/manifest.js'
import type { Graph } from '../../onnx/graph.js'
import { AFFINE, partInput, ROW } from '../../manifest/layout.js'
import {
  BackboneError,
  intAttribute,
  intOf,
  intsAttribute,
  intsOf,
  type Node,
  type Tensor,
} from '../../onnx/onnx.js'
import { OWN_DOMAIN, SLOT_OPERATOR, slotValue } from './names.js'
import { affineOf, normBehind, withConvBias } from './batch-norm.js'
import { emitSample, type Grid, gridOf } from './grid.js'
import { type Backbone, type Candidate, closed, type SlotBuilder, type TrunkWriter } from './kind.js'

export const conv: SlotBuilder = {
  op: 'Conv',

  takesOver: normBehind,

  open(backbone, candidate) {
    const { graph, shapes, design } = backbone
    const { node, name, next } = candidate
    const { weight, bias } = weightsOf(graph, node)
    const [out, perGroup, height, width] = weight.dims as [number, number, number, number]
    const group = intOf(node, 'group', 1)
    const kernel: [number, number] = [height, width]
    const reason = unchosen(backbone, candidate, group, kernel)
    if (reason !== undefined) return closed(candidate, reason)
    const grid = gridOf(node, kernel, shapes.get(node.inputs[0]!)?.slice(2))
    if (typeof grid === 'string') return closed(candidate, grid, true)
    const channels = perGroup * group
    const identity = { scale: new Float32Array(out).fill(1), bias: new Float32Array(out) }
    const slot: Slot = {
      name,
      kind: 'conv',
      in: channels,
      out,
      kernel,
      stride: grid.step,
      columns: design === 'parallel' ? channels : design === 'series' ? out : 0,
    }
    const output = (next ?? node).outputs[0]!
    const opened = { slot, node, design, grid, output }
    return {
      slot,
      nodes: next ? [node, next] : [node],
      weights: [weight],
      base: { ...withConvBias(next ? affineOf(graph, next) : identity, bias) },
      emit: (trunk) => emit(trunk, opened),
      ...(isOwn(opened, group) && { emitOwn: (trunk) => emitOwn(trunk, opened) }),
    }
  },
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

/** Why a convolution is not among those to open; undefined where it is. */
function unchosen(
  { pattern }: Backbone,
  { name }: Candidate,
  group: number,
  kernel: readonly number[],
): string | undefined {
  if (pattern) return pattern.test(name) ? undefined : 'not named by --slots'
  if (group !== 1) return `group ${group}`
  return Math.max(...kernel) === 1 ? 'kernel 1x1' : undefined
}

interface Opened {
  slot: Slot
  node: Node
  design: Design
  grid: Grid
  output: string
}

/**
 * `y = scale * z + matrix · v + bias` per sample, `z` being the convolution, and `v` its sampled input
 * (parallel) or `z` itself (series).
 */
function emit(trunk: TrunkWriter, { slot, node, design, grid, output }: Opened): void {
  const { writer, bank, shapes, serves } = trunk
  const at = (part: string) => slotValue(slot.name, part)
  const z = writer.add('Conv', node.inputs.slice(0, 2), node.attributes, at('z'))
  const scaled = writer.add('Mul', [z, bank.scale(slot.name)], [], at('scaled'))
  if (slot.columns === 0) {
    emitBias(trunk, slot, scaled, output)
    return
  }
  const v = design === 'series' ? z : emitSample(writer, node.inputs[0]!, grid, at('v'))
  const matrix = bank.part(slot.name, 'matrix')
  if (serves === 'one') {
    // onnxruntime makes one operator of this convolution, the sum behind it and a Relu behind that.
    const attributes = [intsAttribute('kernel_shape', [1, 1])]
    const adapted = writer.add('Conv', [v, matrix, bank.bias(slot.name)], attributes, at('adapted'))
    writer.add('Add', [adapted, scaled], [], output)
    return
  }
  const flat = writer.add('Reshape', [v, writer.ints([0, slot.columns, -1])], [], at('v_flat'))
  const product = writer.add('MatMul', [matrix, flat], [], at('product'))
  const [height, width] = (shapes.get(node.outputs[0]!) ?? []).slice(2)
  const shape =
    typeof height === 'number' && typeof width === 'number'
      ? writer.ints([0, slot.out, height, width])
      : writer.add('Shape', [z], [], at('shape'))
  const adapted = writer.add('Reshape', [product, shape], [], at('adapted'))
  emitBias(trunk, slot, writer.add('Add', [scaled, adapted], [], at('sum')), output)
}

/** Channels in the widest vector of a processor: the operator writes whole vectors. */
const VECTOR_CHANNELS = 16

/** Whether Facet's own operator computes such a slot. */
function isOwn({ slot, node, design, grid }: Opened, group: number): boolean {
  const dilated = (intsOf(node, 'dilations') ?? []).some((dilation) => dilation !== 1)
  const fits = group === 1 && !dilated && slot.out % VECTOR_CHANNELS === 0
  return fits && design !== 'series' && padsOf(slot, grid).every((pad) => pad >= 0)
}

/** The zeros around the input: in front of both axes, then behind. */
function padsOf({ kernel }: Slot, { begin, end }: Grid): number[] {
  return [begin, end].flatMap((drops) => drops.map((drop, axis) => (kernel[axis]! - 1) / 2 - drop))
}

/** The slot as one node. It reads its row of the bank itself. */
function emitOwn({ writer, bank }: TrunkWriter, { slot, node, grid, output }: Opened): void {
  const matrix = slot.columns > 0 ? partInput(slot.name, 'matrix') : ''
  const attributes = [
    intsAttribute('strides', [...slot.stride]),
    intsAttribute('pads', padsOf(slot, grid)),
    intAttribute('scale', bank.place(slot.name, 'scale')),
    intAttribute('bias', bank.place(slot.name, 'bias')),
    intAttribute('relu', 0),
  ]
  const inputs = [...node.inputs.slice(0, 2), ROW, AFFINE, matrix, '']
  writer.addOwn(OWN_DOMAIN, SLOT_OPERATOR, inputs, attributes, output)
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
