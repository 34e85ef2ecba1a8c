/** Names of the values that the builder adds to a trunk graph; all begin with the layout's `INNER_PREFIX`. */
import { INNER_PREFIX } from '../../manifest/layout.js'

/** @param part a word, or words joined by slashes; not beginning with `slot/` */
export function innerValue(part: string): string {
  return INNER_PREFIX + part
}

/**
 * A value of one slot. Slot names may hold slashes; `part` may not, so that no two slots' values share a
 * name.
 */
export function slotValue(slot: string, part: string): string {
  return `${INNER_PREFIX}slot/${slot}/${part}`
}

/** The part of a slot that is its family's basis: a constant `[basis, columns]`, or with two more dimensions. */
export const BASIS = 'basis'

/** Facet's own operator (native/src/slot/operator.rs): its domain and its name. */
export const OWN_DOMAIN = 'facet'
export const SLOT_OPERATOR = 'Slot'
