/**
 * The rows of the bank: which version is in which, who uses it, and who leaves when another needs the room.
 *
 * Knows no packs, no engine and no domains: a version's worth comes from `standing`. Everything here is
 * synchronous, so that no state can change between a decision and its effect.
 */
import type { Clock } from '../concurrency/clock.js'
import type { About } from './prepare.js'
import type { Standing } from './versions.js'

/** A version in a row. */
export interface Resident {
  readonly version: string
  readonly row: number
  readonly about: About
  /** Of its row and its head. */
  readonly bytes: number
  /** `clock.now()` when it came, and when it was last asked for. */
  readonly since: number
  used: number
  /** Leases and other holds; the row is what it is while there is one. */
  references: number
}

/** A row taken out of circulation for one owner, to be filled or given back. */
export interface Place {
  readonly row: number
  /** Kept free for what is to come. */
  readonly bytes: number
}

interface Claim {
  readonly bytes: number
  give(place: Place | null): void
}

/** A claim on the next row that gets free, in order of arrival. */
export interface Ticket {
  /** Null when cancelled. */
  readonly place: Promise<Place | null>
  /** False once the place is given. */
  cancel(): boolean
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
  /** An active version is not evicted before this, ms: without it, one domain too many means a load at every
   * request (thrash). */
  minResidencyMs: number
  standing(version: string): Standing
  /** A version left to make room, `ageMs` after it was last asked for. */
  evicted(resident: Resident, ageMs: number): void
  /** A row lost its meaning. */
  cleared(row: number): void
}

export class Rows {
  readonly #options: RowsOptions
  /** Least recently asked for first. */
  readonly #residents = new Map<string, Resident>()
  readonly #waiting = new Set<Claim>()
  readonly #taken = new Set<Place>()
  /** In use, but to go as soon as they are not: no new references. */
  readonly #leaving = new Set<Resident>()
  #free: number[] = []
  /** Bytes of the residents and of the places taken. */
  #used = 0
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

  /** Milliseconds since the least recently used version but the base was asked for; 0 where there is none. */
  lruAge(): number {
    for (const { row, used } of this.#residents.values())
      if (row !== 0) return this.#options.clock.now() - used
    return 0
  }

  /** The version's row, whether it may be used further or not. */
  find(version: string): Resident | undefined {
    return this.#residents.get(version)
  }

  /** Takes a reference. Undefined where the version is not resident, or must leave to make room. */
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

  /** Most bytes a version may have to fit beside the base. */
  get room(): number {
    return this.#options.budget - this.#base.bytes
  }

  /** Claims a row, and the bytes for a head of so many classes beside it. */
  request(classes: number): Ticket {
    let give: (place: Place | null) => void = () => {}
    const place = new Promise<Place | null>((resolve) => {
      give = resolve
    })
    const claim = { bytes: this.#options.bytes(classes), give }
    this.#waiting.add(claim)
    this.#pump()
    return {
      place,
      cancel: () => {
        if (!this.#waiting.delete(claim)) return false
        give(null)
        this.#pump()
        return true
      },
    }
  }

  /** False once the place is filled, given back, or lost in a reset. */
  holds(place: Place): boolean {
    return this.#taken.has(place)
  }

  /** Returns a row unused. No-op for a place that is not held. */
  giveBack(place: Place): void {
    if (!this.#taken.delete(place)) return
    this.#vacate(place)
    this.#pump()
  }

  /**
   * Makes a held place the version's row, with one reference. Where the version is resident already, the place
   * goes back and that row is referenced instead: a version has one row.
   */
  fill(place: Place, version: string, about: About): Resident {
    const now = this.#options.clock.now()
    let resident = this.#residents.get(version)
    if (resident !== undefined) {
      resident.references++
      this.giveBack(place)
      return resident
    }
    this.#taken.delete(place)
    const bytes = this.#options.bytes(about.classes)
    this.#used += bytes - place.bytes
    resident = { version, row: place.row, about, bytes, since: now, used: now, references: 1 }
    this.#residents.set(version, resident)
    this.#pump()
    return resident
  }

  /** Looks again at a version whose standing changed. */
  settle(version: string): void {
    const resident = this.#residents.get(version)
    if (resident?.references === 0 && this.#standing(resident) === 'none') this.#remove(resident)
    this.#pump()
  }

  /** The engine lost every row but the base's: all places, residents and references to them are void. */
  reset(): void {
    const base = this.#base
    this.#residents.clear()
    this.#used = base.bytes
    this.#residents.set(base.version, base)
    this.#taken.clear()
    this.#leaving.clear()
    this.#free = Array.from({ length: this.#options.capacity - 1 }, (_, index) => index + 1).reverse()
    this.#pump()
  }

  /** Ends every wait. */
  close(): void {
    for (const { give } of this.#waiting) give(null)
    this.#waiting.clear()
    this.#pump()
  }

  /** Gives rows to those who wait, first come, first served. */
  #pump(): void {
    for (const claim of this.#waiting) {
      const { bytes, give } = claim
      while (!this.#fits(bytes) && this.#evict());
      if (!this.#fits(bytes)) break
      const place = { row: this.#free.pop()!, bytes }
      this.#used += bytes
      this.#taken.add(place)
      this.#waiting.delete(claim)
      give(place)
    }
    this.#plan()
  }

  #fits(bytes: number): boolean {
    return this.#free.length > 0 && this.#used + bytes <= this.#options.budget
  }

  /** Frees the row of the least recently used version that may leave now: idle ones first. False where none may. */
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
   * Someone still waits, so no row is free. A version that is asked for all the time would never be without a
   * reference, and the others would never come in: as many as make room for the waiters, the longest resident
   * first, take no new references. And the next minimum residency to end is an occasion to look again.
   */
  #plan(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#leaving.clear()
    if (this.#waiting.size === 0) return
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
    let rows = this.#waiting.size - this.#free.length
    let bytes = this.#used - this.#options.budget
    for (const claim of this.#waiting) bytes += claim.bytes
    for (const resident of eligible) {
      if (rows <= 0 && bytes <= 0) break
      this.#leaving.add(resident)
      rows--
      bytes -= resident.bytes
    }
    if (soonest < Infinity) this.#cancelTimer = this.#options.clock.after(soonest, () => this.#pump())
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

  #vacate({ row, bytes }: Place): void {
    this.#used -= bytes
    this.#free.push(row)
    this.#options.cleared(row)
  }
}
