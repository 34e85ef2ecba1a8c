/**
 * Every domain and what it serves, in memory: the store's records over the shipped packs.
 *
 * Synchronous, and without effects elsewhere: the registry writes the store first and then sets the new state
 * here in one step. A state is never changed, only replaced.
 */
import { isDomainId } from '../domain-id.js'
import { FacetError, unknownDomain } from '../errors.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import type { Extent } from '../pack/extent.js'
import type { DomainRecord, VersionRecord } from '../store/store.js'
import { extentOf } from './extents.js'
import { named } from './failures.js'
import type { Standing } from '../residency/versions.js'

export interface DomainState {
  readonly domain: string
  readonly active: string | null
  /** Newest last. */
  readonly versions: readonly VersionRecord[]
  readonly pinned: boolean
  /** ISO 8601; null for a shipped domain that was never changed. */
  readonly updated: string | null
  /** Why its record cannot be read; the domain serves nothing until it is registered again or deleted. */
  readonly broken?: string
  /** A family's own domain, which never changes. */
  readonly base?: true
}

/** How many domains have a version. */
interface Uses {
  extent: Extent
  /** Whether a record says the whole of it. */
  isKnown: boolean
  /** Fingerprint of its family, where a record says it. */
  family: string | undefined
  listed: number
  active: number
  pinned: number
}

const UNKNOWN: Extent = { adapter: 'whole', classes: 0, halfHead: false }

export class Catalog {
  readonly #states = new Map<string, DomainState>()
  readonly #uses = new Map<string, Uses>()
  #sorted: string[] | null = null

  get(domain: string): DomainState | undefined {
    return this.#states.get(domain)
  }

  /** @throws FacetError `unknown_domain` (404) */
  require(domain: string): DomainState {
    const state = this.#states.get(domain)
    if (state) return state
    throw unknownDomain(domain)
  }

  /** The state of a domain whose record could be read.
   * @throws FacetError `unknown_domain` (404), `domain_failed` (503) */
  sound(domain: string): DomainState {
    const state = this.require(domain)
    if (state.broken === undefined) return state
    throw named(domain, new FacetError('domain_failed', state.broken))
  }

  ids(): Iterable<string> {
    return this.#states.keys()
  }

  states(): Iterable<DomainState> {
    return this.#states.values()
  }

  /** The number of distinct versions that domains have. */
  get versions(): number {
    return this.#uses.size
  }

  /** Replaces a domain's state, or removes the domain. Returns the versions whose standing may
   * have changed. */
  set(domain: string, state: DomainState | null): Set<string> {
    const before = this.#states.get(domain)
    if (state === null) this.#states.delete(domain)
    else this.#states.set(domain, state)
    if ((before === undefined) !== (state === null)) this.#sorted = null
    const touched = new Set<string>()
    if (state) this.#count(state, 1, touched)
    if (before) this.#count(before, -1, touched)
    for (const version of touched) if (this.#uses.get(version)!.listed === 0) this.#uses.delete(version)
    return touched
  }

  /** What a version means to all domains together. */
  standing(version: string): Standing {
    const uses = this.#uses.get(version)
    if (uses === undefined) return 'none'
    if (uses.pinned > 0) return 'pinned'
    return uses.active > 0 ? 'active' : 'idle'
  }

  /** What a version's row holds; a whole adapter for one that no domain has. */
  extent(version: string): Extent {
    return this.#uses.get(version)?.extent ?? UNKNOWN
  }

  /** Fingerprint of the family that a version is of; undefined where no record says it. */
  family(version: string): string | undefined {
    return this.#uses.get(version)?.family
  }

  /** Whether a domain is a family's own. */
  isBase(domain: string): boolean {
    return domain === BASE_DOMAIN || this.#states.get(domain)?.base === true
  }

  /** Up to `limit` domains after `cursor`, sorted by their ids: of all, or of those in `only`. A listing that
   * is continued after changes neither skips nor repeats a domain.
   * @throws FacetError `bad_parameter` (400) for a malformed cursor */
  page(
    limit: number,
    cursor?: string,
    only?: ReadonlySet<string> | null,
  ): { states: DomainState[]; nextCursor: string | null } {
    const after = cursor === undefined ? '' : checkCursor(cursor)
    const sorted = only ? [...only].filter((domain) => this.#states.has(domain)).sort() : this.#all()
    const start = firstAfter(sorted, after)
    const ids = sorted.slice(start, start + limit)
    const last = start + limit < sorted.length ? ids.at(-1) : undefined
    return {
      states: ids.map((id) => this.#states.get(id)!),
      nextCursor: last ?? null,
    }
  }

  #all(): readonly string[] {
    this.#sorted ??= [...this.#states.keys()].sort()
    return this.#sorted
  }

  #count(state: DomainState, step: 1 | -1, touched: Set<string>): void {
    for (const record of state.versions) {
      const { version, family } = record
      const isKnown = record.adapter !== undefined
      const uses = this.#uses.get(version) ?? {
        extent: extentOf(record),
        isKnown,
        family,
        listed: 0,
        active: 0,
        pinned: 0,
      }
      if (isKnown && !uses.isKnown) Object.assign(uses, { extent: extentOf(record), isKnown })
      uses.family ??= family
      uses.listed += step
      if (version === state.active) {
        uses.active += step
        if (state.pinned) uses.pinned += step
      }
      this.#uses.set(version, uses)
      touched.add(version)
    }
  }
}

