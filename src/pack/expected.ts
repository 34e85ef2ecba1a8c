/**
 * Which tensors a pack of a family may hold, by name: the shared knowledge of reader and writer.
 */
import type { FamilyManifest, Slot } from '../manifest/manifest.js'

export const HEAD_WEIGHT = 'head.weight'
export const HEAD_BIAS = 'head.bias'

const slotParts = ['scale', 'bias', 'matrix'] as const
export type SlotPart = (typeof slotParts)[number]

export interface ExpectedTensor {
  slot: Slot
  part: SlotPart
  shape: number[]
}

export function tensorName(slot: Slot, part: SlotPart): string {
  return `${slot.name}.${part}`
}

/** Every slot tensor of the family, matrices only where the slot takes one. */
export function expectedTensors(family: Pick<FamilyManifest, 'slots'>): Map<string, ExpectedTensor> {
  const expected = new Map<string, ExpectedTensor>()
  for (const slot of family.slots) {
    for (const part of slotParts) {
      if (part === 'matrix' && slot.columns === 0) continue
      const shape = part === 'matrix' ? [slot.out, slot.columns] : [slot.out]
      expected.set(tensorName(slot, part), { slot, part, shape })
    }
  }
  return expected
}
