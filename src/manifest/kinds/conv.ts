/**
 * A convolution: scale and bias, and a matrix of `columns` columns, if any, beside it (parallel) or behind it
 * (series).
 */
import { scaleAndBias, type SlotKind } from './kind.js'

export const conv: SlotKind = {
  extraParts: ['matrix'],

  parts(slot) {
    const { out, columns } = slot
    if (columns === 0) return scaleAndBias(slot)
    // The graph for one domain has the matrix as the weights of a 1x1 convolution.
    const matrix = { name: 'matrix', dims: [out, columns], singleDims: [out, columns, 1, 1], optional: true }
    return [...scaleAndBias(slot), matrix]
  },

  // Scale and matrix change the values of the convolution's weights and not their number. The bias is added.
  dedicatedElements: ({ out }) => out,

  problems({ columns, in: channels, out }, design) {
    const most = design === 'parallel' ? channels : design === 'series' ? out : 0
    if (columns <= most) return []
    return [`columns is ${columns}, at most ${most} in a family of design "${design}"`]
  },

  window: ({ kernel, stride }) => `${kernel.join('x')}/${stride.join('x')}`,
}
