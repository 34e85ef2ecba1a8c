/**
 * Brings the versions of one family into rows of its bank: on demand, for good where they are pinned, and as
 * new packs that no request can reach yet.
 *
 * Knows versions and nothing of domains; what it needs to know of a version it asks `Versions`. Which version
 * has which row is `rows.ts`, loads are `loads.ts`, restarts of the engine are `row-writer.ts`.
 */
import type { Logger } from 'pino'
import { short } from '../bytes/digest.js'
import type { Clock } from '../concurrency/clock.js'
import type { SharedBudget } from '../concurrency/shared-budget.js'
import { adapterBytes, headBytes, type RowSizes, rowBytes } from '../engine/bank-spec.js'
import type { BankDtype } from '../engine/plan.js'
import { draining, engineRestarting, type FacetError } from '../errors.js'
import { BASE_FILE, type Family } from '../family/family.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import type { Extent } from '../pack/extent.js'
import type { Canary } from './canary.js'
import { FailedVersions } from './failed-versions.js'
import { bankFull, clientGone, loadTimeout, tooLate } from './failures.js'
import { Loads } from './loads.js'
import { memoryAccount } from './memory.js'
import { PinRoom } from './pins.js'
import { aboutBase, type Prepared, preparer } from './prepare.js'
import { type BankEngine, RowWriter } from './row-writer.js'
import { type Resident, Rows } from './rows.js'
import type { MemoryAccount, ResidencyState } from './types.js'
import type { Tier, Versions } from './versions.js'
import { within } from './waits.js'

export interface ResidencyLimits {
  /** The longest a request waits for a cold version, ms. */
  loadTimeoutMs: number
  /** The shortest an active version stays resident, ms. */
  minResidencyMs: number
  /** Number type of the engine's bank. */
  bankDtype: BankDtype
  /** Packs read and written into rows at once. */
  concurrentLoads?: number
  /** A failed load is not tried again for this long, ms. */
  failureMs?: number
}

export interface ResidencyObserver {
  /** Seconds from the first byte read to the written row; the wait for a row not included. */
  load(outcome: 'ok' | 'error', tier: Tier, seconds: number): void
  /** A request found its version cold. */
  miss(): void
  /** Seconds since the evicted version was last asked for. */
  eviction(ageSeconds: number): void
}

const UNOBSERVED: ResidencyObserver = { load() {}, miss() {}, eviction() {} }

export interface ResidencyOptions {
  family: Family
  engine: BankEngine
  versions: Versions
  canary: Canary
  /** Bytes of resident adapters and heads together, those of other families among them. */
  budget: SharedBudget
  clock: Clock
  logger: Logger
  limits: ResidencyLimits
  observe?: ResidencyObserver | undefined
}

export interface WaitOptions {
  /** Whose request it is; those with no principal are one. */
  principal?: string | undefined
  /** On the clock's scale, ms. */
  deadline?: number | undefined
  /** Aborted when the client leaves. */
  signal?: AbortSignal | undefined
}

/** A row that holds a new pack; no request can reach it. */
export interface StagedRow {
  readonly row: number
  readonly generation: number
  /** Publishes it, with one reference; null where the engine lost it meanwhile and it is cold. */
  keep(): Resident | null
  /** Gives the row back. No-op after `keep`. */
  discard(): void
}

export class Residency {
  readonly #options: ResidencyOptions
  readonly #observe: ResidencyObserver
  readonly #failed: FailedVersions
  readonly #rows: Rows
  readonly #writer: RowWriter
  readonly #loads: Loads
  #closed = false

