/** Convolutions with a kernel larger than 1x1, grouped ones too, as slots. */
import { AFFINE, partInput, ROW } from '../../manifest/layout.js'
import type { Slot } from '../../manifest/manifest.js'
import { intAttribute, intsAttribute, intsOf } from '../../onnx/onnx.js'
import { normBehind } from './batch-norm.js'
import { mergeConvolution, type OpenedConvolution, openConvolution } from './convolution.js'
import { compressConvolution, placeOfConvolution } from './convolution-basis.js'
import type { Grid } from './grid.js'
import type { SlotBuilder, TrunkWriter } from './kind.js'
import { OWN_DOMAIN, SLOT_OPERATOR } from './names.js'

export const conv: SlotBuilder = {
  // Also what is no convolution that a slot can be made of, so that opening it says why.
  matches: (_, { op }) => op === 'Conv',
  takesOver: normBehind,
  namedBy: (_, { inputs }) => [inputs[1]!],
  open: (backbone, candidate) => openConvolution('conv', backbone, candidate, ownOperator),
  merge: mergeConvolution,
  compress: compressConvolution,
  matrixPlace: placeOfConvolution,
}

/** Channels in the widest vector of a processor: the operator writes whole vectors. */
const VECTOR_CHANNELS = 16

/** What writes the slot as one node of Facet's own operator, where that computes such a slot. */
function ownOperator({
  slot,
  node,
  series,
  group,
  grid,
  output,
}: OpenedConvolution): ((trunk: TrunkWriter) => void) | undefined {
  const dilated = (intsOf(node, 'dilations') ?? []).some((dilation) => dilation !== 1)
  const fits = group === 1 && !dilated && slot.out % VECTOR_CHANNELS === 0 && slot.rank === undefined
  if (!grid || !fits || series) return undefined
  const pads = padsOf(slot, grid)
  if (pads.some((pad) => pad < 0)) return undefined
  // It reads its row of the bank itself.
  return ({ writer, bank }) => {
    const matrix = slot.columns > 0 ? partInput(slot.name, 'matrix') : ''
    const attributes = [
      intsAttribute('strides', [...slot.stride]),
      intsAttribute('pads', pads),
      intAttribute('scale', bank.place(slot.name, 'scale')),
      intAttribute('bias', bank.place(slot.name, 'bias')),
      intAttribute('relu', 0),
    ]
    const inputs = [...node.inputs.slice(0, 2), ROW, AFFINE, matrix, '']
    writer.addOwn(OWN_DOMAIN, SLOT_OPERATOR, inputs, attributes, output)
  }
}

/** The zeros around the input: in front of both axes, then behind. */
function padsOf({ kernel }: Slot, { begin, end }: Grid): number[] {
  return [begin, end].flatMap((drops) => drops.map((drop, axis) => (kernel[axis]! - 1) / 2 - drop))
}
