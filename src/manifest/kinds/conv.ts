/**
 * A convolution with a kernel larger than 1x1: scale and bias, and a matrix, if any, beside it (parallel) or behind it
 * (series). As a 1x1 convolution the matrix has two more dimensions in the graph for one domain.
 */
import { scaleAndBias, type SlotKind, windowOf } from './kind.js'
import { matrixNames, matrixParts, matrixProblems } from './matrix.js'

export const conv: SlotKind = {
  extraParts: matrixNames,
  parts: (slot) => [...scaleAndBias(slot), ...matrixParts(slot, [1, 1])],
  // Scale and matrix change the values of the convolution's weights and not their number. The bias is added.
  dedicatedElements: ({ out }) => out,
  problems: matrixProblems,
  window: windowOf,
}
