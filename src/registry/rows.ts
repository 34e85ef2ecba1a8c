/**
 * The rows of the bank: which version is in which, who uses it, and who leaves when another needs the room.
 *
 * Knows no packs, no engine and no domains: a version's worth comes from `standing`. Everything here is
 * synchronous, so that no state can change between a decision and its effect.
 */
import type { Clock } from '../clock.js'
import type { About } from './prepare.js'

/**
 * What a version means to the domains. `pinned`: active in a pinned domain, never leaves. `active`: stays for
 * its minimum residency at least. `idle`: kept but not active, leaves first. `none`: no domain has it; its row
 * is freed with its last reference.
 */
export type Standing = 'pinned' | 'active' | 'idle' | 'none'

/** A version in a row. */
export interface Resident {
  readonly version: string
  readonly row: number
  readonly about: About
  /** `clock.now()` when it came, and when it was last asked for. */
  readonly since: number
  used: number
  /** Leases and other holds; the row is what it is while there is one. */
  references: number
}

/** A row taken out of circulation for one owner, to be filled or given back. */
export interface Place {
  readonly row: number
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
  readonly #waiting = new Set<(place: Place | null) => void>()
  readonly #taken = new Set<Place>()
  /** In use, but to go as soon as they are not: no new references. */
  readonly #leaving = new Set<Resident>()
  #free: number[] = []
  #cancelTimer: (() => void) | undefined

  constructor(options: RowsOptions) {
    this.#options = options
    const { base, clock } = options
    const now = clock.now()
    this.#residents.set(base.version, { ...base, row: 0, since: now, used: now, references: 1 })
    this.reset()
  }

  residents(): Iterable<Resident> {
    return this.#residents.values()
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

  /** Claims a row. */
  request(): Ticket {
    let give: (place: Place | null) => void = () => {}
    const place = new Promise<Place | null>((resolve) => {
      give = resolve
    })
    this.#waiting.add(give)
    this.#pump()
    return {
      place,
      cancel: () => {
        if (!this.#waiting.delete(give)) return false
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
    this.#vacate(place.row)
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
    resident = { version, row: place.row, about, since: now, used: now, references: 1 }
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
    const base = this.#residents.get(this.#options.base.version)!
    this.#residents.clear()
    this.#residents.set(base.version, base)
    this.#taken.clear()
    this.#leaving.clear()
    this.#free = Array.from({ length: this.#options.capacity - 1 }, (_, index) => index + 1).reverse()
    this.#pump()
  }

  /** Ends every wait. */
  close(): void {
    for (const give of this.#waiting) give(null)
    this.#waiting.clear()
    this.#pump()
  }

  /** Gives rows to those who wait, first come, first served. */
  #pump(): void {
    for (const give of this.#waiting) {
      if (this.#free.length === 0) this.#evict()
      const row = this.#free.pop()
      if (row === undefined) break
      const place = { row }
      this.#taken.add(place)
      this.#waiting.delete(give)
      give(place)
    }
    this.#plan()
  }

  /** Frees the row of the least recently used version that may leave now: idle ones first. */
  #evict(): void {
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
    if (victim === undefined) return
    this.#remove(victim)
    this.#options.evicted(victim, this.#options.clock.now() - victim.used)
  }

  /**
   * Someone still waits, so no row is free. A version that is asked for all the time would never be without a
   * reference, and the others would never come in: as many as there are waiters, the longest resident first,
   * take no new references. And the next minimum residency to end is an occasion to look again.
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
    for (const resident of eligible.slice(0, this.#waiting.size)) this.#leaving.add(resident)
    if (soonest < Infinity) this.#cancelTimer = this.#options.clock.after(soonest, () => this.#pump())
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
    this.#vacate(resident.row)
  }

  #vacate(row: number): void {
    this.#free.push(row)
    this.#options.cleared(row)
  }
}
