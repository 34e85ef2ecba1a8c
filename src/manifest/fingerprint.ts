/**
 * The fingerprint of a family, which says which packs fit.
 *
 * It covers what a pack's meaning depends on. It does not cover the emitted graphs, so that they can be
 * optimised and packs stay valid.
 */
import { createHash } from 'node:crypto'
import type { CompressedRecord, Design, InputSpec, Slot } from './manifest.js'

export interface FingerprintParts {
  /** SHA-256 (hex) of the source backbone's frozen weights, and of the features' name where that was given. */
  weights: string
  slots: readonly Slot[]
  design: Design
  input: InputSpec
  /** Of a compressed family, whose bases packs are made for. */
  compressed?: Pick<CompressedRecord, 'bases'>
}

/** SHA-256 (hex) of the parts' canonical JSON. `bases` is null in a family that is not compressed. */
export function fingerprint(parts: FingerprintParts): string {
  const { weights, slots, design, input, compressed } = parts
  return createHash('sha256')
    .update(canonicalJson({ weights, slots, design, input, bases: compressed?.bases ?? null }))
    .digest('hex')
}

/** SHA-256 (hex) of float32 tensors in the given order, as little-endian bytes, and of what else tells backbones apart. */
export function weightsDigest(parts: Iterable<Uint8Array>): string {
  const hash = createHash('sha256')
  for (const bytes of parts) hash.update(bytes)
  return hash.digest('hex')
}

/** JSON with sorted keys and no spaces: one text for one value. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const entries = Object.entries(value)
    .filter(([, entry]) => entry !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonicalJson(entry)}`).join(',')}}`
}
