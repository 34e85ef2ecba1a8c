/** BatchNorms that stand alone, of images `[N, C, H, W]` or vectors `[N, C]`, as slots. */
import type { Slot } from '../../manifest/manifest.js'
import type { Node } from '../../onnx/onnx.js'
import { slotValue } from './names.js'
import { affineOf } from './batch-norm.js'
import { allocate } from './choice.js'
import { closed, type MergeWriter, type SlotBuilder, type TrunkWriter } from './kind.js'

export const norm: SlotBuilder = {
  matches: (_, { op }) => op === 'BatchNormalization',

  takesOver: () => undefined,

  open({ graph, shapes, choice }, candidate) {
    const { node, name } = candidate
    const input = node.inputs[0]!
    const before = graph.producer(input)
    if (!choice.pattern && before?.op === 'Conv' && graph.consumers(input).length === 1)
      return closed(candidate, `behind ${before.name}, which stays frozen`)
    const rank = shapes.get(input)?.length
    if (rank !== 2 && rank !== 4)
      return closed(candidate, `its input has ${rank ?? 'an unknown number of'} dimensions, not 2 or 4`, true)
    const affine = affineOf(graph, node)
    const channels = affine.scale.length
    const place = { name, kind: 'norm', in: channels, out: channels, normalised: 'alone' } as const
    const allocation = allocate(choice, { ...place, noMatrix: 'a normalisation' })
    if (typeof allocation === 'string') return closed(candidate, allocation)
    const slot: Slot = {
      name,
      kind: 'norm',
      in: channels,
      out: channels,
      kernel: [1, 1],
      stride: [1, 1],
      ...allocation,
    }
    return {
      slot,
      nodes: [node],
      weights: [],
      base: { ...affine },
      emit: (trunk) => emit(trunk, slot, node),
    }
  },

  merge,
}

/** `y = scale * x + bias` per sample. */
function emit({ writer, bank, shapes, serves }: TrunkWriter, slot: Slot, node: Node): void {
  const at = (part: string) => slotValue(slot.name, part)
  const output = node.outputs[0]!
  const vectors = shapes.get(output)?.length === 2
  const spread = (value: string, name: string) =>
    writer.add('Reshape', [value, writer.ints([-1, slot.out, ...(vectors ? [] : [1, 1])])], [], at(name))
  const bankScale = bank.scale(slot.name)
  const scale = vectors ? spread(bankScale, 'scale_flat') : bankScale
  const scaled = writer.add('Mul', [node.inputs[0]!, scale], [], at('scaled'))
  const bankBias = bank.bias(slot.name)
  const bias = vectors || serves === 'one' ? spread(bankBias, 'bias_spread') : bankBias
  writer.add('Add', [scaled, bias], [], output)
}

/** The epsilon of a BatchNormalization that names none. */
const EPSILON = 1e-5

/** As a BatchNormalization, which onnxruntime runs in the layout of its convolutions. */
function merge(trunk: MergeWriter, { name, out }: Slot): void {
  const { first, last } = trunk.ends(name)
  const parts = {
    scale: trunk.part(name, 'scale')!,
    bias: trunk.part(name, 'bias')!,
    mean: new Float32Array(out),
    variance: new Float32Array(out).fill(1 - EPSILON),
  }
  const inputs = Object.entries(parts).map(([part, values]) => trunk.constant(name, part, [out], values))
  trunk.replace(name, last, 'BatchNormalization', [first.inputs[0]!, ...inputs], [])
}
