/**
 * Room for pinned domains, in the bank of each family: refuses a pin that would leave no room for versions that come
 * and go.
 *
 * A change that pins a domain, or that gives a pinned domain a larger version or one of another family, claims its room
 * before it begins, so that two changes at once do not both take the last room.
 */
import { FacetError } from '../errors.js'
import type { VersionRecord } from '../store/store.js'
import { activeVersion, type Catalog, type DomainState } from './catalog.js'
import { extentOf } from './extents.js'
import type { Families } from './families.js'

export class PinClaims {
  readonly #catalog: Catalog
  readonly #families: Pick<Families, 'served'>
  /** Versions that a domain is about to pin. */
  readonly #claims = new Map<string, VersionRecord>()

  constructor(catalog: Catalog, families: Pick<Families, 'served'>) {
    this.#catalog = catalog
    this.#families = families
  }

  /**
   * Runs `change`, which makes `next` of `before`, where the pins leave room with it.
   * @throws FacetError `pins_exceed_memory` (409)
   */
  async claiming<T>(
    before: DomainState | undefined,
    next: DomainState,
    change: () => Promise<T>,
  ): Promise<T> {
    const version = activeVersion(next)
    const wasPinned = before?.pinned === true
    if (!next.pinned || version === undefined || (wasPinned && this.#fitsInstead(version, before)))
      return change()
    this.#check(next.domain, version, wasPinned)
    this.#claims.set(next.domain, version)
    try {
      return await change()
    } finally {
      this.#claims.delete(next.domain)
    }
  }

  /** Whether a version has room in that of a pinned domain. */
  #fitsInstead(version: VersionRecord, before: DomainState): boolean {
    const own = activeVersion(before)
    const residency = this.#families.served(version.family)
    if (own === undefined || this.#families.served(own.family) !== residency) return false
    const bytes = (record: VersionRecord) => residency?.rowBytes(extentOf(record)) ?? 0
    return bytes(version) <= bytes(own)
  }

  #check(wanted: string, version: VersionRecord, wasPinned: boolean): void {
    const residency = this.#families.served(version.family)
    // A version of a family that is not served takes no room.
    if (residency === undefined) return
    const isOwn = (other: VersionRecord | undefined) =>
      other !== undefined && this.#families.served(other.family) === residency
    const states = [...this.#catalog.states()].filter(({ base }) => !base)
    const bytes = (record: VersionRecord) => residency.rowBytes(extentOf(record))
    const own = states.flatMap(({ versions }) => versions.filter(isOwn))
    const room = residency.pinRoom(own.reduce((most, record) => Math.max(most, bytes(record)), 0))
    for (const state of states) {
      const { domain, pinned } = state
      if (domain === wanted) continue
      const active = activeVersion(state)
      const claimed = this.#claims.get(domain)
      const held = [pinned ? active : undefined, claimed].filter(isOwn).map((each) => bytes(each!))
      if (held.length > 0) room.add(Math.max(...held))
    }
    if (room.add(bytes(version))) return
    const { classes } = version
    const remedy = 'unpin one, or give the bank more memory (--bank-memory).'
    throw new FacetError(
      'pins_exceed_memory',
      wasPinned
        ? `"${wanted}" is pinned, and its version of ${classes} classes leaves no room for domains that are not pinned, beside ${room.pins} other pinned domains: ${remedy}`
        : `${room.pins} domains are pinned, and with one more the bank has no room for domains that are not pinned: ${remedy}`,
    )
  }
}
