/**
 * What a pack brings of its own, beside the base: it decides what its row of the bank takes.
 *
 * A domain whose pack touches no slot is served with the base's adapter and its own head. One that has scales and
 * biases alone is served with the base's matrices.
 */
import { isAffine } from '../manifest/layout.js'
import type { Head, Pack } from './pack.js'

/**
 * The adapter that a pack has itself: `none`, and it is the base's; `affine`, the affine row (scales, biases, the
 * input's normalisation), and the matrices are the base's; `whole`, matrices too.
 */
export const ownAdapters = ['none', 'affine', 'whole'] as const
export type OwnAdapter = (typeof ownAdapters)[number]

/** What a row holds of a version itself. */
export interface Extent {
  adapter: OwnAdapter
  /** Classes of its head, 0 without one. */
  classes: number
  /** The weights of its head are in half precision. */
  halfHead: boolean
}

/** Names of the parts of each slot that a pack gives, and how it has its input normalised. */
export interface Given extends Pick<Pack, 'mean' | 'std'> {
  slots: ReadonlyMap<string, readonly string[]>
}

/** What a decoded pack brings. @param base its family's own pack */
export function extentOf(pack: Pack, base: Pack): Extent {
  const { classes = 0, half } = pack.head ?? ({} as Partial<Head>)
  return { adapter: ownAdapter(givenBy(pack), base), classes, halfHead: half !== undefined }
}

/** @param base its family's own pack */
export function ownAdapter({ slots, mean, std }: Given, base: Pack): OwnAdapter {
  const ofBase = givenBy(base).slots
  for (const [slot, parts] of slots) {
    // A slot without its matrix has a zero matrix, which a base's would not be.
    const those = [...parts, ...(ofBase.get(slot) ?? [])]
    if (!those.every(isAffine)) return 'whole'
  }
  const sameInput = [...mean, ...std].every((value, at) => value === [...base.mean, ...base.std][at])
  return slots.size === 0 && sameInput ? 'none' : 'affine'
}

function givenBy({ slots, mean, std }: Pick<Pack, 'slots' | 'mean' | 'std'>): Given {
  return { slots: new Map(Array.from(slots, ([name, weights]) => [name, Object.keys(weights)])), mean, std }
}
