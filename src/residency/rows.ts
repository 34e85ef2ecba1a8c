/**
 * The rows of the bank: which version is in which row, how many references it has, and which version is
 * evicted when another needs the room.
 *
 * Knows no packs, no engine and no domains: what a version is worth comes from `standing`. Everything here is
 * synchronous, so that no state can change between a decision and its effect.
 */
import type { Clock } from '../concurrency/clock.js'
import { FacetError } from '../errors.js'
import type { About } from './prepare.js'
import type { Standing } from './versions.js'

/** A version in a row. */
export interface Resident {
  readonly version: string
  readonly row: number
  readonly about: About
  /** Of its row and its head. */
  readonly bytes: number
  /** `clock.now()` when it was written. */
  readonly since: number
  /** `clock.now()` when it was last asked for. */
  used: number
  /** Leases and other holds; the row keeps its content while there is one. */
  references: number
}

/** A row that one owner is to fill or give back; nobody else gets it meanwhile. */
export interface RowReservation {
  readonly row: number
  /** Of the row and of the head that is to come. */
  readonly bytes: number
}

/** A wait for a row. */
interface Claim {
  readonly bytes: number
  grant(reservation: RowReservation | null): void
}

export interface RowsOptions {
  /** Rows, the base's (0) included. */
  capacity: number
  /** Bytes of rows and heads together. */
  budget: number
  /** Bytes of a row and a head of so many classes. */
  bytes(classes: number): number
  base: { version: string; about: About }
  clock: Clock
  /** An active version is not evicted before this, ms. It prevents a load at every request (thrashing). */
  minResidencyMs: number
  standing(version: string): Standing
  /** A version was evicted to make room, `ageMs` after it was last asked for. */
  evicted(resident: Resident, ageMs: number): void
  /** A row's content is no longer needed. */
  cleared(row: number): void
}

export class Rows {
  readonly #options: RowsOptions
  /** Least recently asked for first. */
  readonly #residents = new Map<string, Resident>()
  /** In order of arrival. */
  readonly #claims = new Set<Claim>()
  readonly #reservations = new Set<RowReservation>()
  /** These take no new references, so that they can be evicted when the last one is returned. */
  readonly #leaving = new Set<Resident>()
  #freeRows: number[] = []
  /** Of residents and reservations. */
  #usedBytes = 0
  #cancelTimer: (() => void) | undefined

  constructor(options: RowsOptions) {
    this.#options = options
    const { base, clock } = options
    const now = clock.now()
    const bytes = options.bytes(base.about.classes)
    this.#residents.set(base.version, { ...base, row: 0, bytes, since: now, used: now, references: 1 })
    this.reset()
  }

  residents(): Iterable<Resident> {
    return this.#residents.values()
  }

