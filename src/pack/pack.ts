/**
 * What a pack is: one domain's adapter, head, labels and preprocessing, decoded.
 *
 * Types only. `read.ts` makes a `Pack` of bytes and refuses bytes that are none, `write.ts` is the inverse.
 * This folder knows neither files nor HTTP nor the engine.
 */
import type { Design } from '../manifest/manifest.js'

export const PACK_FORMAT = 'facet-pack/1'

/**
 * What one domain puts into one slot, by part, already folded: `y = scale * z + matrix · v + bias`
 * (docs/architecture.md, "The mathematics of a slot"). The shapes are those of `slotParts`.
 */
export interface SlotWeights {
  /** `[out]` */
  scale: Float32Array
  /** `[out]` */
  bias: Float32Array
  /** Further parts that the slot's kind has (`matrix`), row-major; one that is absent is zeros. */
  [part: string]: Float32Array
}

export type Activation = 'softmax' | 'sigmoid'

/** A domain's classifier on the feature vector. */
export interface Head {
  classes: number
  /** `[classes, F]`, row-major. */
  weight: Float32Array
  /** `[classes]` */
  bias: Float32Array
  /** The bits of the weights, where the pack gives them in half precision. */
  half?: Uint16Array
}

export interface PackInfo {
  /** Fingerprint of the family it belongs to. */
  family: string
  design: Design
  /** One per class; null for a pack that serves `embed` only. */
  labels: string[] | null
  activation: Activation
  /** Per RGB channel, 0-1 scale. */
  mean: [number, number, number]
  std: [number, number, number]
  name?: string
  description?: string
  license?: string
  created?: string
  /** Free-form figures of the training run, as the pack gives them. */
  metrics?: Record<string, unknown>
}

export interface Pack extends PackInfo {
  /** Slots the pack gives; a slot it leaves out is the base's. */
  slots: Map<string, SlotWeights>
  head: Head | null
}
