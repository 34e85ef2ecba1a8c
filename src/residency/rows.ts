/**
 * The rows of the bank: which version is in which row, how many references it has, and which version is
 * evicted when another needs the room.
 *
 * Knows no packs, no engine and no domains: what a version is worth comes from `standing`. Everything here is
 * synchronous, so that no state can change between a decision and its effect.
 *
 * The memory may be shared with the rows of other families (`concurrency/shared-budget.ts`). What these hold of ours is
 * waited for; what we hold of theirs we give back, in the order in which versions leave for others.
 */
import type { Clock } from '../concurrency/clock.js'
import { FairQueue, type Turn } from '../concurrency/fair-queue.js'
import type { Allowance, SharedBudget } from '../concurrency/shared-budget.js'
import { FacetError } from '../errors.js'
import { Demand } from './demand.js'
import { HIGH_DEMAND, HOT_DEMAND, leaving, type Newcomer, type Occupant } from './eviction.js'
import type { Extent } from '../pack/extent.js'
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
  /** `clock.now()` when it was last asked for, and the principal that did. */
  used: number
  principal: string
  /** Leases and other holds; the row keeps its content while there is one. */
  references: number
}

/** A row that one owner is to fill or give back; nobody else gets it meanwhile. */
export interface RowReservation {
  readonly row: number
  /** Of the row and of the head that is to come. */
  readonly bytes: number
  /** Whose turn it was. */
  readonly principal: string
}

/** What a row is wanted for. */
export interface Wanted {
  version: string
  /** What is to come. */
  extent: Extent
  principal: string
}

/** What room is made for. */
interface Need extends Newcomer {
  readonly rows: 0 | 1
}

/** Room that others need: nothing of ours comes, and what leaves has had its minimum residency. */
const REPAYMENT: Need = { rows: 0, bytes: 0, demand: HIGH_DEMAND }

/** A wait for a row. */
interface Claim extends Need {
  readonly version: string
  demand: number
  /** Of each principal that waits for it. */
  readonly turns: Map<string, Turn<Claim>>
  grant(reservation: RowReservation | null): void
}

/** A resident as `eviction.ts` sees it. */
interface Seat extends Occupant {
  readonly resident: Resident
}

export interface RowsOptions {
  /** Rows, the base's (0) included. */
  capacity: number
  /** Bytes of rows and heads together, and of those of other families. */
  budget: SharedBudget
  /** Bytes of a row that holds this. */
  bytes(extent: Extent): number
  base: { version: string; about: About }
  clock: Clock
  /** An active version is not evicted before this, ms: so it shows whether it is asked for again. */
  minResidencyMs: number
  standing(version: string): Standing
  /** A version was evicted to make room, `ageMs` after it was last asked for. */
  evicted(resident: Resident, ageMs: number): void
  /** A row's content is no longer needed. */
  cleared(row: number): void
}

export class Rows {
  readonly #options: RowsOptions
  readonly #allowance: Allowance
  /** Least recently asked for first. */
  readonly #residents = new Map<string, Resident>()
  /** Principals take turns, and so do the versions that one of them asks for. */
  readonly #line = new FairQueue<Claim>(() => 1)
  readonly #claims = new Set<Claim>()
  #claimedBytes = 0
  readonly #demand: Demand
  readonly #reservations = new Set<RowReservation>()
  /** These take no new references, so that they can be evicted when the last one is returned. */
  readonly #leaving = new Set<Resident>()
  /** Rows that are free, of those that were used before; from `#nextRow` on none was. */
  #freeRows: number[] = []
  #nextRow = 1
  /** Of residents and reservations. */
  #usedBytes = 0
  #cancelTimer: (() => void) | undefined

