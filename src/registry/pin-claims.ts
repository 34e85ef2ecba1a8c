/**
 * Room for pinned domains: refuses a pin that would leave no room for versions that come and go.
 *
 * A change that pins a domain, or that gives a pinned domain a larger version, claims its room before it
 * begins, so that two changes at once do not both take the last room.
 */
import { FacetError } from '../errors.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import type { Residency } from '../residency/residency.js'
import { activeClasses, type Catalog, type DomainState } from './catalog.js'

export class PinClaims {
  readonly #catalog: Catalog
  readonly #residency: Pick<Residency, 'pinRoom'>
  /** Classes that a domain is about to pin. */
  readonly #claims = new Map<string, number>()

  constructor(catalog: Catalog, residency: Pick<Residency, 'pinRoom'>) {
    this.#catalog = catalog
    this.#residency = residency
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
    const classes = activeClasses(next)
    const wasPinned = before?.pinned === true
    if (!next.pinned || (wasPinned && classes <= activeClasses(before))) return change()
    this.#check(next, wasPinned)
    this.#claims.set(next.domain, classes)
    try {
      return await change()
    } finally {
      this.#claims.delete(next.domain)
    }
  }

  #check(wanted: DomainState, wasPinned: boolean): void {
    const room = this.#residency.pinRoom(this.#catalog.mostClasses())
    for (const state of this.#catalog.states()) {
      const { domain, pinned } = state
      const claimed = this.#claims.get(domain)
      if (domain === BASE_DOMAIN || domain === wanted.domain || !(pinned || claimed !== undefined)) continue
      room.add(Math.max(activeClasses(state), claimed ?? 0))
    }
    const classes = activeClasses(wanted)
    if (room.add(classes)) return
    const remedy = 'unpin one, or give the bank more memory (--bank-memory).'
    throw new FacetError(
      'pins_exceed_memory',
      wasPinned
        ? `"${wanted.domain}" is pinned, and its version of ${classes} classes leaves no room for domains that are not pinned, beside ${room.pins} other pinned domains: ${remedy}`
        : `${room.pins} domains are pinned, and with one more the bank has no room for domains that are not pinned: ${remedy}`,
    )
  }
}
