/**
 * Who is next among parties that share something: the party that was served least, by cost.
 *
 * Start-time fair queueing (Goyal, Vin and Cheng, IEEE/ACM Transactions on Networking 5(5), 1997) on a tree. A party
 * is a principal, or one of its domains; all parties within one share what it gets, so a principal with 500 domains
 * gets what a principal with one domain gets. Each party has a *mark*, the cost it was served so far. The next turn is
 * that of the party whose mark will be lowest after it, so cheap turns pass expensive ones. A party that had nothing
 * waiting starts at the mark of whoever is served now: it cannot save up turns, and does not wait for old ones.
 *
 * A cost is known only when the work has ended. Until then a party is charged what was expected.
 * Pure: it knows no time and runs nothing.
 */

/** Something that waits for its turn, or was given one that has not ended. */
export interface Turn<T> {
  readonly item: T
  readonly owner: readonly string[]
}

interface PlacedTurn<T> extends Turn<T> {
  readonly party: Party<T>
  /** What its owner was charged when it was given. */
  charge: number
}

/** A principal, or a domain of one; the root stands for all. */
class Party<T> {
  /** Cost served, on the scale of the parent's `now`. */
  mark = 0
  /** The highest mark at which a party within this one began a turn. */
  now = 0
  /** The number of its last turn, 0 before the first; among equal marks, the party served longest ago is next. */
  served = 0
  /** Turns that wait, and turns that were given and have not ended, of this party and those within. */
  waiting = 0
  given = 0
  /** In order of arrival. A party that is idle stays while it was served more than the others. */
  readonly within = new Map<string, Party<T>>()
  /** Those of them in which something waits. */
  readonly ready = new Set<Party<T>>()
  /** Which of its turns is next; null where that has to be found anew. */
  next: PlacedTurn<T> | null = null
  /** In order of arrival. */
  readonly turns = new Set<PlacedTurn<T>>()

  constructor(
    readonly parent: Party<T> | null,
    readonly name: string,
  ) {}

  get idle(): boolean {
    return this.waiting === 0 && this.given === 0
  }
}

/** Idle parties that are remembered within another at most. */
const MAX_REMEMBERED = 1024

export class FairQueue<T> {
  readonly #expectedCost: (item: T) => number
  readonly #all = new Party<T>(null, '')
  /** Those that wait, in order of arrival. */
  readonly #waiting = new Set<PlacedTurn<T>>()
  #given = 0

  /** @param expectedCost in any unit, the same as of the cost that `end` is told; asked at each choice */
  constructor(expectedCost: (item: T) => number) {
    this.#expectedCost = expectedCost
  }

  /** Turns that wait. */
  get length(): number {
    return this.#all.waiting
  }

  /** Outermost parties that are remembered. */
  get owners(): number {
    return this.#all.within.size
  }

  /**
   * Adds a turn behind the others of its owner.
   * @param owner whose turn it is, the outermost party first: principal, domain. Of the same length for all turns
   */
  push(owner: readonly string[], item: T): Turn<T> {
    let party = this.#all
    for (const name of owner) {
      let inner = party.within.get(name)
      if (inner === undefined) {
        inner = new Party(party, name)
        party.within.set(name, inner)
      }
      if (inner.waiting === 0) inner.mark = Math.max(inner.mark, party.now)
      party = inner
    }
    const turn = { item, owner, party, charge: 0 }
    party.turns.add(turn)
    this.#waiting.add(turn)
    for (let each: Party<T> | null = party; each !== null; each = each.parent) {
      each.waiting++
      each.next = null
      each.parent?.ready.add(each)
    }
    return turn
  }

  /** Removes a turn that waits. */
  remove(turn: Turn<T>): void {
    const { party } = turn as PlacedTurn<T>
    if (!party.turns.delete(turn as PlacedTurn<T>)) return
    this.#waiting.delete(turn as PlacedTurn<T>)
    for (let each: Party<T> | null = party; each !== null; each = each.parent) noLongerWaits(each)
    forgetIdle(party)
  }

  /** The turn that is next. It stays in the queue. */
  first(): Turn<T> | undefined {
    return this.#all.waiting === 0 ? undefined : this.#nextOf(this.#all)
  }

