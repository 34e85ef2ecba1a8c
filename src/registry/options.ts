/** What the registry is built from, and what it reports. Types only. */
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
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
  /** `domain.put`: whether the version is active now. */
  activate?: boolean
  /** `domain.patch`: whether the domain is pinned now. */
  pinned?: boolean
}

export type ChangeAction =
  | 'domain.put'
  | 'domain.patch'
  | 'domain.delete'
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
  /** Of the one family. With several families, each version goes to the residency of the family whose
   * fingerprint its pack names: the registry would choose it here. */
  residency: Residency
  /** Opened and closed by the registry. */
  store: Store
  seeds: readonly Seed[]
  clock: Clock
  logger: Logger
  /** Registered versions a domain keeps, the active one included; shipped ones do not count. */
  keepVersions: number
  observe?: RegistryObserver | undefined
}
