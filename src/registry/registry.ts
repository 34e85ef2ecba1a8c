/**
 * Which version a domain serves, of whichever family, and leases on its row.
 *
 * Puts the parts of this room together for the rooms above it. Changes of domains are in `mutations.ts`,
 * their states in `catalog.ts`; rows and loads belong to residency. Knows no HTTP, no batches and no engine.
 */
import { isDomainId } from '../domain-id.js'
import { draining, FacetError } from '../errors.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import { type StoreProblem, type StoreProblemKind, storeProblemKinds } from '../store/store.js'
import { Cards } from './cards.js'
import { baseState, type Catalog } from './catalog.js'
import { named } from './failures.js'
import { Families } from './families.js'
import { Mutations } from './mutations.js'
import { openingStates, withRoomForPins } from './opening.js'
import type { RegistryOptions } from './options.js'
import { otherFamilies, withFamilies } from './other-families.js'
import type { Packs } from './packs.js'
import { Records } from './records.js'
import type { Residency, WaitOptions } from '../residency/residency.js'
import type { Resident } from '../residency/rows.js'
import type { ResidencyState } from '../residency/types.js'
import type {
  DomainView,
  Lease,
  ListOptions,
  LoadedDomain,
  PackOfVersion,
  Preconditions,
  Registration,
} from './types.js'
import { resolveVersion } from './versions.js'
import { domainView, residencyOf } from './view.js'

export class Registry {
  readonly #options: RegistryOptions
  readonly #catalog: Catalog
  readonly #packs: Packs
  readonly #cards: Cards
  readonly #families: Families
  readonly #records: Records
  readonly #mutations: Mutations
  readonly #problems = Object.fromEntries(storeProblemKinds.map((kind) => [kind, 0])) as Record<
    StoreProblemKind,
    number
  >
  #closed = false

  constructor(options: RegistryOptions) {
    this.#options = options
    const { versions, residencies } = options
    this.#catalog = versions.catalog
    this.#packs = versions.packs
    this.#cards = new Cards(versions.packs, options.clock)
    this.#families = new Families(residencies, versions.catalog)
    this.#records = new Records(options.store)
    this.#mutations = new Mutations(options, this.#families, this.#records)
  }

