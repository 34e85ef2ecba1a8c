/**
 * Writes the family's graph: the backbone with its slots opened, behind uint8 pixels and in front of the
 * feature vector. The contract of inputs and outputs is `manifest/layout.ts`.
 *
 * How one slot is written is `emitSlot`, and nothing else depends on it.
 */
import { bankLayout, FEATURES, INNER_PREFIX, PIXELS } from '../manifest/layout.js'
import type { Serves } from '../manifest/manifest.js'
import { type BankOptions, type BankValues, bankInputs, readBank } from './bank-inputs.js'
import type { Graph } from '../onnx/graph.js'
import type { Features } from './head.js'
import { FLOAT, intAttribute, intsAttribute, type Model } from '../onnx/onnx.js'
import type { Shapes } from '../onnx/shapes.js'
import type { Grid, OpenSlot } from './slots.js'
import { Writer } from '../onnx/writer.js'
import { innerValue, slotValue } from './names.js'

export interface EmitOptions extends BankOptions {
  /** Store large weights as float16; they are cast once, when the session is made. */
  fp16: boolean
  height: number
  width: number
  /** The backbone takes `[N, H, W, 3]`. */
  channelsLast: boolean
}

/** The trunk as a model. All graphs of a family have the same weights, byte for byte. */
export function emitTrunk(
  graph: Graph,
  shapes: Shapes,
  open: readonly OpenSlot[],
  features: Features,
  options: EmitOptions,
): Model {
  const layout = bankLayout({ slots: open.map((entry) => entry.slot) })
  const writer = new Writer(
    graph,
    INNER_PREFIX,
    new Map(features.flatten ? [] : [[features.value, FEATURES]]),
  )
  const bank = readBank(writer, layout, options)
  emitInput(writer, graph.input.name, bank, options.channelsLast)

  const slots = new Map(open.map((entry) => [entry.conv ?? entry.norm!, entry]))
  const absorbed = new Set(open.flatMap((entry) => (entry.conv && entry.norm ? [entry.norm] : [])))
  for (const node of graph.nodes) {
    const entry = slots.get(node)
    if (entry) emitSlot(writer, bank, shapes, entry, options.serves)
    else if (!absorbed.has(node)) writer.copy(node)
  }
  if (features.flatten) writer.add('Flatten', [features.value], [intAttribute('axis', 1)], FEATURES)
  if (options.fp16) writer.halve()

  return {
    irVersion: Math.max(graph.irVersion, 7),
    opset: graph.opset,
    nodes: writer.nodes,
    constants: writer.constants,
    inputs: bankInputs(layout, options, options.height, options.width),
    outputs: [{ name: FEATURES, type: FLOAT, dims: ['N', features.size] }],
    values: [],
    producer: 'facet',
    metadata: [],
    doc: '',
  }
}

/** Pixels to the backbone's normalised input, with each sample's own mean and deviation. */
function emitInput(writer: Writer, input: string, bank: BankValues, channelsLast: boolean): void {
  const order = intsAttribute('perm', [0, 3, 1, 2])
  const planar = writer.add('Transpose', [PIXELS], [order], innerValue('input/planar'))
  const values = writer.cast(planar, FLOAT, innerValue('input/values'))
  const scaled = writer.add('Mul', [values, bank.inputScale], [], innerValue('input/scaled'))
  if (!channelsLast) {
    writer.add('Add', [scaled, bank.inputShift], [], input)
    return
  }
  const shifted = writer.add('Add', [scaled, bank.inputShift], [], innerValue('input/shifted'))
  writer.add('Transpose', [shifted], [intsAttribute('perm', [0, 2, 3, 1])], input)
}

/** `y = scale * z + matrix · v + bias`, per sample (design: section 2). */
function emitSlot(writer: Writer, bank: BankValues, shapes: Shapes, entry: OpenSlot, serves: Serves): void {
  const { slot, conv, norm } = entry
  const at = (part: string) => slotValue(slot.name, part)
  let scale = bank.scale(slot.name)
  /** Vectors keep one axis, images three, behind the samples'. */
  const spread = (value: string, axes: 1 | 3, name: string) =>
    writer.add('Reshape', [value, writer.ints([-1, slot.out, ...(axes === 3 ? [1, 1] : [])])], [], at(name))
  const addBias = (value: string, axes: 1 | 3) => {
    const bias = bank.bias(slot.name)
    const fits = serves === 'any' && axes === 3
    writer.add('Add', [value, fits ? bias : spread(bias, axes, 'bias_spread')], [], entry.output)
  }
  if (!conv) {
    // A normalisation of vectors takes [N, C].
    const axes = shapes.get(entry.output)?.length === 2 ? 1 : 3
    if (axes === 1) scale = spread(scale, axes, 'scale_flat')
    addBias(writer.add('Mul', [norm!.inputs[0]!, scale], [], at('scaled')), axes)
    return
  }
  const z = writer.add('Conv', conv.inputs.slice(0, 2), conv.attributes, at('z'))
  const scaled = writer.add('Mul', [z, scale], [], at('scaled'))
  if (entry.v === 'none') {
    addBias(scaled, 3)
    return
  }

  const v = entry.v === 'z' ? z : sample(writer, conv.inputs[0]!, entry.grid, at('v'))
  const matrix = bank.matrix(slot.name)
  if (serves === 'one') {
    // onnxruntime makes one operator of this convolution, the sum behind it and a Relu behind that.
    const attributes = [intsAttribute('kernel_shape', [1, 1])]
    const adapted = writer.add('Conv', [v, matrix, bank.bias(slot.name)], attributes, at('adapted'))
    writer.add('Add', [adapted, scaled], [], entry.output)
    return
  }
  const flat = writer.add('Reshape', [v, writer.ints([0, slot.columns, -1])], [], at('v_flat'))
  const product = writer.add('MatMul', [matrix, flat], [], at('product'))
  const [height, width] = (shapes.get(conv.outputs[0]!) ?? []).slice(2)
  const shape =
    typeof height === 'number' && typeof width === 'number'
      ? writer.ints([0, slot.out, height, width])
      : writer.add('Shape', [z], [], at('shape'))
  const adapted = writer.add('Reshape', [product, shape], [], at('adapted'))
  addBias(writer.add('Add', [scaled, adapted], [], at('sum')), 3)
}

/** The input of a convolution where its windows have their centres; positions outside are zero. */
function sample(writer: Writer, x: string, { begin, end, step }: Grid, output: string): string {
  const some = (values: readonly number[]) => values.some((value) => value > 0)
  const zeros = [begin, end].map((drops) => drops.map((drop) => Math.max(-drop, 0))) as [number[], number[]]
  const drops = [begin, end].map((drops) => drops.map((drop) => Math.max(drop, 0))) as [number[], number[]]
  const padded = some(zeros.flat())
  const strided = Math.max(...step) > 1
  if (padded && strided) {
    // onnxruntime merges a Pad into a pool right behind it, and a pool does not pad with zeros: a row and a
    // column too many, cropped again, keep the two apart.
    for (const amounts of [zeros[1], drops[1]]) for (const axis of [0, 1]) amounts[axis]! += 1
  }
  let v = x
  if (padded) v = writer.pad(v, zeros[0], zeros[1], `${output}_padded`)
  if (some(drops.flat())) v = writer.crop(v, drops[0], drops[1], `${output}_cropped`)
  if (strided) v = writer.stride(v, step, output)
  return v
}
