/**
 * The line: who is next. One line for all principals, in which each of them has few places; whose place it is decides
 * the principal's own line of domains (`domain-line.ts`).
 *
 * When an entry leaves, its principal's place goes to the end of the line. So a principal with images of five hundred
 * domains delays another principal by two entries, as a principal with one domain does.
 */
import { type DomainEntry, DomainLine, type LineLimits } from './domain-line.js'

/** What a line holds. */
export interface LineEntry extends DomainEntry {
  /** Whose it is. */
  readonly principal: string
}

/** The entries of one principal. It exists while there are any. */
interface Share<E extends LineEntry> {
  readonly entries: DomainLine<E>
  /** Its places in the line, the first one first. */
  readonly places: Place<E>[]
}

interface Place<E extends LineEntry> {
  readonly share: Share<E>
}

export class Line<E extends LineEntry> {
  readonly #limits: LineLimits
  readonly #shares = new Map<string, Share<E>>()
  /** Empty only where nothing waits at all. */
  readonly #line = new Set<Place<E>>()
  /** Entries of each domain, of all principals. */
  readonly #ofDomain = new Map<string, number>()
  #length = 0

  constructor(limits: LineLimits) {
    this.#limits = limits
  }

  /** Entries, those behind the line included. */
  get length(): number {
    return this.#length
  }

  lengthOf(domain: string): number {
    return this.#ofDomain.get(domain) ?? 0
  }

  /** The entry that is next; of those that `accepts` where that is given. */
  first(accepts: (entry: E) => boolean = () => true): E | undefined {
    for (const { share } of this.#line) for (const entry of share.entries) if (accepts(entry)) return entry
    return undefined
  }

  /** The entries of a domain: those of the principal that is next first. */
  *of(domain: string): Iterable<E> {
    if (this.lengthOf(domain) === 0) return
    const seen = new Set<Share<E>>()
    for (const { share } of this.#line) {
      if (seen.has(share)) continue
      seen.add(share)
      yield* share.entries.of(domain)
    }
  }

  /**
   * The first entries of those who are quiet: of *quiet* principals, of which at most `quietLength` entries wait, and
   * then of quiet domains of the others.
   *
   * @param most entries returned at most
   * @returns none where everyone is quiet
   */
  quiet(most: number, quietLength: number): E[] {
    const quiet: E[] = []
    const floods = new Set<Share<E>>()
    const next = new Map<Share<E>, Iterator<E>>()
    for (const { share } of this.#line) {
      if (share.entries.length > quietLength) floods.add(share)
      else if (quiet.length < most) {
        let entries = next.get(share)
        if (entries === undefined) {
          entries = share.entries[Symbol.iterator]()
          next.set(share, entries)
        }
        const { value, done } = entries.next()
        if (done !== true) quiet.push(value)
      } else if (floods.size > 0) break
    }
    if (floods.size === 0) return []
    for (const { entries } of floods) {
      if (quiet.length === most) break
      quiet.push(...entries.quiet(most - quiet.length, quietLength))
    }
    return quiet
  }

  push(entry: E): void {
    let share = this.#shares.get(entry.principal)
    if (share === undefined) {
      share = { entries: new DomainLine(this.#limits), places: [] }
      this.#shares.set(entry.principal, share)
    }
    share.entries.push(entry)
    this.#length++
    this.#ofDomain.set(entry.domain, this.lengthOf(entry.domain) + 1)
    this.#fillPlaces(share)
  }

  /**
   * No-op for an entry that is not here.
   * @param isTurn its principal has had a turn; unless given, where it is next
   */
  remove(entry: E, isTurn?: boolean): void {
    const share = this.#shares.get(entry.principal)
    if (share === undefined || !share.entries.remove(entry)) return
    this.#length--
    const others = this.lengthOf(entry.domain) - 1
    if (others === 0) this.#ofDomain.delete(entry.domain)
    else this.#ofDomain.set(entry.domain, others)
    const [first] = this.#line
    // Who has had a turn goes to the end; otherwise its places stay as far as it needs them.
    const place = (isTurn ?? first === share.places[0]) ? share.places.shift() : undefined
    if (place !== undefined) this.#line.delete(place)
    else if (share.entries.length < share.places.length) this.#line.delete(share.places.pop()!)
    this.#fillPlaces(share)
    if (share.entries.length === 0) this.#shares.delete(entry.principal)
  }

  /** Gives a principal places at the end of the line while it has entries for them. */
  #fillPlaces(share: Share<E>): void {
    const places = Math.min(this.#limits.places(), share.entries.length)
    while (share.places.length < places) {
      const place = { share }
      share.places.push(place)
      this.#line.add(place)
    }
  }
}
