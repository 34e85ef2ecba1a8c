/** A convolution of each channel by itself: scale and bias. A matrix would mix the channels that it keeps apart. */
import { scaleAndBias, type SlotKind, windowOf } from './kind.js'

export const depthwise: SlotKind = {
  extraParts: [],
  parts: scaleAndBias,
  // The scale is merged into the weights. The bias is added.
  dedicatedElements: ({ out }) => out,

  problems({ columns, rank, basis }) {
    const problems: string[] = []
    if (columns > 0) problems.push(`columns is ${columns}, but a depthwise convolution takes no matrix`)
    if (rank !== undefined) problems.push(`rank is ${rank}, but a depthwise convolution takes no matrix`)
    if (basis !== undefined) problems.push(`basis is ${basis}, but a depthwise convolution takes no matrix`)
    return problems
  },

  window: windowOf,
}
