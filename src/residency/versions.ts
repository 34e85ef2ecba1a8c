/** What residency asks about versions. Types only: the registry answers, from its domains and its packs. */
import type { Extent } from '../pack/extent.js'

/**
 * What a version means to the domains. `pinned`: active in a pinned domain, is never evicted. `active`: stays
 * for its minimum residency at least. `idle`: listed but not active, is evicted first. `none`: no domain
 * lists it; its row is freed with its last reference.
 */
export type Standing = 'pinned' | 'active' | 'idle' | 'none'

/** Where a version's bytes are: in the store, or in a shipped pack. */
export type Tier = 'store' | 'seed'

/** The bytes of a pack, checked against its version, and where they were read. */
export interface PackBytes {
  bytes: Uint8Array
  tier: Tier
}

export interface Versions {
  /** Reads a version's pack. The caller owns the bytes. @throws FacetError `domain_failed`, `store_failed` */
  read(version: string): Promise<PackBytes>
  /** What a version's row is to hold: no less than it will, where the records do not say it. */
  extent(version: string): Extent
  standing(version: string): Standing
  /** Versions that are loaded at start and after each restart of the engine. */
  pinned(): Iterable<string>
}
