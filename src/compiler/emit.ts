/**
 * Writes the family's graph: the backbone with its slots opened, behind uint8 pixels and in front of the
 * feature vector. The contract of inputs and outputs is `family/layout.ts`.
 *
 * How one slot is written is `emitSlot`, and nothing else depends on it.
 */
import { AFFINE, type BankLayout, bankLayout, FEATURES, MATRIX_ROW, PIXELS, ROW } from '../family/layout.js'
import type { Graph } from './graph.js'
import type { Features } from './head.js'
import { FLOAT, FLOAT16, INT64, intAttribute, intsAttribute, type Model, UINT8 } from './onnx.js'
import type { Shapes } from './shapes.js'
import type { Grid, OpenSlot } from './slots.js'
import { Writer } from './writer.js'

export interface EmitOptions {
  /** Element type of the bank the graph reads. */
  bank: 'f32' | 'f16'
  /** Store large weights as float16; they are cast once, when the session is made. */
  fp16: boolean
  height: number
  width: number
  /** The backbone takes `[N, H, W, 3]`. */
  channelsLast: boolean
}

/** The trunk as a model. The graphs of both bank types have the same weights, byte for byte. */
export function emitTrunk(
  graph: Graph,
  shapes: Shapes,
  open: readonly OpenSlot[],
  features: Features,
  options: EmitOptions,
): Model {
  const layout = bankLayout({ slots: open.map((entry) => entry.slot) })
  const writer = new Writer(graph, new Map(features.flatten ? [] : [[features.value, FEATURES]]))
  const bank = readBank(writer, layout, options.bank)
  emitInput(writer, graph.input.name, bank, options.channelsLast)

  const slots = new Map(open.map((entry) => [entry.conv ?? entry.norm!, entry]))
  const absorbed = new Set(open.flatMap((entry) => (entry.conv && entry.norm ? [entry.norm] : [])))
  for (const node of graph.nodes) {
    const entry = slots.get(node)
    if (entry) emitSlot(writer, bank, shapes, entry)
    else if (!absorbed.has(node)) writer.copy(node)
  }
  if (features.flatten) writer.add('Flatten', [features.value], [intAttribute('axis', 1)], FEATURES)
  if (options.fp16) writer.halve()

  const element = options.bank === 'f16' ? FLOAT16 : FLOAT
  return {
    irVersion: Math.max(graph.irVersion, 7),
    opset: graph.opset,
    nodes: writer.nodes,
    constants: writer.constants,
    inputs: [
      { name: PIXELS, type: UINT8, dims: ['N', options.height, options.width, 3] },
      { name: ROW, type: INT64, dims: ['N'] },
      { name: MATRIX_ROW, type: INT64, dims: ['M'] },
      { name: AFFINE, type: element, dims: ['R', layout.affine] },
      ...layout.matrices.map(({ input, rows, columns }) => ({
        name: input,
        type: element,
        dims: ['R', rows, columns],
      })),
    ],
    outputs: [{ name: FEATURES, type: FLOAT, dims: ['N', features.size] }],
    values: [],
    producer: 'facet',
    metadata: [],
    doc: '',
  }
}

/** The values of a batch's samples, gathered from the bank. */
interface Bank {
  /** `[N, 3, 1, 1]` */
  inputScale: string
  inputShift: string
  /** Per slot `[N, C, 1, 1]`. */
  affine: Map<string, { scale: string; bias: string }>
  /** Writes the gather of a slot's matrix `[M, out, columns]` and returns its name; M is 1 or N. */
  matrix(slot: string): string
}

