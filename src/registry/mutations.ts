/**
 * Changes of domains: register, activate, delete, pin.
 *
 * A change is checked, made durable, and then takes effect in one synchronous step; until then nothing has
 * changed. Changes of one domain run one after another, those of different domains side by side. Requests
 * wait for no change.
 *
 * A version of another family than the one that was active moves the domain there: it is resident in that family's bank
 * before the switch, and the old version stays in its own as long as requests hold it.
 */
import { draining, FacetError } from '../errors.js'
import { checkDomainId } from '../domain-id.js'
import { KeyedQueue } from '../concurrency/keyed-queue.js'
import type { VersionRecord } from '../store/store.js'
import { type DomainState, recordOf, tombstone } from './catalog.js'
import { recorded } from './extents.js'
import type { Families } from './families.js'
import { named } from './failures.js'
import type { Change, RegistryOptions } from './options.js'
import { PinClaims } from './pin-claims.js'
import type { Records } from './records.js'
import { planRegistration, type RegistrationPlan } from './registration.js'
import type { Prepared } from '../residency/prepare.js'
import type { Residency } from '../residency/residency.js'
import type { Resident } from '../residency/rows.js'
import type { Preconditions, Registration } from './types.js'
import { short } from '../bytes/digest.js'
import { checkPreconditions, resolveVersion } from './versions.js'

/** A row kept for a version until the switch: resident already, or staged and not yet reachable. */
interface NewRow {
  /** Publishes it. @returns gives back the reference to it; undefined where it was lost meanwhile */
  keep(): (() => void) | undefined
  discard(): void
}

export class Mutations {
  readonly #options: RegistryOptions
  readonly #families: Families
  readonly #queue = new KeyedQueue()
  /** Versions that are to be named by a record soon, with the number of changes that name them: their blobs
   * must not be collected. */
  readonly #held = new Map<string, number>()
  readonly #records: Records
  readonly #pins: PinClaims
  #closed = false

  constructor(options: RegistryOptions, families: Families, records: Records) {
    this.#options = options
    this.#families = families
    this.#records = records
    this.#pins = new PinClaims(options.versions.catalog, families)
  }

  /** Refuses new changes with `draining` (503) and waits for those that have begun. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#queue.idle()
  }

  /** See `Registry.put`. Like the other changes it resolves with the state it made, which a later one may
   * have replaced by then. */
  async put(
    domain: string,
    given: Uint8Array,
    options: { activate: boolean } & Preconditions,
  ): Promise<Registration & { state: DomainState }> {
    this.#checkMutable(domain)
    this.#check(domain, options)
    const { clock, keepVersions, prepare, project, versions } = this.#options
    const { catalog, packs } = versions
    const { bytes, projection } = (await project?.(given)) ?? { bytes: given, projection: null }
    const prepared = await prepare(bytes)
    const { version } = prepared
    const residency = this.#families.served(prepared.family)!
    const change = async () => {
      const before = catalog.get(domain)
      const plan = planRegistration({
        domain,
        before,
        pack: versionRecord(prepared, clock.date()),
        activate: options.activate,
        seeds: packs.seeds(domain),
        damaged: residency.state(version) === 'failed',
        keepVersions,
      })
      await this.#apply(plan, before, prepared, bytes)
      if (plan.next !== null) {
        const { activate } = options
        const moved = this.#moved(before?.active, plan.next.active)
        this.#audit({ action: 'domain.put', domain, version, dropped: plan.dropped, activate, ...moved })
        if (plan.dropped.length > 0) await this.#collect()
      }
      return { created: before === undefined, version, state: catalog.require(domain), projection }
    }
    return this.#run(domain, options, change).finally(() => prepared.release())
  }

