/** A 1x1 convolution: as `conv`. Its matrix is as large as the layer, so it is mostly given as factors. */
import { conv } from './conv.js'
import type { SlotKind } from './kind.js'
import { matrixProblems } from './matrix.js'

export const pointwise: SlotKind = {
  ...conv,

  problems(slot, design) {
    const { kernel } = slot
    const wide = kernel.some((size) => size !== 1)
    return [
      ...(wide ? [`kernel is ${kernel.join('x')}, but a pointwise convolution has 1x1`] : []),
      ...matrixProblems(slot, design),
    ]
  },
}
