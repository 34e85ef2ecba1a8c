/**
 * The line of one principal: which of its entries is next.
 *
 * Few entries leave in order of arrival. Where more wait, each domain has few places in the line. What it queues beyond
 * its places waits behind the line; when one of its entries leaves the line, its next one gets a place at the end. So a
 * flood of one domain delays another domain by two entries at most.
 *
 * Why not always so: with one place (a round robin) a second image of a domain waits a whole round longer than its
 * neighbours, with two places a third one does. By chance alone a domain often has so many, and the slowest answers of
 * random traffic take twice the median (docs/decisions/0006-lines-with-two-places-a-domain.md).
 */

/** What a line holds. */
export interface DomainEntry {
  readonly domain: string
}

/** Asked at each change. */
export interface LineLimits {
  /** Places of a principal in the line, and of a domain in its principal's; at least 1. */
  places(): number
  /** So many entries of a principal leave in order of arrival. */
  few(): number
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
  readonly #limits: LineLimits
  readonly #queues = new Map<string, DomainQueue<E>>()
  /** Empty only where nothing waits at all. */
  readonly #line = new Set<E>()
  /** All entries, in order of arrival. */
  readonly #arrivals = new Set<E>()

  constructor(limits: LineLimits) {
    this.#limits = limits
  }

  /** Entries, those behind the line included. */
  get length(): number {
    return this.#arrivals.size
  }

  lengthOf(domain: string): number {
    return this.#queues.get(domain)?.length ?? 0
  }

  /** The entries in the order in which they leave, the next one first. Where many wait, those behind the line are not among them. */
  [Symbol.iterator](): Iterator<E> {
    return (this.length <= this.#limits.few() ? this.#arrivals : this.#line).values()
  }

  /** The entries of a domain, those in the line first. */
  *of(domain: string): Iterable<E> {
    for (const entry of this.#line) if (entry.domain === domain) yield entry
    yield* this.#queues.get(domain)?.behind ?? []
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
    this.#arrivals.add(entry)
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
    this.#arrivals.delete(entry)
    return true
  }

  /** Moves entries of a domain into the line while it has free places. */
  #fillPlaces(queue: DomainQueue<E>): void {
    const places = this.#limits.places()
    for (const entry of queue.behind) {
      if (queue.placed >= places) return
      queue.behind.delete(entry)
      this.#line.add(entry)
      queue.placed++
    }
  }
}