/** Gathers all scales and biases at once and cuts them into slots. */
function readBank(writer: Writer, layout: BankLayout, dtype: 'f32' | 'f16'): Bank {
  const gather = (input: string, rows: string, output: string) => {
    if (dtype === 'f32') return writer.add('Gather', [input, rows], [intAttribute('axis', 0)], output)
    const half = writer.add('Gather', [input, rows], [intAttribute('axis', 0)], `${output}_half`)
    return writer.cast(half, FLOAT, output)
  }
  const rows = gather(AFFINE, ROW, 'facet/affine')
  const spread = writer.add(
    'Reshape',
    [rows, writer.ints([0, layout.affine, 1, 1])],
    [],
    'facet/affine_spread',
  )
  const parts = [
    { name: 'facet/input/scale', size: 3 },
    { name: 'facet/input/shift', size: 3 },
    ...layout.slots.flatMap(({ slot }) => [
      { name: `facet/${slot.name}/scale`, size: slot.out },
      { name: `facet/${slot.name}/bias`, size: slot.out },
    ]),
  ]
  writer.split(
    spread,
    1,
    parts.map((part) => part.size),
    parts.map((part) => part.name),
  )
  const affine = layout.slots.map(({ slot: { name } }) => {
    return [name, { scale: `facet/${name}/scale`, bias: `facet/${name}/bias` }] as const
  })
  return {
    inputScale: parts[0]!.name,
    inputShift: parts[1]!.name,
    affine: new Map(affine),
    matrix: (slot) => gather(`matrix.${slot}`, MATRIX_ROW, `facet/${slot}/matrix`),
  }
}

/** Pixels to the backbone's normalised input, with each sample's own mean and deviation. */
function emitInput(writer: Writer, input: string, bank: Bank, channelsLast: boolean): void {
  const order = intsAttribute('perm', [0, 3, 1, 2])
  const planar = writer.add('Transpose', [PIXELS], [order], 'facet/input/planar')
  const values = writer.cast(planar, FLOAT, 'facet/input/values')
  const scaled = writer.add('Mul', [values, bank.inputScale], [], 'facet/input/scaled')
  if (!channelsLast) {
    writer.add('Add', [scaled, bank.inputShift], [], input)
    return
  }
  const shifted = writer.add('Add', [scaled, bank.inputShift], [], 'facet/input/shifted')
  writer.add('Transpose', [shifted], [intsAttribute('perm', [0, 2, 3, 1])], input)
}

/** `y = scale * z + matrix · v + bias`, per sample (design: section 2). */
function emitSlot(writer: Writer, bank: Bank, shapes: Shapes, entry: OpenSlot): void {
  const { slot, conv, norm } = entry
  const at = (part: string) => `facet/${slot.name}/${part}`
  let { scale, bias } = bank.affine.get(slot.name)!
  if (!conv) {
    // A normalisation of vectors takes [N, C].
    if (shapes.get(entry.output)?.length === 2) {
      scale = writer.add('Reshape', [scale, writer.ints([0, slot.out])], [], at('scale_flat'))
      bias = writer.add('Reshape', [bias, writer.ints([0, slot.out])], [], at('bias_flat'))
    }
    const scaled = writer.add('Mul', [norm!.inputs[0]!, scale], [], at('scaled'))
    writer.add('Add', [scaled, bias], [], entry.output)
    return
  }
  const z = writer.add('Conv', conv.inputs.slice(0, 2), conv.attributes, at('z'))
  const scaled = writer.add('Mul', [z, scale], [], at('scaled'))
  if (entry.v === 'none') {
    writer.add('Add', [scaled, bias], [], entry.output)
    return
  }
  const v = entry.v === 'z' ? z : sample(writer, conv.inputs[0]!, entry.grid, at('v'))
  const flat = writer.add('Reshape', [v, writer.ints([0, slot.columns, -1])], [], at('v_flat'))
  const product = writer.add('MatMul', [bank.matrix(slot.name), flat], [], at('product'))
  const [height, width] = (shapes.get(conv.outputs[0]!) ?? []).slice(2)
  const shape =
    typeof height === 'number' && typeof width === 'number'
      ? writer.ints([0, slot.out, height, width])
      : writer.add('Shape', [z], [], at('shape'))
  const adapted = writer.add('Reshape', [product, shape], [], at('adapted'))
  const sum = writer.add('Add', [scaled, adapted], [], at('sum'))
  writer.add('Add', [sum, bias], [], entry.output)
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
