/** What the registry is built from, and what it tells. Types only. */
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import type { BankDtype } from '../engine/messages.js'
import type { Family } from '../family/family.js'
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
import type { Canary } from '../residency/canary.js'
import type { BankEngine, ResidencyLimits, ResidencyObserver } from '../residency/residency.js'

export interface RegistryLimits extends ResidencyLimits {
  /** Registered versions a domain keeps, the active one included; shipped ones do not count. */
  keepVersions: number
  /** Number type of the engine's bank. */
  bankDtype: BankDtype
}

/** A change of the control plane, told after it is durable and in force. */
export interface Change {
  action: 'register' | 'stage' | 'activate' | 'delete' | 'delete_version' | 'pin' | 'unpin'
  domain: string
  /** The version concerned; for `delete` the one that was active. */
  version: string | null
  /** Old versions dropped by the way, because of `keepVersions`. */
  dropped: string[]
}

export interface RegistryObserver extends ResidencyObserver {
  /** A domain is gone: its metrics may go. */
  forget?(domain: string): void
  audit?(change: Change): void
}

export interface RegistryOptions {
  family: Family
  engine: BankEngine
  /** Opened and closed by the registry. */
  store: Store
  seeds: readonly Seed[]
  canary: Canary
  clock: Clock
  logger: Logger
  limits: Pick<RegistryLimits, 'loadTimeoutMs' | 'minResidencyMs' | 'keepVersions' | 'bankDtype'> &
    Partial<RegistryLimits>
  observe?: RegistryObserver
}
