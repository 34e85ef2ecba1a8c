/** A normalisation that stands alone: scale and bias. */
import { scaleAndBias, type SlotKind } from './kind.js'

export const norm: SlotKind = {
  extraParts: [],

  parts: scaleAndBias,

  // There is no layer to merge them into.
  dedicatedElements: ({ out }) => 2 * out,

  problems({ columns, rank, basis, in: channels, out }) {
    const problems: string[] = []
    if (channels !== out)
      problems.push(`out is ${out}, but a normalisation has as many channels out as in (${channels})`)
    if (columns > 0) problems.push(`columns is ${columns}, but a normalisation takes no matrix`)
    if (rank !== undefined) problems.push(`rank is ${rank}, but a normalisation takes no matrix`)
    if (basis !== undefined) problems.push(`basis is ${basis}, but a normalisation takes no matrix`)
    return problems
  },

  window: () => '',
}
