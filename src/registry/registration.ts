/** What a registration is to change, decided before anything is: a pure function of what there is. */
import type { VersionRecord } from '../store/store.js'
import type { DomainState } from './catalog.js'
import { retained } from './versions.js'

export interface RegistrationInput {
  domain: string
  /** The domain's state, undefined where there is no such domain. */
  before: DomainState | undefined
  /** The pack, as it would be listed if it were new. */
  pack: VersionRecord
  activate: boolean
  /** The shipped packs of the domain's name. */
  seeds: readonly VersionRecord[]
  /** The version is known to fail to load, so its bytes must be written again. */
  damaged: boolean
  /** Registered versions a domain keeps. */
  keepVersions: number
}

export interface RegistrationPlan {
  /** The domain's next state; null where the domain stays as it is. */
  next: DomainState | null
  /** Whether the pack's bytes go into the store. Where they are there already, intact, nothing is written. */
  storeBlob: boolean
  /** Whether the pack is tried on a row first: only one that the domain does not list yet. */
  canary: boolean
  /** Versions that the domain no longer keeps. */
  dropped: string[]
}

export function planRegistration(input: RegistrationInput): RegistrationPlan {
  const { domain, before, pack, activate, seeds, damaged, keepVersions } = input
  const { version } = pack
  const listed = before?.versions ?? []
  const known = listed.find((entry) => entry.version === version)
  const active = activate ? version : (before?.active ?? null)
  if (known && !damaged && active === before?.active) {
    // The bytes of a registered version are put again: the store repairs those that were damaged unnoticed.
    return { next: null, storeBlob: !known.seed, canary: false, dropped: [] }
  }
  const entry = entryOf(pack, known, seeds, damaged)
  const registered = listed.filter((other) => other.version !== version)
  const shipped = seeds.filter(
    (seed) => seed.version !== version && !registered.some((other) => other.version === seed.version),
  )
  const others = [...shipped, ...registered]
  const versions = retained([...others, entry], keepVersions, new Set([active, version]))
  return {
    next: { domain, active, versions, pinned: before?.pinned ?? false, updated: null },
    storeBlob: !entry.seed,
    canary: known === undefined,
    dropped: others.filter((other) => !versions.includes(other)).map((other) => other.version),
  }
}

/** How the version is listed: as a shipped pack, unless that is damaged; as it was registered before; or as
 * new. */
function entryOf(
  pack: VersionRecord,
  known: VersionRecord | undefined,
  seeds: readonly VersionRecord[],
  damaged: boolean,
): VersionRecord {
  const seed = seeds.find(({ version }) => version === pack.version)
  if (seed && !damaged) return seed
  return known && !known.seed ? known : pack
}