  /**
   * Opens the store, merges its records with the shipped packs and loads the pinned domains; other domains
   * are loaded on demand. Where an engine is restarting, the pinned domains are loaded when it is up again, and
   * this does not wait for them.
   * @param started the engines, which may still be starting; pinned domains are loaded when they have
   * @throws FacetError `store_failed` and what else opening the store throws; what `started` rejects with
   */
  async open(started?: Promise<unknown>): Promise<void> {
    const { store, seeds, logger } = this.#options
    const problems = await store.open()
    for (const problem of problems) this.#tell(problem)
    const shipped = seeds.filter(({ domain, path }) => {
      if (domain !== BASE_DOMAIN) return true
      logger.error({ path }, 'a shipped pack is named after the base domain; ignored')
      return false
    })
    for (const seed of shipped) this.#packs.add(seed)
    const records = openingStates(await this.#records.read(), this.#packs, problems, logger)
    const states = await withFamilies(records, store)
    for (const problem of otherFamilies(states, this.#families)) this.#tell(problem)
    for (const state of withRoomForPins(states, this.#families, logger))
      this.#catalog.set(state.domain, state)
    this.#addBases()
    for (const { record, failure } of shipped)
      if (failure !== undefined) this.#families.find(record.version)?.fail(record.version, failure)
    for (const { version, message } of problems)
      if (version !== undefined && !this.#packs.ships(version))
        this.#families.find(version)?.fail(version, new FacetError('domain_failed', message))
    await started
    await Promise.all(this.#families.all.map((residency) => residency.start()))
  }

  /**
   * The base of the first family is the domain `base`. Where there are several families, the base of each is also the
   * domain of its family's name, unless that is a domain already.
   */
  #addBases(): void {
    const { versions, logger } = this.#options
    const [first] = versions.bases
    this.#catalog.set(BASE_DOMAIN, baseState(BASE_DOMAIN, first.record))
    if (versions.bases.length === 1) return
    for (const [index, { record }] of versions.bases.entries()) {
      const { name } = this.#families.all[index]!.family
      const there = this.#catalog.get(name) !== undefined
      if (!there && isDomainId(name)) this.#catalog.set(name, baseState(name, record))
      else
        logger.warn(
          { family: name, reason: there ? 'there is a domain of its name' : 'its name is no domain id' },
          "a family's base is no domain",
        )
    }
  }

  #tell(problem: StoreProblem): void {
    this.#problems[problem.kind] += problem.count ?? 1
    this.#options.logger.error(problem, 'problem in the store')
  }

  /** What was wrong with the store when it was opened: domains or packs concerned, by kind. */
  problems(): Readonly<Record<StoreProblemKind, number>> {
    return this.#problems
  }

  /** Ends waits and refuses new changes with `draining` (503), waits for the changes that have begun, and
   * closes the store. */
  async close(): Promise<void> {
    this.#closed = true
    for (const residency of this.#families.all) residency.close()
    await this.#mutations.close()
    await this.#options.store.close()
  }

  has(domain: string): boolean {
    return this.#catalog.get(domain) !== undefined
  }

  /** Whether a domain is a family's own. */
  isBase(domain: string): boolean {
    return this.#catalog.isBase(domain)
  }

  /** The ids of all domains, in no order. */
  ids(): Iterable<string> {
    return this.#catalog.ids()
  }

  /** @throws FacetError `unknown_domain` (404) */
  get(domain: string): DomainView {
    return domainView(this.#catalog.require(domain), this.#families)
  }

  /** Domains sorted by id, the base included: all, or those in `only`.
   * @throws FacetError `bad_parameter` (400) for a malformed cursor */
  list(options: ListOptions): { domains: DomainView[]; nextCursor: string | null } {
    const { states, nextCursor } = this.#catalog.page(options.limit, options.cursor, options.only)
    return { domains: states.map((state) => domainView(state, this.#families)), nextCursor }
  }

  /**
   * The number of domains in each state of their active version.
   * @param family name of the family of that version; null for domains of no family that is served, undefined for all
   */
  counts(family?: string | null): Record<ResidencyState, number> {
    const counts = { resident: 0, cold: 0, loading: 0, failed: 0, inactive: 0 }
    for (const state of this.#catalog.states()) {
      const { active } = state
      if (family !== undefined && (active === null ? null : this.#families.name(active)) !== family) continue
      counts[residencyOf(state, this.#families)]++
    }
    return counts
  }

  /** The number of distinct packs that the domains have, shipped or registered, active or not. */
  packCount(): number {
    return this.#catalog.versions
  }

  /** The number of pinned domains, the bases not counted. */
  pinned(): number {
    let pinned = 0
    for (const state of this.#catalog.states()) if (state.pinned && !state.base) pinned++
    return pinned
  }

  /** Ids of the domains whose active version is resident, the most recently asked for first; without the bases. */
  residentDomains(): string[] {
    const used = new Map<string, number>()
    for (const residency of this.#families.all)
      for (const resident of residency.residents()) used.set(resident.version, resident.used)
    const found: { domain: string; at: number }[] = []
    for (const { domain, active, base } of this.#catalog.states()) {
      const at = active === null || base ? undefined : used.get(active)
      if (at !== undefined) found.push({ domain, at })
    }
    return found.sort((a, b) => b.at - a.at).map(({ domain }) => domain)
  }

  *loaded(): Iterable<LoadedDomain> {
    for (const { domain, active, versions, pinned } of this.#catalog.states()) {
      const residency = active === null ? undefined : this.#families.find(active)
      if (active === null || residency?.state(active) !== 'resident') continue
      const shipped = versions.some(({ version, seed }) => version === active && seed === true)
      const tier = residency.isSpecialised(active) ? 'dedicated' : shipped ? 'seed' : 'store'
      yield { domain, family: residency.family.name, tier, pinned }
    }
  }

  /**
   * Fingerprint of the family that a request for the domain's active version, or for `version`, needs now.
   * @throws FacetError `unknown_domain`, `unknown_version`, `no_active_version` (404), `ambiguous_version` (409),
   * `domain_failed` (503) also where that family is not served
   */
  familyOf(domain: string, version?: string): string {
    return this.#residencyFor(domain, this.#resolve(domain, version)).family.fingerprint
  }

  /**
   * A lease on the row of the domain's active version, or of `version` (in full or a unique prefix; active or
   * not). The version is the active one at the moment the lease is given, however long the wait for its row
   * was.
   * @throws FacetError `unknown_domain`, `unknown_version`, `no_active_version` (404), `ambiguous_version`
   * (409), `load_timeout`, `domain_failed`, `draining` (503), `deadline_exceeded` (504), `client_closed`
   * (499)
   */
  async acquire(domain: string, version?: string, options: WaitOptions = {}): Promise<Lease> {
    for (;;) {
      if (this.#closed) throw draining()
      const wanted = this.#resolve(domain, version)
      const residency = this.#residencyFor(domain, wanted)
      let resident = residency.hold(wanted, options.principal)
      if (resident === undefined) {
        try {
          resident = await residency.join(wanted, options)
        } catch (error) {
          // A change may have removed the version meanwhile. Then its failure is not the domain's: look
          // again.
          if (this.#serves(domain, version, wanted) || !isFailure(error)) throw named(domain, error)
          continue
        }
        if (!this.#serves(domain, version, wanted)) {
          residency.release(resident)
          continue
        }
      }
      return this.#lease(domain, residency, resident)
    }
  }

  /**
   * Loads the version that `acquire` would hold; undefined where it is resident.
   *
   * @throws FacetError as `acquire`
   */
  warm(domain: string, version?: string, options: WaitOptions = {}): Promise<void> | undefined {
    if (this.#families.state(this.#resolve(domain, version)) === 'resident') return undefined
    return this.acquire(domain, version, options).then((lease) => lease.release())
  }

  /**
   * Registers a pack: it is validated, tried on a staged row, made durable, and then active (or only listed,
   * as `activate` says). After this resolves no request gets the version that was active before. A version
   * that the domain lists already is activated again; damaged bytes of it in the store are repaired. A pack with whole
   * matrices is projected on the bases of a compressed family first, and the version is that of the projected pack.
   * @throws FacetError `bad_domain_id` (400), `base_immutable`, `pins_exceed_memory` (409), `invalid_pack`
   * (422), `precondition_failed` (412), `bank_full`, `engine_restarting`, `draining` (503), `store_full`
   * (507), `store_failed` (500); nothing has changed then
   */
  async put(
    domain: string,
    bytes: Uint8Array,
    options: { activate: boolean } & Preconditions,
  ): Promise<Registration & { view: DomainView }> {
    const { state, ...done } = await this.#mutations.put(domain, bytes, options)
    return { ...done, view: domainView(state, this.#families) }
  }

  /**
   * Loads a version of the domain and makes it the active one.
   * @param version in full, or a unique prefix of at least 6 hex digits
   * @throws FacetError `unknown_domain`, `unknown_version` (404), `ambiguous_version`, `base_immutable`,
   * `pins_exceed_memory` (409), `precondition_failed` (412), `store_full` (507), `store_failed` (500), and as
   * `acquire` where it cannot be loaded
   */
  async activate(domain: string, version: string, pre: Preconditions): Promise<DomainView> {
    return domainView(await this.#mutations.activate(domain, version, pre), this.#families)
  }

  /**
   * Activates the newest version of a domain where none is active when this change's turn has come.
   * @throws FacetError as `activate`
   */
  async activateNewest(domain: string): Promise<DomainView> {
    return domainView(await this.#mutations.activateNewest(domain), this.#families)
  }

  /**
   * Leaves the domain without an active version, and keeps all of its versions: the one that was active becomes the
   * newest. A domain that is so already stays as it is.
   * @throws FacetError `unknown_domain` (404), `base_immutable` (409), `precondition_failed` (412), `store_full` (507),
   * `store_failed` (500)
   */
  async deactivate(domain: string, pre: Preconditions): Promise<DomainView> {
    return domainView(await this.#mutations.deactivate(domain, pre), this.#families)
  }

  /** Deletes a domain with all its versions; a shipped pack stays hidden. Leases keep their rows.
   * @throws FacetError `unknown_domain`, `base_immutable`, `precondition_failed`, `store_full`,
   * `store_failed` */
  remove(domain: string, pre: Preconditions): Promise<void> {
    return this.#mutations.remove(domain, pre)
  }

  /** Deletes an inactive version. Leases keep its row.
   * @throws FacetError `version_active`, `seed_immutable` (409), and as `activate` */
  removeVersion(domain: string, version: string, pre: Preconditions): Promise<void> {
    return this.#mutations.removeVersion(domain, version, pre)
  }

  /** Pins a domain, which loads its active version and keeps it resident, or unpins it.
   * @throws FacetError `pins_exceed_memory` (409), and as `activate` */
  async patch(domain: string, change: { pinned: boolean }, pre: Preconditions): Promise<DomainView> {
    return domainView(await this.#mutations.pin(domain, change.pinned, pre), this.#families)
  }

  /** The active pack, or that of `version`. It is read when its bytes or its description are asked for.
   * @throws FacetError `unknown_domain`, `unknown_version`, `no_active_version`, `ambiguous_version` */
  pack(domain: string, version?: string): PackOfVersion {
    const found = this.#resolve(domain, version)
    const naming = async <T>(reading: Promise<T>): Promise<T> => {
      try {
        return await reading
      } catch (error) {
        if (!this.#lists(domain, found)) this.#resolve(domain, version)
        throw named(domain, error)
      }
    }
    return {
      version: found,
      read: async () => (await naming(this.#packs.read(found))).bytes,
      describe: (wait) => naming(this.#cards.read(found, wait)),
    }
  }

  /** The version a request means. */
  #resolve(domain: string, text: string | undefined): string {
    const { active, versions } = this.#catalog.sound(domain)
    if (text !== undefined) return resolveVersion(domain, versions, text).version
    if (active !== null) return active
    throw new FacetError('no_active_version', `Domain '${domain}' has no active version; activate one.`)
  }

  /** Whether a request for `text` still means `version`. */
  #serves(domain: string, text: string | undefined, version: string): boolean {
    return text === undefined ? this.#catalog.get(domain)?.active === version : this.#lists(domain, version)
  }

  #lists(domain: string, version: string): boolean {
    return this.#catalog.get(domain)?.versions.some((entry) => entry.version === version) === true
  }

  /** @throws FacetError `domain_failed` (503) where the version's family is not served */
  #residencyFor(domain: string, version: string): Residency {
    const residency = this.#families.find(version)
    if (residency === undefined) throw named(domain, this.#families.failure(version))
    return residency
  }

  #lease(domain: string, residency: Residency, resident: Resident): Lease {
    const { version, row, about } = resident
    let held = true
    return {
      domain,
      version,
      family: residency.family.fingerprint,
      row,
      generation: residency.generation,
      labels: about.labels,
      activation: about.activation,
      classes: about.classes,
      release: () => {
        if (!held) return
        held = false
        residency.release(resident)
      },
    }
  }
}

function isFailure(error: unknown): boolean {
  return error instanceof FacetError && error.code === 'domain_failed'
}
