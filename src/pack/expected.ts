/**
 * Which tensors a pack of a family may hold, by name: the shared knowledge of reader and writer.
 */
import type { SlotPart } from '../manifest/kinds/kind.js'
import { slotParts } from '../manifest/kinds/kinds.js'
import type { FamilyManifest, Slot } from '../manifest/manifest.js'

export const HEAD_WEIGHT = 'head.weight'
export const HEAD_BIAS = 'head.bias'

export interface ExpectedTensor {
  slot: Slot
  part: SlotPart
}

/** The name in a pack of a part of a slot. */
export function tensorName(slot: string, part: string): string {
  return `${slot}.${part}`
}

/** Every slot tensor of the family, slots in the manifest's order. */
export function expectedTensors(family: Pick<FamilyManifest, 'slots'>): Map<string, ExpectedTensor> {
  const tensors = family.slots.flatMap((slot) => slotParts(slot).map((part) => ({ slot, part })))
  return new Map(tensors.map((tensor) => [tensorName(tensor.slot.name, tensor.part.name), tensor]))
}
