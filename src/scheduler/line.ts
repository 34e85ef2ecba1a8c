/**
 * Who is next: one line for all, with few places for each domain.
 *
 * What a domain adds beyond its places waits behind them and gets one at the end of the line when one of its own
 * leaves, so a flood of one domain costs another at most two entries. With one place each (a round robin) a second
 * image of a domain would wait a whole round longer than its neighbours, and the slowest of random traffic three
 * times the median (docs/experiments/2026-11-25-two-places-a-domain.md).
 */
import { Linked, LinkedList } from './linked-list.js'

/** The most places of a domain in the line. */
export const PLACES = 2

/** What waits in a `Line`. */
export abstract class Waiting<Self> extends Linked<Self> {
  /** It is in the line, and not behind it. */
  placed = false

  constructor(readonly domain: string) {
    super()
  }
}

/** What waits of one domain. It exists while something does. */
class DomainQueue<E extends Waiting<E>> {
  /** Entries in the line. */
  placed = 0
  /** Those that wait for a place in it. */
  readonly behind = new LinkedList<E>()

  get length(): number {
    return this.placed + this.behind.length
  }
}

export class Line<E extends Waiting<E>> {
  readonly #places: () => number
  readonly #queues = new Map<string, DomainQueue<E>>()
  /** Empty only where nothing waits. */
  readonly #line = new LinkedList<E>()
  #length = 0

  /** `places`: those of a domain, asked at each change; at least 1. */
  constructor(places: () => number) {
    this.#places = places
  }

  get first(): E | null {
    return this.#line.first
  }

  /** Entries, those behind the line too. */
  get length(): number {
    return this.#length
  }

  /** Domains of which something waits. */
  get domains(): number {
    return this.#queues.size
  }

  lengthOf(domain: string): number {
    return this.#queues.get(domain)?.length ?? 0
  }

  /**
   * The first entries, `most` of them, of domains of which no more than `few` wait; none where that holds for every
   * domain, since then nobody floods.
   */
  quiet(most: number, few: number): E[] {
    const quiet: E[] = []
    let flood = false
    for (let entry = this.#line.first; entry !== null; entry = entry.next) {
      if (this.lengthOf(entry.domain) > few) flood = true
      else if (quiet.length < most) quiet.push(entry)
      if (flood && quiet.length === most) break
    }
    return flood ? quiet : []
  }

  push(entry: E): void {
    let queue = this.#queues.get(entry.domain)
    if (queue === undefined) {
      queue = new DomainQueue()
      this.#queues.set(entry.domain, queue)
    }
    queue.behind.push(entry)
    this.#place(queue)
    this.#length++
  }

  /** `entry` must wait here. */
  remove(entry: E): void {
    const queue = this.#queues.get(entry.domain)!
    if (entry.placed) {
      this.#line.remove(entry)
      entry.placed = false
      queue.placed--
      this.#place(queue)
    } else queue.behind.remove(entry)
    if (queue.length === 0) this.#queues.delete(entry.domain)
    this.#length--
  }

  /** Gives a queue's entries the places in the line that it has free. */
  #place(queue: DomainQueue<E>): void {
    const places = this.#places()
    for (let entry = queue.behind.first; entry !== null; entry = queue.behind.first) {
      if (queue.placed >= places) return
      queue.behind.remove(entry)
      this.#line.push(entry)
      entry.placed = true
      queue.placed++
    }
  }
}
