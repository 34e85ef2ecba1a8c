/** What the registry is built from, and what it reports. Types only. */
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
import type { Prepare } from '../residency/prepare.js'
import type { Project } from '../residency/projecting.js'
import type { Residency } from '../residency/residency.js'
import type { ListedVersions } from './listed-versions.js'

/** A change of a domain, reported after it is durable and in force. */
export interface Change {
  /** As the audit line names the request. */
  action: ChangeAction
  domain: string
  /** The version concerned; for `delete` the one that was active. */
  version: string | null
  /** Old versions that this change dropped, because of `keepVersions`. */
  dropped: string[]
  /** Where the change moved the domain to another family: the name of that one. */
  family?: string
  /** `domain.put`: whether the version is active now. */
  activate?: boolean
  /** `domain.patch`: whether the domain is pinned now. */
  pinned?: boolean
}

export type ChangeAction =
  | 'domain.put'
  | 'domain.patch'
  | 'domain.delete'
  | 'domain.load'
  | 'domain.unload'
  | 'version.activate'
  | 'version.delete'

export interface RegistryObserver {
  /** A domain was deleted: its metrics may be dropped. */
  forget?(domain: string): void
  audit?(change: Change): void
}

export interface RegistryOptions {
  /** Filled and kept up to date by the registry. */
  versions: ListedVersions
  /** Of each family that is served, the first one first. Each version is in that of the family whose fingerprint its
   * pack names. */
  residencies: readonly [Residency, ...Residency[]]
  /** Reads a pack of any of these families. */
  prepare: Prepare
  /** Makes of a pack that is registered what is stored; by default that is the pack. */
  project?: Project | undefined
  /** Opened and closed by the registry. */
  store: Store
  /** The shipped packs, those of the first family first. */
  seeds: readonly Seed[]
  clock: Clock
  logger: Logger
  /** Registered versions a domain keeps, the active one included; shipped ones do not count. */
  keepVersions: number
  observe?: RegistryObserver | undefined
}
