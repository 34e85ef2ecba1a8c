/** Convolutions of each channel by itself as slots. */
import { normBehind } from './batch-norm.js'
import { isConvolution, mergeConvolution, openConvolution } from './convolution.js'
import type { SlotBuilder } from './kind.js'

export const depthwise: SlotBuilder = {
  matches: (graph, node) =>
    isConvolution(graph, node, ({ in: channels, group }) => group > 1 && group === channels),
  takesOver: normBehind,
  namedBy: (_, { inputs }) => [inputs[1]!],
  open: (backbone, candidate) => openConvolution('depthwise', backbone, candidate),
  merge: mergeConvolution,
}