  constructor(options: ResidencyOptions) {
    this.#options = options
    const { family, engine, versions, budget, clock, logger, limits, observe = UNOBSERVED } = options
    this.#observe = observe
    this.#failed = new FailedVersions(clock, logger, limits.failureMs)
    this.#rows = new Rows({
      capacity: engine.rows,
      budget,
      bytes: (extent) => this.rowBytes(extent),
      base: { version: family.manifest.files[BASE_FILE]!.sha256, about: aboutBase(family.base) },
      clock,
      minResidencyMs: limits.minResidencyMs,
      standing: (version) => versions.standing(version),
      evicted: (_, ageMs) => observe.eviction(ageMs / 1000),
      cleared: (row) => this.#writer.clear(row),
    })
    this.#writer = new RowWriter(engine, this.#rows, () => void this.#loadPinned())
    this.#loads = new Loads({
      rows: this.#rows,
      writer: this.#writer,
      versions,
      failed: this.#failed,
      prepare: preparer([family], limits.bankDtype),
      clock,
      concurrentLoads: limits.concurrentLoads,
      loaded: (outcome, tier, seconds) => observe.load(outcome, tier, seconds),
    })
  }

  /** Begins to load, at once on a started engine or else when it is up, and waits for the pinned versions. */
  async start(): Promise<void> {
    if (this.#options.engine.state !== 'ready') return
    this.#writer.resume()
    await this.#loadPinned()
  }

  /** Ends every wait with `draining` and listens to the engine no more. */
  close(): void {
    this.#closed = true
    this.#writer.close()
    this.#loads.close()
    this.#rows.close()
  }

  /** The engine's generation, which the rows handed out now belong to. */
  get generation(): number {
    return this.#options.engine.generation
  }

  state(version: string): Exclude<ResidencyState, 'inactive'> {
    if (this.#rows.find(version)) return 'resident'
    if (this.#loads.has(version)) return 'loading'
    return this.#failed.get(version) ? 'failed' : 'cold'
  }

  failure(version: string): FacetError | undefined {
    return this.#failed.get(version)
  }

  /** The family whose versions these are. */
  get family(): Pick<FamilyManifest, 'name' | 'fingerprint' | 'compressed'> {
    return this.#options.family.manifest
  }

  /** Logs and remembers that a version cannot be loaded. */
  fail(version: string, cause: unknown): void {
    this.#failed.add(version, cause)
  }

  /** The versions in rows, and when each was last asked for. */
  residents(): Iterable<Pick<Resident, 'version' | 'used'>> {
    return this.#rows.residents()
  }

  /** Milliseconds since the least recently used resident version was asked for. */
  lruAge(): number {
    return this.#rows.lruAge()
  }

  /** Bytes of a bank row that holds this. */
  rowBytes(extent: Extent): number {
    return rowBytes(this.#sizes, extent)
  }

  /** Bytes of a version's row and head; 0 where it is not resident. */
  residentBytes(version: string): number {
    return this.#rows.find(version)?.bytes ?? 0
  }

  /** An empty account of what may be pinned beside the base and a version of `largest` bytes, in the family's share. */
  pinRoom(largest: number): PinRoom {
    const { family, engine, budget } = this.#options
    const base = this.rowBytes(aboutBase(family.base))
    return new PinRoom({ rows: engine.rows, memory: budget.share }, base, largest)
  }

  memory(): MemoryAccount {
    const { family, engine, budget, versions } = this.#options
    const sizes = this.#sizes
    const residents = Array.from(this.#rows.residents(), ({ version, about }) => {
      const standing = versions.standing(version)
      return {
        adapter: adapterBytes(sizes, about.adapter),
        head: headBytes(sizes.features, about),
        active: standing === 'active' || standing === 'pinned',
      }
    })
    const { rows, trunks, precision, dedicatedNetworks } = engine
    const holdings = { rows, bytes: budget.share, trunks, precision, dedicatedNetworks }
    return memoryAccount(family.manifest, residents, holdings)
  }

  get #sizes(): RowSizes {
    const { family, limits } = this.#options
    return { layout: family.layout, dtype: limits.bankDtype, features: family.manifest.features }
  }

  /** The row of a version; undefined where it is not resident. */
  rowOf(version: string): number | undefined {
    return this.#rows.find(version)?.row
  }

  /** Whether a dedicated network answers for a version. */
  isSpecialised(version: string): boolean {
    const row = this.rowOf(version)
    return row !== undefined && this.#options.engine.hasDedicated(row)
  }

  /** Takes a reference where the version is resident. @param principal whose request it is */
  hold(version: string, principal = ''): Resident | undefined {
    return this.#rows.use(version, principal)
  }

  release(resident: Resident): void {
    this.#rows.release(resident)
  }

  /**
   * Looks again at versions whose standing changed: a row that no domain needs is freed, and what is
   * remembered of a version that is gone is forgotten.
   */
  settle(versions: Iterable<string>): void {
    for (const version of versions) {
      this.#rows.settle(version)
      if (this.#options.versions.standing(version) !== 'none') continue
      this.#failed.delete(version)
      this.#rows.forget(version)
    }
  }

  /**
   * Takes a reference, loading the version where it is cold. Requests for one version share one load.
   * @throws FacetError `load_timeout` (503), `domain_failed` (503), `deadline_exceeded` (504),
   * `client_closed` (499) or `draining` (503)
   */
  async join(
    version: string,
    { principal = '', deadline = Infinity, signal: client }: WaitOptions = {},
  ): Promise<Resident> {
    const { clock, limits } = this.#options
    const here = this.#rows.use(version, principal)
    if (here) return here
    if (client?.aborted) throw clientGone()
    this.#observe.miss()
    const left = deadline - clock.now()
    const [ms, expired] =
      left < limits.loadTimeoutMs
        ? [left, tooLate]
        : [limits.loadTimeoutMs, () => loadTimeout(this.#writer.isUp)]
    return within(
      { clock, ms, expired, client },
      (signal) => this.#loads.wait(version, principal, signal),
      (late) => this.release(late),
    )
  }

  /** Loads a version that is to stay, however long it takes. Never rejects: a failure is remembered. */
  async preload(version: string): Promise<void> {
    try {
      this.release(this.#rows.use(version, '') ?? (await this.#loads.wait(version, '')))
    } catch (error) {
      this.#options.logger.warn({ err: error, version: short(version) }, 'pinned adapter is not resident')
    }
  }

  /**
   * Brings a new pack into a row that no request can reach.
   * @param canary whether the pack is tried there
   * @throws FacetError `bank_full` (503) when no row gets free in time, `engine_restarting` (503), `draining`
   * (503), `invalid_pack` (422) for a pack larger than the bank's memory or one that fails its canary, or the
   * engine's refusal of the tensors
   */
  async stage(prepared: Prepared, { canary }: { canary: boolean }): Promise<StagedRow> {
    const { clock, limits } = this.#options
    const expired = () => (this.#writer.isUp ? bankFull() : engineRestarting())
    const staged = await within(
      { clock, ms: limits.loadTimeoutMs, expired, client: undefined },
      (signal) => this.#stage(prepared, signal),
      (late) => late.discard(),
    )
    try {
      if (canary) await this.#options.canary(staged.row, staged.generation)
      return staged
    } catch (error) {
      staged.discard()
      throw error
    }
  }

  /** A row, then the pack in it; again from the row on when the engine restarts meanwhile. */
  async #stage(prepared: Prepared, signal: AbortSignal): Promise<StagedRow> {
    const { version, about } = prepared
    for (;;) {
      signal.throwIfAborted()
      if (this.#closed) throw draining()
      this.#rows.checkRoom(about, 'invalid_pack')
      const reservation = await this.#rows.reserve({ version, extent: about, principal: '' }, signal)
      if (reservation === null || !(await this.#writer.write(reservation, prepared))) continue
      return {
        row: reservation.row,
        generation: this.#options.engine.generation,
        keep: () => {
          if (!this.#rows.holds(reservation)) return null
          this.#failed.delete(version)
          return this.#rows.fill(reservation, version, about)
        },
        discard: () => this.#rows.giveBack(reservation),
      }
    }
  }

  async #loadPinned(): Promise<void> {
    await Promise.all(Array.from(this.#options.versions.pinned(), (version) => this.preload(version)))
  }
}
