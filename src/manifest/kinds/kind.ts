/**
 * What serving needs to know of a kind of slot. How a kind is found in a backbone and written into a graph is
 * the compiler's part (`compiler/slots/kind.ts`).
 *
 * Every kind has the parts `scale` and `bias`, one number for each output channel. A kind may have further
 * parts.
 */
import type { Design, Slot } from './slot.js'

/** One tensor of a slot: `<slot>.<name>` in a pack. */
export interface SlotPart {
  name: string
  /** Shape in a pack, and in a bank row. */
  dims: readonly number[]
  /** Shape in the graph for batches of one domain. */
  singleDims: readonly number[]
  /** A pack may give the slot without its optional parts, all of them together, which then are zeros. */
  optional: boolean
}

export interface SlotKind {
  /** Names of parts beside `scale` and `bias` that slots of this kind may have. */
  extraParts: readonly string[]
  /** The parts of a slot, `scale` and `bias` first. */
  parts(slot: Slot): SlotPart[]
  /**
   * Numbers that a dedicated network of one domain has at this slot beyond the frozen weights. The adapter is
   * merged into those as far as it can be.
   */
  dedicatedElements(slot: Slot): number
  /** What is wrong with a slot of the manifest, each beginning with the field. */
  problems(slot: Slot, design: Design): string[]
  /** The slot's window for people, as `3x3/1x1` (kernel and stride); empty where it has none. */
  window(slot: Slot): string
}

/** Scale and bias, which every kind has. */
export function scaleAndBias({ out }: Slot): SlotPart[] {
  return ['scale', 'bias'].map((name) => ({ name, dims: [out], singleDims: [out], optional: false }))
}

/** Kernel and stride, for people. */
export function windowOf({ kernel, stride }: Slot): string {
  return `${kernel.join('x')}/${stride.join('x')}`
}
