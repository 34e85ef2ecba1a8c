/** What the registry shows to the rooms above it. Types only. */
import type { GateWait } from '../concurrency/gate.js'
import type { Activation, PackInfo } from '../pack/pack.js'
import type { Projection } from '../pack/projection.js'
import type { ResidencyState } from '../residency/types.js'
import type { Tier } from '../residency/versions.js'
import type { VersionRecord } from '../store/store.js'

export type { GateWait, PackInfo }

/** A page of a listing. */
export interface ListOptions {
  limit: number
  /** `nextCursor` of the previous page. */
  cursor?: string
  /** The only domains to list; null for all. */
  only?: ReadonlySet<string> | null
}

/** One domain as `GET /v1/domains/{domain}` shows it. */
export interface DomainView {
  domain: string
  /** Active version (SHA-256 hex), or null. */
  version: string | null
  versions: (Omit<VersionRecord, 'family'> & {
    /** The name of its family; null where it is not served. */
    family: string | null
    active: boolean
    residency: ResidencyState
  })[]
  residency: ResidencyState
  failure?: string
  pinned: boolean
  /** True where the active version is a shipped pack. */
  seed: boolean
  /** Bytes of the active pack file and of its bank row; 0 where not resident. */
  bytes: { pack: number; resident: number }
  /** The name of the family of the active version; null where that is not served, or nothing is active. */
  family: string | null
  design: string | null
  classes: number
  updated: string | null
}

/** What a registration has made. */
export interface Registration {
  /** There was no such domain before. */
  created: boolean
  /** Of the pack that is stored. */
  version: string
  /** What the pack lost where it was projected on the bases of a compressed family; null where it was not. */
  projection: Projection | null
}

/** Preconditions of a mutation or read, as RFC 9110 gives them; entity tags without quotes. */
export interface Preconditions {
  ifMatch?: readonly string[] | '*'
  ifNoneMatch?: readonly string[] | '*'
}

/** A version's pack. */
export interface PackOfVersion {
  /** SHA-256 hex. */
  version: string
  /** What the pack says of itself. @throws FacetError as `read`, `client_closed`, `deadline_exceeded` */
  describe(wait?: GateWait): Promise<PackInfo>
  /** Its bytes, from the store or the shipped pack. @throws FacetError `domain_failed`, `store_failed` */
  read(): Promise<Uint8Array>
}

/** A reference to a resident version: its row keeps its content until `release`. */
export interface Lease {
  domain: string
  /** SHA-256 hex. */
  version: string
  /** Fingerprint of the family in whose bank it is. */
  family: string
  row: number
  /** The engine generation the row belongs to; a restarted engine refuses older ones. */
  generation: number
  /** Null for a pack that serves `embed` only. */
  labels: readonly string[] | null
  activation: Activation
  classes: number
  /** Idempotent. */
  release(): void
}

/** A domain whose active version is in the bank. */
export interface LoadedDomain {
  domain: string
  /** Name of its family. */
  family: string
  /** `dedicated` where a dedicated network answers for it; else `seed` where it is a shipped pack. */
  tier: Tier | 'dedicated'
  pinned: boolean
}
