/**
 * Brings versions into bank rows: single-flight loads, bounded waits, remembered failures, engine restarts.
 *
 * Knows versions and nothing of domains; where the bytes come from and what a version is worth is told by its
 * owner. Which row is whose is `rows.ts`.
 */
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import { rowBytes } from '../engine/bank-spec.js'
import type { Engine } from '../engine/engine.js'
import type { BankDtype } from '../engine/messages.js'
import { draining, engineRestarting, FacetError } from '../errors.js'
import { free } from '../bytes/free.js'
import { bankFull, clientGone, passing, tooLate, unloadable } from './failures.js'
import { Gate } from '../concurrency/gate.js'
import { BASE_FILE, type Family } from '../family/family.js'
import type { Canary } from './canary.js'
import { memoryAccount } from './memory.js'
import { PinRoom } from './pins.js'
import { about, type Prepare, type Prepared, preparer } from './prepare.js'
import { type Place, type Resident, Rows, type Ticket } from './rows.js'
import type { MemoryAccount, ResidencyState } from './types.js'
import type { Tier, Versions } from './versions.js'
import { short } from '../bytes/digest.js'

/** What the bank needs of an engine. */
export type BankEngine = Pick<
  Engine,
  'rows' | 'trunks' | 'state' | 'generation' | 'stage' | 'clear' | 'on' | 'off'
>

export interface ResidencyLimits {
  /** The longest a request waits for a cold version, ms. */
  loadTimeoutMs: number
  /** The shortest an active version stays resident, ms. */
  minResidencyMs: number
  /** Number type of the engine's bank. */
  bankDtype: BankDtype
  /** Bytes of resident adapters and heads together; unbounded unless given. */
  memory?: number
  /** Packs read and staged at once. */
  concurrentLoads?: number
  /** A failed load is not tried again for this long, ms. */
  failureMs?: number
}

export interface ResidencyObserver {
  /** Seconds from the first byte read to the staged row; the wait for a row not included. */
  load(outcome: 'ok' | 'error', tier: Tier, seconds: number): void
  /** A request found its version cold. */
  miss(): void
  /** Seconds since the evicted version was last asked for. */
  eviction(ageSeconds: number): void
}

const UNOBSERVED: ResidencyObserver = { load() {}, miss() {}, eviction() {} }
const CONCURRENT_LOADS = 4
const FAILURE_MS = 5_000

export interface ResidencyOptions {
  family: Family
  engine: BankEngine
  versions: Versions
  canary: Canary
  clock: Clock
  logger: Logger
  limits: ResidencyLimits
  observe?: ResidencyObserver | undefined
}

export interface WaitOptions {
  /** On the clock's scale, ms. */
  deadline?: number | undefined
  signal?: AbortSignal | undefined
}

/** A row that holds a new pack for its canary; no request can reach it. */
export interface Staging {
  readonly row: number
  readonly generation: number
  /** Publishes it, with one reference; null where the engine lost it meanwhile and it is cold. */
  keep(): Resident | null
  /** Gives the row back. No-op after `keep`. */
  discard(): void
}

interface Waiter {
  resolve(resident: Resident): void
  reject(error: unknown): void
}

interface Load {
  version: string
  waiters: Set<Waiter>
  /** Present while it waits for a row. */
  ticket: Ticket | null
}

interface Failure {
  error: FacetError
  until: number
}

export class Residency {
  readonly #options: ResidencyOptions
  readonly #observe: ResidencyObserver
  readonly #failureMs: number
  readonly #prepare: Prepare
  readonly #rows: Rows
  readonly #gate: Gate
  readonly #loads = new Map<string, Load>()
  readonly #failures = new Map<string, Failure>()
  readonly #ups: (() => void)[] = []
  #alive = false
  #closed = false

