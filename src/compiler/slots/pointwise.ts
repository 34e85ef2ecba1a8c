/** 1x1 convolutions as slots. */
import { normBehind } from './batch-norm.js'
import { isConvolution, mergeConvolution, openConvolution } from './convolution.js'
import { compressConvolution, placeOfConvolution } from './convolution-basis.js'
import type { SlotBuilder } from './kind.js'

export const pointwise: SlotBuilder = {
  matches: (graph, node) => isConvolution(graph, node, ({ kernel }) => kernel.every((size) => size === 1)),
  takesOver: normBehind,
  namedBy: (_, { inputs }) => [inputs[1]!],
  open: (backbone, candidate) => openConvolution('pointwise', backbone, candidate),
  merge: mergeConvolution,
  compress: compressConvolution,
  matrixPlace: placeOfConvolution,
}
