/**
 * Dedicated networks for the versions with the most traffic (*specialists*), beside the bank: made, tried and taken away
 * in the background, one at a time. Which versions have one is `choice.ts`'s business.
 *
 * | step of a promotion | where |
 * |---|---|
 * | the pack is read, and merged with the trunk | a thread that is started for it (`merging.ts`) |
 * | the bank answers the canary image | a lane, as any image |
 * | the network is opened, and answers the same image | a thread of the native runtime |
 * | both answers are equal, and the version is still in its row: the network runs the row's batches | here |
 *
 * Families share the memory (`concurrency/shared-budget.ts`): one may use what the others neither hold nor want for
 * versions that are hot, and gives it back, its coldest network first, when they do.
 *
 * A specialist belongs to a row's content. Where that changes (a new version, an eviction, a restart of the engine) it is
 * gone in the same step, and the bank answers. So nothing here can give an answer of another version.
 */
import type { Logger } from 'pino'
import { short } from '../bytes/digest.js'
import { free } from '../bytes/free.js'
import type { Clock } from '../concurrency/clock.js'
import type { Allowance, SharedBudget } from '../concurrency/shared-budget.js'
import type { Engine } from '../engine/engine.js'
import { FacetError } from '../errors.js'
import type { Residency } from '../residency/residency.js'
import type { Versions } from '../residency/versions.js'
import { type Change, Choice, isHot, lowestOf, type Rated } from './choice.js'
import type { Merging } from './merging.js'
import { Traffic } from './traffic.js'

/** How often it is looked whether something is to be changed, ms. */
const LOOK_MS = 1000
/** Largest difference between the two answers to the canary image, relative to the largest number of the bank's. */
const TOLERANCE = 1e-4
/** Nothing is promoted while what waits for a run takes longer than this, seconds. */
const LONG_QUEUE_SECONDS = 1

export interface SpecialistsOptions {
  engine: Pick<Engine, 'run' | 'generation' | 'state' | 'hasDedicated' | 'openDedicated' | 'dropDedicated'>
  residency: Pick<Residency, 'hold' | 'release' | 'rowOf'>
  versions: Pick<Versions, 'read'>
  merging: Pick<Merging, 'merge' | 'close'>
  /** The image that a network is tried on, `[H, W, 3]`. */
  canary: Uint8Array
  /** Bytes that one network takes. */
  networkBytes: number
  /** Bytes of all families' networks. */
  budget: SharedBudget
  /** Seconds until what waits for a run has been run. */
  queueSeconds(): number
  clock: Clock
  logger: Logger
  observe?: SpecialistObserver
}

export interface SpecialistObserver {
  /** `promoted`: a version has a network; `demoted`: it has none any more; `failed`: it could not get one. */
  specialist(event: 'promoted' | 'demoted' | 'failed'): void
}

export class Specialists {
  readonly #options: SpecialistsOptions
  readonly #traffic: Traffic
  readonly #choice = new Choice()
  readonly #allowance: Allowance
  /** The row of each version that has a network, as far as known: the engine may have let it go. */
  readonly #rows = new Map<string, number>()
  /** Versions that could not get one; they are not tried again while they are resident. */
  readonly #failed = new Set<string>()
  /** A look is planned. */
  #looking = false
  #cancelLook: () => void = () => {}
  /** A promotion is under way. */
  #promoting = false
  /** Hot versions without a network. */
  #hot = 0
  #closed = false

  constructor(options: SpecialistsOptions) {
    this.#options = options
    this.#traffic = new Traffic(options.clock)
    const { budget, networkBytes } = options
    // No more than whole networks: what is left of a share is of use to others.
    const most = Math.floor(budget.share / networkBytes)
    const held = () => this.#rows.size + Number(this.#promoting)
    this.#allowance = budget.join({
      held: () => held() * networkBytes,
      wanted: () => Math.max(held(), Math.min(held() + this.#hot, most)) * networkBytes,
      look: () => this.#giveBack(),
    })
  }

  /** One more image of a version. */
  count(version: string): void {
    this.#traffic.count(version)
    if (!this.#looking) this.#lookLater()
  }

  /** Whether a version still has its network. */
  #has(version: string): boolean {
    const row = this.#rows.get(version)
    if (row === undefined) return false
    const { engine, residency } = this.#options
    if (engine.hasDedicated(row) && residency.rowOf(version) === row) return true
    this.#rows.delete(version)
    this.#options.observe?.specialist('demoted')
    return false
  }

