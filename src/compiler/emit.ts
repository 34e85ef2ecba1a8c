/**
 * Writes the family's graph: the backbone with its slots opened, behind uint8 pixels and in front of the
 * feature vector. The contract of inputs and outputs is `manifest/layout.ts`; how a slot is written is its
 * kind's.
 */
import { bankLayout, FEATURES, INNER_PREFIX, PIXELS } from '../manifest/layout.js'
import { type BankOptions, type BankValues, bankInputs, readBank } from './slots/bank-inputs.js'
import type { Graph } from '../onnx/graph.js'
import type { Features } from './head.js'
import { FLOAT, intAttribute, intsAttribute, type Model } from '../onnx/onnx.js'
import type { Shapes } from '../onnx/shapes.js'
import type { OpenSlot } from './slots/kind.js'
import { finishSlots } from './own-operator.js'
import { Writer } from '../onnx/writer.js'
import { innerValue } from './slots/names.js'

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

  const trunk = { writer, bank, shapes, serves: options.serves }
  const slots = new Map(open.map((entry) => [entry.nodes[0], entry]))
  const taken = new Set(open.flatMap(({ nodes }) => nodes))
  for (const node of graph.nodes) {
    const slot = slots.get(node)
    if (options.own && slot?.emitOwn) slot.emitOwn(trunk)
    else if (taken.has(node)) slot?.emit(trunk)
    else writer.copy(node)
  }
  if (features.flatten) writer.add('Flatten', [features.value], [intAttribute('axis', 1)], FEATURES)
  if (options.fp16) writer.halve()
  const nodes = options.own ? finishSlots(writer.nodes, shapes, FEATURES) : writer.nodes

  return {
    irVersion: Math.max(graph.irVersion, 7),
    opset: graph.opset,
    nodes,
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