  constructor(options: RowsOptions) {
    this.#options = options
    const { base, clock } = options
    this.#demand = new Demand(clock, options.minResidencyMs)
    const now = clock.now()
    const bytes = options.bytes(base.about)
    const unused = { since: now, used: now, principal: '' }
    this.#residents.set(base.version, { ...base, ...unused, row: 0, bytes, references: 1 })
    this.#allowance = options.budget.join({
      held: () => this.#usedBytes,
      wanted: () => this.#usedBytes + this.#claimedBytes,
      look: () => this.#grantRows(),
    })
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
  use(version: string, principal: string): Resident | undefined {
    this.#demand.ask(version)
    const resident = this.#residents.get(version)
    if (resident === undefined || this.#leaving.has(resident)) return undefined
    this.#residents.delete(version)
    this.#residents.set(version, resident)
    resident.used = this.#options.clock.now()
    resident.principal = principal
    resident.references++
    return resident
  }

  /** Returns a reference. */
  release(resident: Resident): void {
    resident.references--
    if (resident.references > 0) return
    const hotAndStays = this.#demand.of(resident.version) >= HOT_DEMAND && !this.#leaving.has(resident)
    if (!hotAndStays || this.#standing(resident) === 'none') this.settle(resident.version)
  }

  /** Refuses a version that would never fit into this bank, so that it does not wait for a row.
   * @throws FacetError `code` */
  checkRoom(extent: Extent, code: 'invalid_pack' | 'domain_failed'): void {
    const bytes = this.#options.bytes(extent)
    const room = this.#allowance.share - this.#base.bytes
    if (bytes <= room) return
    const needs = `Its adapter and head take ${bytes} bytes, and beside the base there are ${Math.floor(room)}`
    throw new FacetError(code, `${needs}: raise --bank-memory.`)
  }

  /**
   * Reserves a row, with bytes for what is to come. Principals take turns, and so do the versions that one of
   * them asks for.
   * @returns null where `signal` aborts first or no row will be granted any more
   */
  reserve({ version, extent, principal }: Wanted, signal: AbortSignal): Promise<RowReservation | null> {
    return new Promise((grant) => {
      const demand = this.#demand.of(version)
      const bytes = this.#options.bytes(extent)
      const claim: Claim = { version, rows: 1, bytes, demand, turns: new Map(), grant }
      this.#claims.add(claim)
      this.#claimedBytes += claim.bytes
      this.#wait(claim, principal)
      signal.addEventListener('abort', () => this.#withdraw(claim), { once: true })
      if (this.#matters(claim)) this.#grantRows()
    })
  }

  /** Another principal waits for the row that was claimed for a version: the claim takes its turns too. */
  join(version: string, principal: string): void {
    for (const claim of this.#claims) {
      if (claim.version !== version) continue
      claim.demand = Math.max(claim.demand, this.#demand.of(version))
      this.#wait(claim, principal)
      if (this.#matters(claim)) this.#grantRows()
      return
    }
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
    const bytes = this.#options.bytes(about)
    this.#usedBytes += bytes - reservation.bytes
    const { row, principal } = reservation
    resident = { version, row, about, bytes, since: now, used: now, principal, references: 1 }
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

  /** No domain lists the version any more. */
  forget(version: string): void {
    this.#demand.delete(version)
  }

  /** The engine lost all rows but the base's: reservations, residents and their references become void. */
  reset(): void {
    const base = this.#base
    this.#residents.clear()
    this.#usedBytes = base.bytes
    this.#residents.set(base.version, base)
    this.#reservations.clear()
    this.#leaving.clear()
    this.#freeRows = []
    this.#nextRow = 1
    this.#grantRows()
  }

  /** Ends every wait for a row. */
  close(): void {
    for (const claim of this.#claims) this.#end(claim, null)
    this.#grantRows()
  }

  /** False for one of very many claims that is not next: it changes nothing about who may leave. */
  #matters(claim: Claim): boolean {
    return this.#claims.size <= this.#residents.size || this.#line.first()?.item === claim
  }

  #wait(claim: Claim, principal: string): void {
    if (!claim.turns.has(principal))
      claim.turns.set(principal, this.#line.push([principal, claim.version], claim))
  }

  #withdraw(claim: Claim): void {
    if (!this.#claims.has(claim)) return
    const matters = this.#matters(claim)
    this.#end(claim, null)
    if (matters) this.#grantRows()
    else this.#allowance.changed()
  }

  #end(claim: Claim, reservation: RowReservation | null): void {
    this.#claims.delete(claim)
    this.#claimedBytes -= claim.bytes
    for (const turn of claim.turns.values()) this.#line.remove(turn)
    claim.grant(reservation)
  }

  /**
   * Grants rows to the claims in turn, evicting what may be evicted; the first that does not fit stops it. Where nothing
   * is claimed, gives back what others need.
   */
  #grantRows(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#leaving.clear()
    this.#grantInTurn()
    if (this.#claims.size === 0 && this.#usedBytes > this.#allowance.due) this.#makeRoom(REPAYMENT)
    this.#allowance.changed()
  }

  #grantInTurn(): void {
    for (let turn = this.#line.first(); turn !== undefined; turn = this.#line.first()) {
      const claim = turn.item
      const { bytes } = claim
      if (!this.#fits(bytes) && !this.#makeRoom(claim)) return
      this.#line.give(turn)
      this.#line.end(turn, 1)
      const reservation = { row: this.#freeRows.pop() ?? this.#nextRow++, bytes, principal: turn.owner[0]! }
      this.#usedBytes += bytes
      this.#reservations.add(reservation)
      this.#end(claim, reservation)
    }
  }

  #fits(bytes: number): boolean {
    return this.#rowsLeft > 0 && this.#usedBytes + bytes <= this.#allowance.limit
  }

  /** Whether nothing of ours is in the way. What others hold of our share they give back. */
  #fitsIntoOurs({ rows, bytes }: Need): boolean {
    return this.#rowsLeft >= rows && this.#usedBytes + bytes <= this.#allowance.due
  }

  /**
   * Evicts what may be evicted now, and marks what is to leave later.
   * @returns whether there is room now
   */
  #makeRoom(need: Need): boolean {
    const { cold, hot, soonest } = this.#leavingFor(need)
    this.#evict([...cold, ...hot], need)
    if (this.#fitsIntoOurs(need)) return this.#fits(need.bytes)
    this.#chooseLeaving(need, cold, hot)
    if (soonest < Infinity) this.#cancelTimer = this.#options.clock.after(soonest, () => this.#grantRows())
    return false
  }

  /** Evicts versions without references, in the order in which they should leave, until what is needed fits. */
  #evict(from: readonly Seat[], need: Need): void {
    for (const { resident } of from) {
      if (this.#fitsIntoOurs(need)) return
      if (resident.references > 0) continue
      this.#remove(resident)
      this.#options.evicted(resident, this.#options.clock.now() - resident.used)
    }
  }

  /**
   * Prevents starvation: a version that is asked for all the time never reaches zero references. So where claims are
   * left, versions are marked as leaving (no new references): cold ones, as many as free enough room for the claims,
   * and hot ones as far as the first claim may push them out. When the next minimum residency ends, the claims are
   * looked at again.
   */
  #chooseLeaving(first: Need, cold: readonly Seat[], hot: readonly Seat[]): void {
    let rows = this.#rowsLeft
    let bytes = this.#allowance.due - this.#usedBytes
    const leave = (from: readonly Seat[], neededRows: number, neededBytes: number) => {
      for (const { resident } of from) {
        if (rows >= neededRows && bytes >= neededBytes) return
        if (resident.references === 0) continue
        this.#leaving.add(resident)
        rows++
        bytes += resident.bytes
      }
    }
    leave(cold, this.#claims.size, this.#claimedBytes)
    leave(hot, first.rows, first.bytes)
  }

  /** What may leave, and the milliseconds until the next minimum residency ends. */
  #leavingFor(need: Need): { cold: Seat[]; hot: Seat[]; soonest: number } {
    const rowsOf = new Map<string, number>()
    for (const { principal } of this.#residents.values())
      rowsOf.set(principal, (rowsOf.get(principal) ?? 0) + 1)
    const seats = Array.from(this.#residents.values(), (resident) => this.#seat(resident, rowsOf))
    const rows = need.rows === 0 ? Infinity : this.#rowsLeft
    const free = { rows, bytes: this.#allowance.due - this.#usedBytes }
    const coming = { rows: this.#reservations.size, bytes: 0 }
    for (const { bytes } of this.#reservations) coming.bytes += bytes
    let soonest = Infinity
    for (const { standing, youthMs } of seats)
      if (standing === 'active' && youthMs > 0) soonest = Math.min(soonest, youthMs)
    return { ...leaving(seats, need, free, coming), soonest }
  }

  #seat(resident: Resident, rowsOf: ReadonlyMap<string, number>): Seat {
    const { version, principal, since, used, bytes } = resident
    const { clock, minResidencyMs } = this.#options
    const standing = this.#standing(resident)
    const youthMs = since + minResidencyMs - clock.now()
    const demand = this.#demand.of(version)
    return {
      resident,
      standing,
      demand,
      youthMs,
      rowsOfPrincipal: rowsOf.get(principal)!,
      since,
      used,
      bytes,
    }
  }

  /** Rows that nobody has. */
  get #rowsLeft(): number {
    return this.#freeRows.length + this.#options.capacity - this.#nextRow
  }

  get #base(): Resident {
    return this.#residents.get(this.#options.base.version)!
  }

  #standing(resident: Resident): Standing {
    return resident.row === 0 ? 'pinned' : this.#options.standing(resident.version)
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