  /** The first turn that is accepted; of each owner only the first turn is asked for. */
  firstAccepted(accepts: (item: T) => boolean): Turn<T> | undefined {
    const first = this.first()
    return first === undefined || accepts(first.item) ? first : this.#acceptedOf(this.#all, accepts)
  }

  /** The turn that came first of those that are accepted, whoever is next; of each owner only the first turn is asked for. */
  oldest(accepts: (item: T) => boolean): Turn<T> | undefined {
    for (const turn of this.#waiting) {
      const [ownFirst] = turn.party.turns
      if (turn === ownFirst && accepts(turn.item)) return turn
    }
    return undefined
  }

  /**
   * Gives a turn that waits: it leaves the queue, and its owner is charged the expected cost until `end`.
   * @param isNext false where another was next: who waits meanwhile saves nothing up
   */
  give(turn: Turn<T>, isNext = true): void {
    const placed = turn as PlacedTurn<T>
    const { party } = placed
    party.turns.delete(placed)
    this.#waiting.delete(placed)
    placed.charge = this.#expectedCost(turn.item)
    this.#given++
    for (let each: Party<T> | null = party; each !== null; each = each.parent) {
      noLongerWaits(each)
      each.given++
      each.served = this.#given
      const { parent } = each
      if (parent === null) continue
      parent.now = Math.max(parent.now, each.mark)
      if (!isNext) for (const other of parent.ready) other.mark = Math.max(other.mark, parent.now)
      each.mark += placed.charge
      if (parent.within.size > MAX_REMEMBERED) forgetSome(parent)
    }
  }

  /** The work of a given turn has ended: its owner is charged what it cost. */
  end(turn: Turn<T>, cost: number): void {
    const { party, charge } = turn as PlacedTurn<T>
    for (let each: Party<T> | null = party; each !== null; each = each.parent) {
      each.given--
      each.mark += cost - charge
      each.next = null
    }
    forgetIdle(party)
  }

  /** The next turn of a party in which something waits. */
  #nextOf(party: Party<T>): PlacedTurn<T> {
    if (party.next === null) {
      const [own] = party.turns
      party.next = own ?? this.#lowest(party, (inner) => this.#nextOf(inner))!
    }
    return party.next
  }

  #acceptedOf(party: Party<T>, accepts: (item: T) => boolean): PlacedTurn<T> | undefined {
    const [own] = party.turns
    if (own !== undefined) return accepts(own.item) ? own : undefined
    return this.#lowest(party, (inner) => this.#acceptedOf(inner, accepts))
  }

  /** Of the turns of the parties within, the one after which its party's mark will be lowest. */
  #lowest(
    party: Party<T>,
    turnOf: (inner: Party<T>) => PlacedTurn<T> | undefined,
  ): PlacedTurn<T> | undefined {
    let best: PlacedTurn<T> | undefined
    let lowest = Number.POSITIVE_INFINITY
    let servedLast = 0
    for (const inner of party.ready) {
      const turn = turnOf(inner)
      if (turn === undefined) continue
      const mark = inner.mark + this.#expectedCost(turn.item)
      if (mark > lowest || (mark === lowest && inner.served >= servedLast)) continue
      best = turn
      lowest = mark
      servedLast = inner.served
    }
    return best
  }
}

function noLongerWaits<T>(party: Party<T>): void {
  party.waiting--
  party.next = null
  if (party.waiting === 0) party.parent?.ready.delete(party)
}

/** Forgets parties that are idle and owe nothing: they would start again at the same mark. */
function forgetIdle<T>(party: Party<T>): void {
  for (let each: Party<T> | null = party; each !== null; each = each.parent) {
    if (!each.idle) return
    each.within.clear()
    each.now = 0
    if (each.parent !== null && each.mark <= each.parent.now) each.parent.within.delete(each.name)
  }
}

/** Forgets idle parties that owe nothing, and while there are too many the oldest ones too. */
function forgetSome<T>({ within, now }: Party<T>): void {
  for (const [name, inner] of within)
    if (inner.idle && (inner.mark <= now || within.size > MAX_REMEMBERED)) within.delete(name)
}