/**
 * A domain's state at start: its record over the shipped packs of its name, where there are any.
 *
 * Shipped packs are versions of their domain as long as the domain is not deleted; without a record the first of them
 * is active. When a newer release ships another pack, a domain whose active version was the shipped pack switches to
 * the new one of the same family; a registered version stays active.
 * @param seeds the shipped packs' version records, those of the first family first
 * @returns null for a domain that does not exist
 */
export function mergedState(
  domain: string,
  record: DomainRecord | undefined,
  seeds: readonly VersionRecord[],
): DomainState | null {
  const [first] = seeds
  if (record === undefined) {
    if (first === undefined) return null
    return { domain, active: first.version, versions: [...seeds], pinned: false, updated: null }
  }
  if (record.deleted) return null
  const has = (versions: readonly VersionRecord[], wanted: string | null) =>
    versions.some(({ version }) => version === wanted)
  const kept = record.versions.flatMap((entry) =>
    entry.seed ? seeds.filter(({ version }) => version === entry.version) : [entry],
  )
  const versions = [...seeds.filter(({ version }) => !has(kept, version)), ...kept]
  let active = record.active
  if (active !== null && !has(versions, active)) {
    const { family } = record.versions.find(({ version }) => version === active)!
    active = (seeds.find((seed) => seed.family === family) ?? first)?.version ?? null
  }
  return { domain, active, versions, pinned: record.pinned, updated: record.updated }
}

/** The record of a domain's active version. */
export function activeVersion({
  active,
  versions,
}: Pick<DomainState, 'active' | 'versions'>): VersionRecord | undefined {
  return versions.find(({ version }) => version === active)
}

/** The record of a state. */
export function recordOf(state: DomainState, updated: string): DomainRecord {
  const { domain, active, versions, pinned } = state
  return {
    domain,
    active,
    versions: versions.map((entry) => ({ ...entry })),
    pinned,
    deleted: false,
    updated,
  }
}

/** The record that hides the shipped pack of a deleted domain. */
export function tombstone(domain: string, updated: string): DomainRecord {
  return { domain, active: null, versions: [], pinned: false, deleted: true, updated }
}

/** The state of a family's own domain, which never changes. */
export function baseState(domain: string, version: VersionRecord): DomainState {
  return { domain, active: version.version, versions: [version], pinned: true, updated: null, base: true }
}

/** A cursor is the last id of a page. The domain may be gone meanwhile. */
function checkCursor(cursor: string): string {
  if (isDomainId(cursor)) return cursor
  throw new FacetError('bad_parameter', 'The cursor is not one that a listing returned.')
}

/** Position of the first id greater than `after`. */
function firstAfter(sorted: readonly string[], after: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle]! > after) high = middle
    else low = middle + 1
  }
  return low
}
