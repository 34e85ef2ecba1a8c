/**
 * An amount of something (bytes) that several parties share.
 *
 * Each party has an equal *share*, which it can have whatever the others hold. What a party neither holds nor waits for
 * the others may hold; they are asked to give it back when it is waited for. So one busy party has nearly all, and two
 * that want more than there is have half each. No party holds more than its limit when it begins to hold something, so
 * all together never hold more than there is.
 *
 * Pure bookkeeping, and synchronous: it knows neither what is held nor how a party makes room.
 */

/** What the budget needs to know of a party. */
export interface Party {
  /** What it holds. */
  held(): number
  /** What it would hold if it got all that it waits for. */
  wanted(): number
  /** The limit may have changed: it takes what it waits for, or gives back what it holds beyond. */
  look(): void
}

/** The budget as one party sees it. */
export interface Allowance {
  /** What it may hold now, as long as the others keep what they hold. */
  readonly limit: number
  /** What it can have: at least its share, as soon as the others have given back what they hold of it. */
  readonly due: number
  readonly share: number
  /** Tells the others that what it holds or wants has changed. It may be asked to look before this returns. */
  changed(): void
}

interface Member {
  readonly party: Party
  held: number
  wanted: number
  /** It is to look. */
  asked: boolean
}

export class SharedBudget {
  readonly total: number
  /** Of each party. */
  readonly share: number
  readonly #members: Member[] = []
  #asking = false

  /** @param parties that will join */
  constructor(total: number, parties = 1) {
    this.total = total
    this.share = total / parties
  }

  join(party: Party): Allowance {
    const member: Member = { party, held: 0, wanted: 0, asked: false }
    this.#members.push(member)
    const limit = () => this.#limit(party)
    const { share } = this
    return {
      get limit() {
        return limit()
      },
      get due() {
        return Math.max(share, limit())
      },
      share,
      changed: () => this.#changed(member),
    }
  }

  /** All but what each other holds, and what it wants of its share. */
  #limit(party: Party): number {
    let limit = this.total
    for (const { party: other } of this.#members)
      if (other !== party) limit -= Math.max(other.held(), Math.min(this.share, other.wanted()))
    return limit
  }

  #changed(member: Member): void {
    const held = member.party.held()
    const wanted = member.party.wanted()
    if (held === member.held && wanted === member.wanted) return
    member.held = held
    member.wanted = wanted
    for (const other of this.#members) if (other !== member) other.asked = true
    // A party that looks may change itself: that is seen to here, in turn.
    if (this.#asking) return
    this.#asking = true
    try {
      for (;;) {
        const next = this.#members.find(({ asked }) => asked)
        if (next === undefined) return
        next.asked = false
        next.party.look()
      }
    } finally {
      this.#asking = false
    }
  }
}