  /** See `Registry.activate`. */
  activate(domain: string, text: string, pre: Preconditions): Promise<DomainState> {
    return this.#run(domain, pre, () => {
      const state = this.#options.versions.catalog.sound(domain)
      return this.#activate(state, resolveVersion(domain, state.versions, text).version)
    })
  }

  /** See `Registry.activateNewest`. */
  activateNewest(domain: string): Promise<DomainState> {
    return this.#run(domain, {}, async () => {
      const state = this.#options.versions.catalog.sound(domain)
      const newest = state.versions.at(-1)
      return state.active !== null || newest === undefined ? state : this.#activate(state, newest.version)
    })
  }

  async #activate(state: DomainState, version: string): Promise<DomainState> {
    const { domain } = state
    if (version === state.active) return state
    const next = { ...state, active: version }
    await this.#pins.claiming(state, next, () => this.#resident(domain, version, () => this.#write(next)))
    const moved = this.#moved(state.active, version)
    this.#audit({ action: 'version.activate', domain, version, dropped: [], ...moved })
    return this.#options.versions.catalog.require(domain)
  }

  /** See `Registry.deactivate`. */
  deactivate(domain: string, pre: Preconditions): Promise<DomainState> {
    const { catalog } = this.#options.versions
    return this.#run(domain, pre, async () => {
      const state = catalog.sound(domain)
      const { active: version } = state
      if (version === null) return state
      const others = state.versions.filter((entry) => entry.version !== version)
      const last = state.versions.filter((entry) => entry.version === version)
      await this.#write({ ...state, active: null, versions: [...others, ...last] })
      this.#audit({ action: 'domain.unload', domain, version, dropped: [] })
      return catalog.require(domain)
    })
  }

  /** See `Registry.remove`. */
  remove(domain: string, pre: Preconditions): Promise<void> {
    const { observe, versions } = this.#options
    const { catalog, packs } = versions
    return this.#run(domain, pre, async () => {
      const { active } = catalog.require(domain)
      if (packs.seeds(domain).length > 0) await this.#records.write(tombstone(domain, this.#date()))
      else await this.#records.remove(domain)
      this.#families.settle(catalog.set(domain, null))
      observe?.forget?.(domain)
      this.#audit({ action: 'domain.delete', domain, version: active, dropped: [] })
      await this.#collect()
    })
  }

  /** See `Registry.removeVersion`. */
  removeVersion(domain: string, text: string, pre: Preconditions): Promise<void> {
    return this.#run(domain, pre, async () => {
      const state = this.#options.versions.catalog.sound(domain)
      const { version, seed } = resolveVersion(domain, state.versions, text)
      if (version === state.active)
        throw new FacetError('version_active', `Version ${short(version)} is active; activate another first.`)
      if (seed)
        throw new FacetError('seed_immutable', `Version ${short(version)} is shipped and cannot be deleted.`)
      await this.#write({ ...state, versions: state.versions.filter((entry) => entry.version !== version) })
      this.#audit({ action: 'version.delete', domain, version, dropped: [] })
      await this.#collect()
    })
  }

  /** See `Registry.patch`. */
  pin(domain: string, pinned: boolean, pre: Preconditions): Promise<DomainState> {
    const { catalog } = this.#options.versions
    return this.#run(domain, pre, async () => {
      const state = catalog.sound(domain)
      if (state.pinned === pinned) return state
      const next = { ...state, pinned }
      const write = () => this.#write(next)
      await this.#pins.claiming(state, next, () =>
        pinned && state.active !== null ? this.#resident(domain, state.active, write) : write(),
      )
      this.#audit({ action: 'domain.patch', domain, version: state.active, dropped: [], pinned })
      return catalog.require(domain)
    })
  }

  /** Carries a registration out: room for its pin, a row, the bytes, the record, and the switch. */
  async #apply(
    { next, storeBlob, canary }: RegistrationPlan,
    before: DomainState | undefined,
    prepared: Prepared,
    bytes: Uint8Array,
  ): Promise<void> {
    const { store } = this.#options
    const { version } = prepared
    if (next === null) {
      if (storeBlob) await store.putBlob(version, bytes)
      return
    }
    await this.#pins.claiming(before, next, async () => {
      const row = await this.#newRow(prepared, canary)
      await this.#holding(version, async () => {
        try {
          if (storeBlob) await store.putBlob(version, bytes)
          await this.#write(next, row)
        } catch (error) {
          row.discard()
          throw error
        }
      })
    })
  }

  /** A row with the pack in it. Where the version is resident already (another domain has it), its row. */
  async #newRow(prepared: Prepared, canary: boolean): Promise<NewRow> {
    const residency = this.#families.served(prepared.family)!
    const resident = residency.hold(prepared.version)
    const release = (resident: Resident) => () => residency.release(resident)
    if (resident) return { keep: () => release(resident), discard: release(resident) }
    const staged = await residency.stage(prepared, { canary })
    return {
      keep: () => {
        const kept = staged.keep()
        return kept === null ? undefined : release(kept)
      },
      discard: () => staged.discard(),
    }
  }

  /** Runs `change` while the version is resident. */
  async #resident(domain: string, version: string, change: () => Promise<void>): Promise<void> {
    const { residency, resident } = await this.#join(version).catch((error: unknown) => {
      throw named(domain, error)
    })
    try {
      await change()
    } finally {
      residency.release(resident)
    }
  }

  async #join(version: string): Promise<{ residency: Residency; resident: Resident }> {
    const residency = this.#families.of(version)
    return { residency, resident: await residency.join(version) }
  }

  /** Keeps a version's blob from being collected until `task` has written the record that names it; collects
   * it where that fails. */
  async #holding(version: string, task: () => Promise<void>): Promise<void> {
    this.#held.set(version, (this.#held.get(version) ?? 0) + 1)
    let done = false
    try {
      await task()
      done = true
    } finally {
      const others = this.#held.get(version)! - 1
      if (others === 0) this.#held.delete(version)
      else this.#held.set(version, others)
      if (!done) await this.#collect()
    }
  }

  /** Writes the record durably; then makes the state the domain's, in one synchronous step. */
  async #write(state: DomainState, row?: NewRow): Promise<void> {
    const { catalog } = this.#options.versions
    const updated = this.#date()
    await this.#records.write(recordOf(state, updated))
    const touched = catalog.set(state.domain, { ...state, updated })
    const release = row?.keep()
    this.#families.settle(touched)
    release?.()
    // Where the engine restarted meanwhile, the version is cold.
    if (state.pinned && state.active !== null) void this.#families.find(state.active)?.preload(state.active)
  }

  /** Removes blobs that no record names. A failure costs only room on the disk, and the next collection tries
   * again. */
  async #collect(): Promise<void> {
    try {
      await this.#options.store.collect(new Set(this.#held.keys()))
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'old packs could not be removed')
    }
  }

  #run<T>(domain: string, pre: Preconditions, task: () => Promise<T>): Promise<T> {
    return this.#queue.run(domain, async () => {
      if (this.#closed) throw draining()
      this.#checkMutable(domain)
      this.#check(domain, pre)
      return task()
    })
  }

  #checkMutable(domain: string): void {
    checkDomainId(domain)
    if (this.#options.versions.catalog.isBase(domain))
      throw new FacetError('base_immutable', "The base is the family's own domain and cannot be changed.")
  }

  #check(domain: string, pre: Preconditions): void {
    const state = this.#options.versions.catalog.get(domain)
    checkPreconditions(state !== undefined, state?.active ?? null, pre)
  }

  /** Where the two versions are of different families: the name of the second one's. */
  #moved(before: string | null | undefined, after: string | null): Pick<Change, 'family'> {
    if (!before || after === null || this.#families.find(before) === this.#families.find(after)) return {}
    return { family: this.#families.name(after) ?? '' }
  }

  #date(): string {
    return this.#options.clock.date().toISOString()
  }

  #audit(change: Change): void {
    this.#options.logger.info(change, 'domain changed')
    this.#options.observe?.audit?.(change)
  }
}

function versionRecord({ version, bytes, family, about }: Prepared, created: Date): VersionRecord {
  const { design } = about
  return { version, bytes, created: created.toISOString(), design, ...recorded(about), family }
}
