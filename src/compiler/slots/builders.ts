/** The kinds of slot by name, for building. */
import { type Kind, slotKinds } from '../../manifest/kinds/slot.js'
import { conv } from './conv.js'
import { depthwise } from './depthwise.js'
import type { SlotBuilder } from './kind.js'
import { linear } from './linear.js'
import { norm } from './norm.js'
import { pointwise } from './pointwise.js'

const byKind: Record<Kind, SlotBuilder> = { depthwise, pointwise, conv, linear, norm }

/** In the order in which a node is offered to them. */
export const builders: readonly SlotBuilder[] = slotKinds.map((kind) => byKind[kind])

/** The builder of a kind. */
export function builderOf(kind: Kind): SlotBuilder {
  return byKind[kind]
}
