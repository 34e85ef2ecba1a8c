/**
 * Changes of domains: register, activate, delete, pin.
 *
 * Each is checked, made durable, and then takes effect in one synchronous step; until then nothing has changed.
 * Changes of one domain are serialised, those of different domains run side by side, and requests wait for none.
 */
import { draining, FacetError } from '../errors.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import { checkDomainId } from '../domain-id.js'
import { KeyedQueue } from '../concurrency/keyed-queue.js'
import type { VersionRecord } from '../store/store.js'
import { activeClasses, type DomainState, recordOf, tombstone } from './catalog.js'
import { named } from './failures.js'
import type { Change, RegistryOptions } from './options.js'
import type { Prepared } from '../residency/prepare.js'
import type { Resident } from '../residency/rows.js'
import type { Preconditions } from './types.js'
import { short } from '../bytes/digest.js'
import { checkPreconditions, resolveVersion, retained } from './versions.js'

/** A row kept for a version until the switch: resident already, or staged and not yet reachable. */
interface Warm {
  keep(): Resident | null
  discard(): void
}

export class Mutations {
  readonly #options: RegistryOptions
  readonly #queue = new KeyedQueue()
  /** Versions on their way into a record, with how many changes bring them: not to be collected. */
  readonly #held = new Map<string, number>()
  /** Classes that pinned domains are about to have, or domains about to be pinned. */
  readonly #pinning = new Map<string, number>()
  #closed = false

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  /** Refuses new changes with `draining` (503) and waits for those under way. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#queue.idle()
  }

  /** See `Registry.put`. Resolves, as the others, with the state that this change left. */
  async put(
    domain: string,
    bytes: Uint8Array,
    options: { activate: boolean } & Preconditions,
  ): Promise<{ created: boolean; version: string; state: DomainState }> {
    this.#checkMutable(domain)
    this.#check(domain, options)
    const prepared = await this.#options.residency.prepare(bytes)
    return this.#run(domain, options, async () => {
      const before = this.#options.versions.catalog.get(domain)
      await this.#put(domain, bytes, prepared, options.activate, before)
      const state = this.#options.versions.catalog.require(domain)
      return { created: before === undefined, version: prepared.version, state }
    }).finally(() => prepared.release())
  }

  /** See `Registry.activate`. */
  activate(domain: string, text: string, pre: Preconditions): Promise<DomainState> {
    const { catalog } = this.#options.versions
    return this.#run(domain, pre, async () => {
      const state = catalog.sound(domain)
      const { version } = resolveVersion(domain, state.versions, text)
      if (version === state.active) return state
      const next = { ...state, active: version }
      await this.#withPin(state, next, () => this.#resident(domain, version, () => this.#write(next)))
      this.#audit({ action: 'activate', domain, version, dropped: [] })
      return catalog.require(domain)
    })
  }

  /** See `Registry.remove`. */
  remove(domain: string, pre: Preconditions): Promise<void> {
    const { observe, residency, store, versions } = this.#options
    const { catalog, packs } = versions
    return this.#run(domain, pre, async () => {
      const { active } = catalog.require(domain)
      if (packs.seed(domain)) await store.writeRecord(tombstone(domain, this.#date()))
      else await store.removeRecord(domain)
      residency.settle(catalog.set(domain, null))
      observe?.forget?.(domain)
      this.#audit({ action: 'delete', domain, version: active, dropped: [] })
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
      this.#audit({ action: 'delete_version', domain, version, dropped: [] })
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
      await this.#withPin(state, next, () =>
        pinned && state.active !== null ? this.#resident(domain, state.active, write) : write(),
      )
      this.#audit({ action: pinned ? 'pin' : 'unpin', domain, version: state.active, dropped: [] })
      return catalog.require(domain)
    })
  }

  async #put(
    domain: string,
    bytes: Uint8Array,
    prepared: Prepared,
    activate: boolean,
    before: DomainState | undefined,
  ): Promise<void> {
    const { keepVersions, residency, store, versions: listed } = this.#options
    const { version } = prepared
    const known = before?.versions.find((entry) => entry.version === version)
    const damaged = residency.state(version) === 'failed'
    const active = activate ? version : (before?.active ?? null)
    if (known && !damaged && active === before?.active) {
      // Nothing changes, but bytes that were damaged unnoticed are repaired.
      if (!known.seed) await store.putBlob(version, bytes)
      return
    }
    const seed = listed.packs.seed(domain)?.record
    const stored = known?.seed ? undefined : known
    // A shipped pack that is damaged is stored anew.
    const entry = seed?.version === version && !damaged ? seed : (stored ?? this.#record(prepared))
    const others = (before?.versions ?? []).filter((other) => other.version !== version)
    if (seed && seed.version !== version && !others.some((other) => other.version === seed.version))
      others.unshift(seed)
    const versions = retained([...others, entry], keepVersions, new Set([active, version]))
    const dropped = others.filter((other) => !versions.includes(other)).map((other) => other.version)
    const state = { domain, active, versions, pinned: before?.pinned ?? false, updated: null }
    await this.#withPin(before, state, async () => {
      const warm = await this.#warm(prepared, known === undefined)
      await this.#holding(version, async () => {
        try {
          if (!entry.seed) await store.putBlob(version, bytes)
          await this.#write(state, warm)
        } catch (error) {
          warm.discard()
          throw error
        }
      })
    })
    this.#audit({ action: activate ? 'register' : 'stage', domain, version, dropped })
    if (dropped.length > 0) await this.#collect()
  }

  /** A row with the pack in it, tried if it is new. Where another domain serves the version, its row. */
  async #warm(prepared: Prepared, isNew: boolean): Promise<Warm> {
    const { residency } = this.#options
    const resident = residency.hold(prepared.version)
    if (resident) return { keep: () => resident, discard: () => residency.release(resident) }
    return residency.stage(prepared, { canary: isNew })
  }

  /** Runs `change` while the version is resident. */
  async #resident(domain: string, version: string, change: () => Promise<void>): Promise<void> {
    const resident = await this.#options.residency.join(version).catch((error: unknown) => {
      throw named(domain, error)
    })
    try {
      await change()
    } finally {
      this.#options.residency.release(resident)
    }
  }

  /** Keeps a version's blob from collection while `task` brings it into a record; collects it if that fails. */
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

  /** The record, durably; then the switch, in one synchronous step. */
  async #write(state: DomainState, warm?: Warm): Promise<void> {
    const { residency, store, versions } = this.#options
    const updated = this.#date()
    await store.writeRecord(recordOf(state, updated))
    const touched = versions.catalog.set(state.domain, { ...state, updated })
    const resident = warm?.keep()
    residency.settle(touched)
    if (resident) residency.release(resident)
    // Where the engine restarted meanwhile, it is cold.
    if (state.pinned && state.active !== null) void residency.preload(state.active)
  }

  /** Removes blobs no record needs. A failure costs room on the disk and nothing else: the next one tries. */
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
    if (domain === BASE_DOMAIN)
      throw new FacetError('base_immutable', "The base is the family's own domain and cannot be changed.")
  }

  #check(domain: string, pre: Preconditions): void {
    const state = this.#options.versions.catalog.get(domain)
    checkPreconditions(state !== undefined, state?.active ?? null, pre)
  }

  /**
   * Runs `change`, which makes `next` of `before`, where the pins fit with it: a domain that is to be pinned, or a
   * larger version of one that is.
   */
  async #withPin(
    before: DomainState | undefined,
    next: DomainState,
    change: () => Promise<void>,
  ): Promise<void> {
    const classes = activeClasses(next)
    const wasPinned = before?.pinned === true
    if (!next.pinned || (wasPinned && classes <= activeClasses(before))) return change()
    this.#checkPins(next, wasPinned)
    this.#pinning.set(next.domain, classes)
    try {
      await change()
    } finally {
      this.#pinning.delete(next.domain)
    }
  }

  #checkPins(wanted: DomainState, isPinned: boolean): void {
    const { residency, versions } = this.#options
    const { catalog } = versions
    const room = residency.pinRoom(catalog.mostClasses())
    for (const state of catalog.states()) {
      const { domain, pinned } = state
      const coming = this.#pinning.get(domain)
      if (domain === BASE_DOMAIN || domain === wanted.domain || !(pinned || coming !== undefined)) continue
      room.add(Math.max(activeClasses(state), coming ?? 0))
    }
    const classes = activeClasses(wanted)
    if (room.add(classes)) return
    const remedy = 'unpin one, or give the bank more memory (--bank-memory).'
    throw new FacetError(
      'pins_exceed_memory',
      isPinned
        ? `"${wanted.domain}" is pinned, and its version of ${classes} classes leaves no room for what comes and goes, beside ${room.pins} other pinned domains: ${remedy}`
        : `${room.pins} domains are pinned and the bank has room for no more beside what comes and goes: ${remedy}`,
    )
  }

  #record({ version, bytes, about: { design, classes } }: Prepared): VersionRecord {
    return { version, bytes, created: this.#date(), design, classes }
  }

  #date(): string {
    return this.#options.clock.date().toISOString()
  }

  #audit(change: Change): void {
    this.#options.logger.info(change, 'domain changed')
    this.#options.observe?.audit?.(change)
  }
}
