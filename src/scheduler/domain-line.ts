/**
 * The line of one principal: which of its entries is next. In it each domain has few places.
 *
 * What a domain queues beyond its places waits behind the line. When one of its entries leaves the line, its next
 * one gets a place at the end. So a flood of one domain delays another domain by two entries at most.
 *
 * Why two places and not one (a round robin): with one place, a second image of a domain waits a whole round longer
 * than its neighbours, and the slowest answers of random traffic take three times the median
 * (docs/decisions/0006-lines-with-two-places-a-domain.md).
 */

/** What a line holds. */
export interface DomainEntry {
  readonly domain: string
}

/** The entries of one domain. It exists while there are any. */
class DomainQueue<E> {
  /** Entries in the line. */
  placed = 0
  /** Entries that wait for a place in the line, in order of arrival. */
  readonly behind = new Set<E>()

  get length(): number {
    return this.placed + this.behind.size
  }
}

export class DomainLine<E extends DomainEntry> {
  readonly #places: () => number
  readonly #queues = new Map<string, DomainQueue<E>>()
  /** Empty only where nothing waits at all. */
  readonly #line = new Set<E>()
  #length = 0

  /** @param places places of one domain, asked at each change; at least 1 */
  constructor(places: () => number) {
    this.#places = places
  }

  /** Entries, those behind the line included. */
  get length(): number {
    return this.#length
  }

  lengthOf(domain: string): number {
    return this.#queues.get(domain)?.length ?? 0
  }

  /** The entries in the line, the next one first. */
  [Symbol.iterator](): Iterator<E> {
    return this.#line.values()
  }

  /**
   * The first entries of *quiet* domains: domains of which at most `quietLength` entries wait.
   *
   * @param most entries returned at most
   * @returns none where every domain is quiet
   */
  quiet(most: number, quietLength: number): E[] {
    const quiet: E[] = []
    let someFlood = false
    for (const entry of this.#line) {
      if (this.lengthOf(entry.domain) > quietLength) someFlood = true
      else if (quiet.length < most) quiet.push(entry)
      if (someFlood && quiet.length === most) break
    }
    return someFlood ? quiet : []
  }

  push(entry: E): void {
    let queue = this.#queues.get(entry.domain)
    if (queue === undefined) {
      queue = new DomainQueue()
      this.#queues.set(entry.domain, queue)
    }
    queue.behind.add(entry)
    this.#fillPlaces(queue)
    this.#length++
  }

  /** @returns false for an entry that is not here */
  remove(entry: E): boolean {
    const queue = this.#queues.get(entry.domain)
    if (queue === undefined) return false
    if (this.#line.delete(entry)) {
      queue.placed--
      this.#fillPlaces(queue)
    } else if (!queue.behind.delete(entry)) return false
    if (queue.length === 0) this.#queues.delete(entry.domain)
    this.#length--
    return true
  }

  /** Moves entries of a domain into the line while it has free places. */
  #fillPlaces(queue: DomainQueue<E>): void {
    const places = this.#places()
    for (const entry of queue.behind) {
      if (queue.placed >= places) return
      queue.behind.delete(entry)
      this.#line.add(entry)
      queue.placed++
    }
  }
}
