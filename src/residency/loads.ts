/**
 * Loads cold versions: one load a version, however many requests wait for it, and a bounded number of loads
 * at once.
 *
 * A load waits for a row first and reads the pack then, so that a pack in memory never waits for a row. A
 * load that no request waits for any more leaves the queue for rows; one that has its row is finished.
 */
import { free } from '../bytes/free.js'
import type { Clock } from '../concurrency/clock.js'
import { Gate } from '../concurrency/gate.js'
import { draining } from '../errors.js'
import type { FailedVersions } from './failed-versions.js'
import { passing } from './failures.js'
import type { Prepare, Prepared } from './prepare.js'
import type { RowWriter } from './row-writer.js'
import type { Resident, RowReservation, Rows } from './rows.js'
import type { PackBytes, Tier, Versions } from './versions.js'

/** Packs read and written into rows at once. */
const CONCURRENT_LOADS = 4

export interface LoadsOptions {
  rows: Rows
  writer: RowWriter
  versions: Versions
  failed: FailedVersions
  prepare: Prepare
  clock: Clock
  concurrentLoads: number | undefined
  /**
   * @param tier `store` where the pack could not be read
   * @param seconds from the first byte read to the written row; the wait for a row not included
   */
  loaded(outcome: 'ok' | 'error', tier: Tier, seconds: number): void
}

/** A request that waits for a load. */
interface LoadRequest {
  resolve(resident: Resident): void
  reject(error: unknown): void
}

interface Load {
  readonly version: string
  /** Of the request that began it. */
  readonly principal: string
  readonly requests: Set<LoadRequest>
  /** Aborts the wait for a row; null while the load does not wait for one. */
  reserving: AbortController | null
}

export class Loads {
  readonly #options: LoadsOptions
  readonly #gate: Gate
  readonly #loads = new Map<string, Load>()
  #closed = false

  constructor(options: LoadsOptions) {
    this.#options = options
    const { clock, concurrentLoads = CONCURRENT_LOADS } = options
    this.#gate = new Gate({ width: concurrentLoads, clock })
  }

  has(version: string): boolean {
    return this.#loads.has(version)
  }

  /**
   * Begins the load of a version or joins the one under way, and resolves with one reference to its row.
   * @param principal whose request it is: principals take turns
   * @param signal ends the wait with its reason; without one the request waits as long as the load takes
   * @throws FacetError `domain_failed`, `draining` (503)
   */
  async wait(version: string, principal: string, signal?: AbortSignal): Promise<Resident> {
    if (this.#closed) throw draining()
    this.#options.failed.check(version)
    let load = this.#loads.get(version)
    if (load === undefined) load = this.#begin(version, principal)
    else if (load.reserving !== null) this.#options.rows.join(version, principal)
    return new Promise((resolve, reject) => {
      const request: LoadRequest = { resolve, reject }
      load.requests.add(request)
      signal?.addEventListener('abort', () => this.#leave(load, request, signal.reason), { once: true })
    })
  }

  /** Ends every wait with `draining`. */
  close(): void {
    this.#closed = true
    for (const load of this.#loads.values()) this.#settle(load, (request) => request.reject(draining()))
  }

  #begin(version: string, principal: string): Load {
    const load: Load = { version, principal, requests: new Set(), reserving: null }
    this.#loads.set(version, load)
    // The caller adds its request after this returns; a load without requests would end at once.
    void Promise.resolve().then(() => this.#run(load))
    return load
  }

  #leave(load: Load, request: LoadRequest, reason: unknown): void {
    if (!load.requests.delete(request)) return
    request.reject(reason)
    if (load.requests.size === 0) load.reserving?.abort()
  }

  async #run(load: Load): Promise<void> {
    const { failed, rows } = this.#options
    try {
      const resident = await this.#bring(load)
      if (resident === null) return
      this.#settle(load, (request) => {
        resident.references++
        request.resolve(resident)
      })
      rows.release(resident)
    } catch (cause) {
      const error = passing(cause) ? cause : failed.add(load.version, cause)
      this.#settle(load, (request) => request.reject(error))
    }
  }

  #settle(load: Load, settle: (request: LoadRequest) => void): void {
    if (this.#loads.get(load.version) === load) this.#loads.delete(load.version)
    for (const request of load.requests) settle(request)
    load.requests.clear()
  }

  /** A row, then the pack; again from the row on when the engine restarts meanwhile. Null when no request
   * waits. */
  async #bring(load: Load): Promise<Resident | null> {
    const { rows, versions } = this.#options
    while (load.requests.size > 0) {
      const { version, principal } = load
      const extent = versions.extent(version)
      rows.checkRoom(extent, 'domain_failed')
      load.reserving = new AbortController()
      const reservation = await rows.reserve({ version, extent, principal }, load.reserving.signal)
      load.reserving = null
      if (reservation === null) continue
      const there = rows.find(version)
      if (there) return rows.fill(reservation, version, there.about)
      const owner = [reservation.principal]
      const resident = await this.#gate.run(() => this.#read(version, reservation), { owner })
      if (resident) return resident
    }
    this.#settle(load, () => {})
    return null
  }

  /** From the store into a row. Null when the engine lost the row meanwhile. */
  async #read(version: string, reservation: RowReservation): Promise<Resident | null> {
    const { clock, failed, loaded, prepare, rows, versions, writer } = this.#options
    const start = clock.now()
    let read: PackBytes | undefined
    const done = (outcome: 'ok' | 'error') =>
      loaded(outcome, read?.tier ?? 'store', (clock.now() - start) / 1000)
    let prepared: Prepared | undefined
    try {
      read = await versions.read(version)
      prepared = await prepare(read.bytes)
      if (!(await writer.write(reservation, prepared))) return null
      failed.delete(version)
      const resident = rows.fill(reservation, version, prepared.about)
      done('ok')
      return resident
    } catch (error) {
      rows.giveBack(reservation)
      if (!passing(error)) done('error')
      throw error
    } finally {
      prepared?.release()
      if (read) free([read.bytes])
    }
  }
}