  constructor(options: ResidencyOptions) {
    this.#options = options
    const { family, engine, versions, clock, limits, observe = UNOBSERVED } = options
    const { concurrentLoads = CONCURRENT_LOADS, failureMs = FAILURE_MS } = limits
    this.#observe = observe
    this.#failureMs = failureMs
    this.#prepare = preparer(family, limits.bankDtype)
    this.#gate = new Gate({ width: concurrentLoads, clock })
    this.#rows = new Rows({
      capacity: engine.rows,
      budget: limits.memory ?? Infinity,
      bytes: (classes) => this.rowBytes(classes),
      base: { version: family.manifest.files[BASE_FILE]!.sha256, about: about(family.base) },
      clock,
      minResidencyMs: limits.minResidencyMs,
      standing: (version) => versions.standing(version),
      evicted: (_, ageMs) => observe.eviction(ageMs / 1000),
      cleared: (row) => {
        if (this.#alive) engine.clear(row)
      },
    })
    engine.on('down', this.#down)
    engine.on('up', this.#up)
  }

  /** Begins to load, on a started engine or once it is up, and waits for the pinned versions. */
  async start(): Promise<void> {
    if (this.#options.engine.state === 'ready') await this.#resume()
  }

  /** The engine's generation, which the rows handed out now belong to. */
  get generation(): number {
    return this.#options.engine.generation
  }

  /** Bytes of a bank row and of a head of so many classes. */
  rowBytes(classes: number): number {
    const { family, limits } = this.#options
    return rowBytes(family.layout, limits.bankDtype, family.manifest.features, classes)
  }

  /** An empty account of what may be pinned beside the base and a version of `largest` classes. */
  pinRoom(largest: number): PinRoom {
    const { family, engine, limits } = this.#options
    const { classes } = about(family.base)
    const bytes = (classes: number) => this.rowBytes(classes)
    return new PinRoom({ rows: engine.rows, memory: limits.memory ?? Infinity, bytes }, { classes }, largest)
  }

  memory(): MemoryAccount {
    const { family, engine, limits, versions } = this.#options
    const residents = Array.from(this.#rows.residents(), ({ version, about: { classes } }) => {
      const standing = versions.standing(version)
      return { classes, active: standing === 'active' || standing === 'pinned' }
    })
    return memoryAccount(family.manifest, family.layout, limits.bankDtype, residents, engine)
  }

  /** Reads and checks a pack. @throws FacetError `invalid_pack` (422) with every problem found */
  prepare(bytes: Uint8Array): Promise<Prepared> {
    return this.#prepare(bytes)
  }

  /** Milliseconds since the least recently used resident version was asked for. */
  lruAge(): number {
    return this.#rows.lruAge()
  }

  state(version: string): Exclude<ResidencyState, 'inactive'> {
    if (this.#rows.find(version)) return 'resident'
    if (this.#loads.has(version)) return 'loading'
    return this.#failures.has(version) ? 'failed' : 'cold'
  }

  failure(version: string): FacetError | undefined {
    return this.#failures.get(version)?.error
  }

  /** Takes a reference where the version is resident. */
  hold(version: string): Resident | undefined {
    return this.#rows.use(version)
  }

  release(resident: Resident): void {
    this.#rows.release(resident)
  }

  /**
   * Looks again at versions whose standing changed: a row that no domain needs is freed, and what is remembered
   * of a version that is gone is forgotten.
   */
  settle(versions: Iterable<string>): void {
    for (const version of versions) {
      this.#rows.settle(version)
      if (this.#options.versions.standing(version) === 'none') this.#failures.delete(version)
    }
  }

  /** Remembers that a version cannot be loaded, so that a corrupt blob is not read at each request. */
  fail(version: string, cause: unknown): FacetError {
    const { clock, logger } = this.#options
    const error = unloadable(cause, this.#failureMs)
    // Out of file descriptors, for one: the next request may try again.
    const transient = cause instanceof FacetError && cause.code === 'store_failed'
    if (!transient) this.#failures.set(version, { error, until: clock.now() + this.#failureMs })
    // A damaged pack is told in a line; a stack is for what nobody foresaw.
    const why = cause instanceof FacetError ? { reason: cause.message } : { err: cause }
    logger.error({ ...why, version: short(version) }, 'adapter cannot be loaded')
    return error
  }

  /**
   * Takes a reference, loading the version where it is cold. Requests for one version share one load.
   * @throws FacetError `load_timeout` (503), `domain_failed` (503), `deadline_exceeded` (504),
   * `client_closed` (499) or `draining` (503)
   */
  join(version: string, wait: WaitOptions = {}): Promise<Resident> {
    const { clock, limits } = this.#options
    const here = this.#rows.use(version)
    if (here) return Promise.resolve(here)
    if (wait.signal?.aborted) return Promise.reject(clientGone())
    this.#observe.miss()
    const now = clock.now()
    const late = wait.deadline !== undefined && wait.deadline < now + limits.loadTimeoutMs
    return this.#wait(version, (leave) => {
      const leaveWith = (error: () => FacetError) => () => leave(error())
      const ms = late ? wait.deadline! - now : limits.loadTimeoutMs
      const cancel = clock.after(Math.max(0, ms), leaveWith(late ? tooLate : () => this.#loadTimeout()))
      const abort = leaveWith(clientGone)
      wait.signal?.addEventListener('abort', abort, { once: true })
      return () => {
        cancel()
        wait.signal?.removeEventListener('abort', abort)
      }
    })
  }

  /** Loads a version that is to stay, however long it takes. Never rejects: a failure is remembered. */
  async preload(version: string): Promise<void> {
    try {
      this.release(this.#rows.use(version) ?? (await this.#wait(version, () => () => {})))
    } catch (error) {
      this.#options.logger.warn({ err: error, version: short(version) }, 'pinned adapter is not resident')
    }
  }

  /**
   * Brings a new pack into a row that no request can reach.
   * @param canary whether the pack is tried there
   * @throws FacetError `bank_full` (503) when no row gets free in time, `engine_restarting` (503), `draining`
   * (503), `invalid_pack` (422) for one larger than the bank's memory or one that fails its canary, or the engine's refusal of the tensors
   */
  async stage(prepared: Prepared, { canary }: { canary: boolean }): Promise<Staging> {
    const staging = await this.#stage(prepared)
    try {
      if (canary) await this.#options.canary(staging.row, staging.generation)
      return staging
    } catch (error) {
      staging.discard()
      throw error
    }
  }

  #stage(prepared: Prepared): Promise<Staging> {
    const { clock, engine, limits } = this.#options
    return new Promise((resolve, reject) => {
      let ticket: Ticket | undefined
      let late = false
      const cancel = clock.after(limits.loadTimeoutMs, () => {
        late = true
        ticket?.cancel()
        reject(this.#alive ? bankFull() : engineRestarting())
      })
      const bring = async (): Promise<void> => {
        while (!late) {
          if (this.#closed) throw draining()
          this.#checkRoom(prepared.classes, 'invalid_pack')
          ticket = this.#rows.request(prepared.classes)
          const place = await ticket.place
          if (place === null) {
            if (late) return
            throw draining()
          }
          if (!(await this.#fill(place, prepared))) continue
          if (late) return this.#rows.giveBack(place)
          return resolve({
            row: place.row,
            generation: engine.generation,
            keep: () => (this.#rows.holds(place) ? this.#publish(place, prepared) : null),
            discard: () => this.#rows.giveBack(place),
          })
        }
      }
      bring().catch(reject).finally(cancel)
    })
  }

  /** Ends every wait with `draining` and listens to the engine no more. */
  close(): void {
    this.#closed = true
    this.#options.engine.off('down', this.#down)
    this.#options.engine.off('up', this.#up)
    for (const load of this.#loads.values()) this.#settleLoad(load, (waiter) => waiter.reject(draining()))
    this.#rows.close()
    for (const resume of this.#ups.splice(0)) resume()
  }

  /** Joins or begins the load of a version. `arm` sets what may end the wait early and returns its undoing. */
  #wait(version: string, arm: (leave: (error: FacetError) => void) => () => void): Promise<Resident> {
    if (this.#closed) return Promise.reject(draining())
    const failure = this.#failures.get(version)
    if (failure && this.#options.clock.now() < failure.until) return Promise.reject(failure.error)
    return new Promise((resolve, reject) => {
      let disarm = (): void => {}
      const waiter: Waiter = {
        resolve: (resident) => {
          disarm()
          resolve(resident)
        },
        reject: (error) => {
          disarm()
          reject(error)
        },
      }
      const load = this.#loads.get(version) ?? this.#begin(version)
      load.waiters.add(waiter)
      disarm = arm((error) => {
        load.waiters.delete(waiter)
        waiter.reject(error)
        this.#abandon(load)
      })
    })
  }

  #begin(version: string): Load {
    const load: Load = { version, waiters: new Set(), ticket: null }
    this.#loads.set(version, load)
    // Its waiters join after this returns, so a row at hand must not end it at once.
    void Promise.resolve().then(() => this.#run(load))
    return load
  }

  /** A load that nobody waits for gives up its turn; one that has its row goes on. */
  #abandon(load: Load): void {
    if (load.waiters.size > 0 || load.ticket === null) return
    if (load.ticket.cancel()) this.#loads.delete(load.version)
  }

  async #run(load: Load): Promise<void> {
    try {
      const resident = await this.#bring(load)
      if (resident === null) return
      this.#settleLoad(load, (waiter) => {
        resident.references++
        waiter.resolve(resident)
      })
      this.release(resident)
    } catch (cause) {
      const error = passing(cause) ? cause : this.fail(load.version, cause)
      this.#settleLoad(load, (waiter) => waiter.reject(error))
    }
  }

  #settleLoad(load: Load, settle: (waiter: Waiter) => void): void {
    if (this.#loads.get(load.version) === load) this.#loads.delete(load.version)
    for (const waiter of load.waiters) settle(waiter)
    load.waiters.clear()
  }

  /** A row, then the pack; again from the row on when the engine restarts meanwhile. Null when abandoned. */
  async #bring(load: Load): Promise<Resident | null> {
    for (;;) {
      if (load.waiters.size === 0) {
        this.#settleLoad(load, () => {})
        return null
      }
      const classes = this.#options.versions.classes(load.version)
      this.#checkRoom(classes, 'domain_failed')
      load.ticket = this.#rows.request(classes)
      const place = await load.ticket.place
      load.ticket = null
      if (place === null) return null
      const there = this.#rows.find(load.version)
      if (there) return this.#rows.fill(place, load.version, there.about)
      const resident = await this.#gate.run(() => this.#read(load.version, place))
      if (resident) return resident
    }
  }

  /** Disk to row. Null when the engine lost the row meanwhile. */
  async #read(version: string, place: Place): Promise<Resident | null> {
    const { clock, versions } = this.#options
    const start = clock.now()
    const tier = versions.tier(version)
    const done = (outcome: 'ok' | 'error') => this.#observe.load(outcome, tier, (clock.now() - start) / 1000)
    let bytes: Uint8Array | undefined
    let prepared: Prepared | undefined
    try {
      bytes = await versions.read(version)
      prepared = await this.#prepare(bytes)
      if (!(await this.#fill(place, prepared))) return null
      const resident = this.#publish(place, prepared)
      done('ok')
      return resident
    } catch (error) {
      this.#rows.giveBack(place)
      if (!passing(error)) done('error')
      throw error
    } finally {
      prepared?.release()
      if (bytes) free([bytes])
    }
  }

  /** Stages a pack into a held place. False when the engine restarted: the place is void. */
  async #fill(place: Place, prepared: Prepared): Promise<boolean> {
    const { engine } = this.#options
    if (!this.#alive) await new Promise<void>((resolve) => this.#ups.push(resolve))
    try {
      if (this.#closed) throw draining()
      if (!this.#rows.holds(place)) return false
      await engine.stage(place.row, prepared.row())
      return this.#rows.holds(place)
    } catch (error) {
      if (!this.#rows.holds(place)) return false
      if (!(error instanceof FacetError) || error.code !== 'engine_restarting') {
        this.#rows.giveBack(place)
        throw error
      }
      // The engine's `down` is on its way; do not try again before its `up`.
      this.#down()
      return false
    }
  }

  /** A version that fits into no bank of this size must not wait for it. */
  #checkRoom(classes: number, code: 'invalid_pack' | 'domain_failed'): void {
    const bytes = this.rowBytes(classes)
    if (bytes <= this.#rows.room) return
    throw new FacetError(
      code,
      `Its adapter and head take ${bytes} bytes, and beside the base there are ${this.#rows.room}: raise --bank-memory.`,
    )
  }

  #publish(place: Place, prepared: Prepared): Resident {
    this.#failures.delete(prepared.version)
    // Not `prepared` itself: it keeps the decoded pack, and the row is in the bank by now.
    const { version, design, labels, activation, classes } = prepared
    return this.#rows.fill(place, version, { design, labels, activation, classes })
  }

  readonly #down = (): void => {
    if (!this.#alive) return
    this.#alive = false
    this.#rows.reset()
  }

  readonly #up = (): void => {
    this.#down()
    void this.#resume()
  }

  async #resume(): Promise<void> {
    this.#alive = true
    for (const resume of this.#ups.splice(0)) resume()
    await Promise.all(Array.from(this.#options.versions.pinned(), (version) => this.preload(version)))
  }

  #loadTimeout(): FacetError {
    const message = this.#alive
      ? 'The adapter did not get into the bank in time; it is busy with other domains.'
      : 'The adapter did not load in time: the engine is restarting.'
    return new FacetError('load_timeout', message, { retryAfter: 1 })
  }
}