  /** Nothing is promoted any more. What the engine is opening ends with it. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancelLook()
    await this.#options.merging.close()
  }

  #lookLater(): void {
    if (this.#closed) return
    this.#looking = true
    this.#cancelLook = this.#options.clock.after(LOOK_MS, () => {
      this.#looking = false
      this.#look()
      // Without traffic there is nothing to do but to wait for the idle ones to go.
      if (this.#rows.size > 0 || this.#traffic.versions().length > 0) this.#lookLater()
    })
  }

  #look(): void {
    const { clock, engine, residency } = this.#options
    if (this.#closed || this.#promoting || engine.state !== 'ready') return
    for (const version of this.#failed)
      if (residency.rowOf(version) === undefined) this.#failed.delete(version)
    const held = this.#held()
    const rated = (version: string): Rated => ({ version, rate: this.#traffic.of(version) })
    const others = this.#traffic
      .versions()
      .filter((version) => !held.includes(version) && !this.#failed.has(version))
      .filter((version) => residency.rowOf(version) !== undefined)
    this.#hot = others.map(rated).filter(isHot).length
    this.#allowance.changed()
    const room = Math.floor(this.#allowance.limit / this.#options.networkBytes) - held.length
    const change = this.#choice.next(clock.now(), held.map(rated), others.map(rated), room)
    if (change) this.#change(change)
  }

  /** Drops the coldest until the memory that is left to this family is enough. */
  #giveBack(): void {
    const { networkBytes } = this.#options
    const rated = this.#held().map((version): Rated => ({ version, rate: this.#traffic.of(version) }))
    let held = rated.length + Number(this.#promoting)
    while (held * networkBytes > this.#allowance.limit && rated.length > 0) {
      const coldest = lowestOf(rated)!
      rated.splice(rated.indexOf(coldest), 1)
      this.#demote(coldest.version)
      held--
    }
    this.#allowance.changed()
  }

  #held(): string[] {
    return [...this.#rows.keys()].filter((version) => this.#has(version))
  }

  #change({ demote, promote }: Change): void {
    const { queueSeconds } = this.#options
    if (promote !== undefined && queueSeconds() > LONG_QUEUE_SECONDS) return
    if (demote !== undefined) this.#demote(demote)
    if (promote === undefined) return
    this.#promoting = true
    void this.#promote(promote).then((promoted) => {
      this.#promoting = false
      // Not a second later: while traffic begins, others are to follow.
      if (promoted) this.#look()
    })
  }

  #demote(version: string): void {
    const { engine, logger, observe } = this.#options
    const row = this.#rows.get(version)!
    this.#rows.delete(version)
    engine.dropDedicated(row)
    observe?.specialist('demoted')
    logger.info({ version: short(version) }, 'dedicated network dropped')
  }

  /** Never rejects. @returns whether the version has its network now */
  async #promote(version: string): Promise<boolean> {
    const { clock, logger, observe } = this.#options
    const start = clock.now()
    const rate = this.#traffic.of(version)
    try {
      const row = await this.#open(version)
      if (row === null || this.#closed) return false
      this.#rows.set(version, row)
      observe?.specialist('promoted')
      logger.info({ version: short(version), rate, ms: clock.now() - start }, 'dedicated network in use')
      return true
    } catch (error) {
      if (this.#closed || (error instanceof FacetError && passes(error))) return false
      this.#failed.add(version)
      observe?.specialist('failed')
      logger.warn(
        { err: error, version: short(version) },
        'no dedicated network: the bank goes on answering for this version',
      )
      return false
    }
  }

  /** The row whose batches the version's network runs now; null where the version has left its row meanwhile. */
  async #open(version: string): Promise<number | null> {
    const { versions, merging } = this.#options
    const { bytes } = await versions.read(version)
    const network = await merging.merge(bytes).finally(() => free([bytes]))
    const tried = await this.#try(version, network)
    if (tried === null) return null
    const { row, opening, expected } = tried
    const opened = await opening
    const difference = relativeDifference(opened.features, expected)
    if (difference <= TOLERANCE) return !this.#closed && opened.use() ? row : null
    opened.discard()
    throw new Error(
      `its answer to the canary image differs by ${difference.toExponential(1)} from the bank's`,
    )
  }

  /** Begins to open a network, and has the bank answer the canary image. The version is held for no longer. */
  async #try(version: string, network: Uint8Array) {
    const { engine, residency, canary } = this.#options
    const resident = this.#closed ? undefined : residency.hold(version)
    if (resident === undefined) return null
    const { row } = resident
    const opening = engine.openDedicated(row, network, canary.slice())
    try {
      const batch = { pixels: canary.slice(), rows: Int32Array.of(row) }
      const { features } = await engine.run(batch, engine.generation)
      return { row, opening, expected: features }
    } catch (error) {
      opening.then((opened) => opened.discard()).catch(() => {})
      throw error
    } finally {
      residency.release(resident)
    }
  }
}

/** Failures that say nothing of the version. */
function passes({ code }: FacetError): boolean {
  return code === 'engine_restarting' || code === 'draining'
}

/** The largest difference over the largest number expected; NaN where there is one. */
function relativeDifference(found: Float32Array, expected: Float32Array): number {
  let difference = 0
  let largest = 0
  for (const [index, value] of expected.entries()) {
    difference = Math.max(difference, Math.abs(found[index]! - value))
    largest = Math.max(largest, Math.abs(value))
  }
  return largest === 0 ? difference : difference / largest
}
