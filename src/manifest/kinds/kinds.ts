/** The kinds of slot by name. Whoever has a slot asks these functions and does not look at its kind. */
import type { Kind, Slot } from './slot.js'
import { conv } from './conv.js'
import { depthwise } from './depthwise.js'
import type { SlotKind, SlotPart } from './kind.js'
import { linear } from './linear.js'
import { norm } from './norm.js'
import { pointwise } from './pointwise.js'

const kinds: Record<Kind, SlotKind> = { depthwise, pointwise, conv, linear, norm }

/** The kind of a slot. */
export function kindOf({ kind }: Slot): SlotKind {
  return kinds[kind]
}

/** The tensors a pack may give for a slot, `scale` and `bias` first. */
export function slotParts(slot: Slot): SlotPart[] {
  return kindOf(slot).parts(slot)
}

/** Names of all parts beside `scale` and `bias` that any kind has. */
export const extraParts: readonly string[] = [
  ...new Set(Object.values(kinds).flatMap((kind) => kind.extraParts)),
]

/** Numbers in a tensor of this shape. */
export function elementsOf(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1)
}

/** Numbers in a full adapter: every part of every slot. */
export function adapterElements(slots: readonly Slot[]): number {
  return slots.flatMap(slotParts).reduce((sum, { dims }) => sum + elementsOf(dims), 0)
}
