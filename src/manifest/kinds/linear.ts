/**
 * A linear layer with frozen weights, of each token by itself: scale and bias, and a matrix, mostly as factors, beside it
 * (parallel) or behind it (series).
 */
import { scaleAndBias, type SlotKind } from './kind.js'
import { matrixNames, matrixParts, matrixProblems } from './matrix.js'

export const linear: SlotKind = {
  extraParts: matrixNames,
  parts: (slot) => [...scaleAndBias(slot), ...matrixParts(slot, [])],
  // Scale and matrix change the values of the layer's weights and not their number. The bias is added.
  dedicatedElements: ({ out }) => out,
  problems: matrixProblems,
  window: () => '',
}