  /** Milliseconds since the least recently used version, the base not counted, was asked for; 0 where there
   * is none. */
  lruAge(): number {
    for (const { row, used } of this.#residents.values())
      if (row !== 0) return this.#options.clock.now() - used
    return 0
  }

  /** The version's row, also where it takes no new references. */
  find(version: string): Resident | undefined {
    return this.#residents.get(version)
  }

  /** Takes a reference. Undefined where the version is not resident, or is to be evicted. */
  use(version: string): Resident | undefined {
    const resident = this.#residents.get(version)
    if (resident === undefined || this.#leaving.has(resident)) return undefined
    this.#residents.delete(version)
    this.#residents.set(version, resident)
    resident.used = this.#options.clock.now()
    resident.references++
    return resident
  }

  /** Returns a reference. */
  release(resident: Resident): void {
    resident.references--
    if (resident.references === 0) this.settle(resident.version)
  }

  /** Refuses a version that would never fit into this bank, so that it does not wait for a row.
   * @throws FacetError `code` */
  checkRoom(classes: number, code: 'invalid_pack' | 'domain_failed'): void {
    const bytes = this.#options.bytes(classes)
    const room = this.#options.budget - this.#base.bytes
    if (bytes <= room) return
    const needs = `Its adapter and head take ${bytes} bytes, and beside the base there are ${room}`
    throw new FacetError(code, `${needs}: raise --bank-memory.`)
  }

  /**
   * Reserves a row, with bytes for a head of so many classes; claims are granted in order of arrival.
   * @returns null where `signal` aborts first or no row will be granted any more
   */
  reserve(classes: number, signal: AbortSignal): Promise<RowReservation | null> {
    return new Promise((grant) => {
      const claim = { bytes: this.#options.bytes(classes), grant }
      this.#claims.add(claim)
      signal.addEventListener('abort', () => this.#withdraw(claim), { once: true })
      this.#grantRows()
    })
  }

  /** False once the reservation is filled, given back, or lost in a reset. */
  holds(reservation: RowReservation): boolean {
    return this.#reservations.has(reservation)
  }

  /** Returns a row unused. No-op for a reservation that is not held. */
  giveBack(reservation: RowReservation): void {
    if (!this.#reservations.delete(reservation)) return
    this.#vacate(reservation)
    this.#grantRows()
  }

  /**
   * Makes a reserved row the version's, with one reference. Where the version is resident already, the
   * reservation is given back and that row is referenced instead: a version has one row.
   */
  fill(reservation: RowReservation, version: string, about: About): Resident {
    const now = this.#options.clock.now()
    let resident = this.#residents.get(version)
    if (resident !== undefined) {
      resident.references++
      this.giveBack(reservation)
      return resident
    }
    this.#reservations.delete(reservation)
    const bytes = this.#options.bytes(about.classes)
    this.#usedBytes += bytes - reservation.bytes
    resident = { version, row: reservation.row, about, bytes, since: now, used: now, references: 1 }
    this.#residents.set(version, resident)
    this.#grantRows()
    return resident
  }

  /** Looks again at a version whose standing changed. */
  settle(version: string): void {
    const resident = this.#residents.get(version)
    if (resident?.references === 0 && this.#standing(resident) === 'none') this.#remove(resident)
    this.#grantRows()
  }

  /** The engine lost all rows but the base's: reservations, residents and their references become void. */
  reset(): void {
    const base = this.#base
    this.#residents.clear()
    this.#usedBytes = base.bytes
    this.#residents.set(base.version, base)
    this.#reservations.clear()
    this.#leaving.clear()
    this.#freeRows = Array.from({ length: this.#options.capacity - 1 }, (_, index) => index + 1).reverse()
    this.#grantRows()
  }

  /** Ends every wait for a row. */
  close(): void {
    for (const { grant } of this.#claims) grant(null)
    this.#claims.clear()
    this.#grantRows()
  }

  #withdraw(claim: Claim): void {
    if (!this.#claims.delete(claim)) return
    claim.grant(null)
    this.#grantRows()
  }

  /** Grants rows to the claims in order, with evictions, up to the first claim that does not fit. */
  #grantRows(): void {
    for (const claim of this.#claims) {
      const { bytes, grant } = claim
      while (!this.#fits(bytes) && this.#evict());
      if (!this.#fits(bytes)) break
      const reservation = { row: this.#freeRows.pop()!, bytes }
      this.#usedBytes += bytes
      this.#reservations.add(reservation)
      this.#claims.delete(claim)
      grant(reservation)
    }
    this.#chooseLeaving()
  }

  #fits(bytes: number): boolean {
    return this.#freeRows.length > 0 && this.#usedBytes + bytes <= this.#options.budget
  }

  /** Evicts the least recently used version that may be evicted now, an idle one if there is one.
   * @returns false where there is none */
  #evict(): boolean {
    let victim: Resident | undefined
    for (const resident of this.#residents.values()) {
      if (resident.references > 0) continue
      const standing = this.#standing(resident)
      if (standing === 'pinned') continue
      if (standing !== 'active') {
        victim = resident
        break
      }
      if (victim === undefined && this.#youth(resident) <= 0) victim = resident
    }
    if (victim === undefined) return false
    this.#remove(victim)
    this.#options.evicted(victim, this.#options.clock.now() - victim.used)
    return true
  }

  /**
   * Prevents starvation: a version that is asked for all the time never reaches zero references. So where
   * claims are left, the longest resident versions are marked as leaving (no new references), as many as free
   * enough room for the claims. When the next minimum residency ends, the claims are looked at again.
   */
  #chooseLeaving(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#leaving.clear()
    if (this.#claims.size === 0) return
    let soonest = Infinity
    const eligible: Resident[] = []
    for (const resident of this.#residents.values()) {
      const standing = this.#standing(resident)
      if (standing === 'pinned') continue
      const youth = standing === 'active' ? this.#youth(resident) : 0
      if (youth > 0) soonest = Math.min(soonest, youth)
      else eligible.push(resident)
    }
    eligible.sort((a, b) => a.since - b.since)
    let rows = this.#claims.size - this.#freeRows.length
    let bytes = this.#usedBytes - this.#options.budget
    for (const claim of this.#claims) bytes += claim.bytes
    for (const resident of eligible) {
      if (rows <= 0 && bytes <= 0) break
      this.#leaving.add(resident)
      rows--
      bytes -= resident.bytes
    }
    if (soonest < Infinity) this.#cancelTimer = this.#options.clock.after(soonest, () => this.#grantRows())
  }

  get #base(): Resident {
    return this.#residents.get(this.#options.base.version)!
  }

  #standing(resident: Resident): Standing {
    return resident.row === 0 ? 'pinned' : this.#options.standing(resident.version)
  }

  /** Milliseconds until its minimum residency ends. */
  #youth(resident: Resident): number {
    return resident.since + this.#options.minResidencyMs - this.#options.clock.now()
  }

  #remove(resident: Resident): void {
    this.#residents.delete(resident.version)
    this.#leaving.delete(resident)
    this.#vacate(resident)
  }

  #vacate({ row, bytes }: RowReservation): void {
    this.#usedBytes -= bytes
    this.#freeRows.push(row)
    this.#options.cleared(row)
  }
}
