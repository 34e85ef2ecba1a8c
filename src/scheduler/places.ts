/**
 * The places for runs that several schedulers share: so many batches run at once, whoever's they are.
 *
 * Who has entries and no place stands in line. The next place goes to the scheduler that had places for the least time
 * (`fair-queue.ts`), and it forms its batch then, not earlier. One that has nothing to run has no place: then the others
 * have all. One whose entries flood holds up another for as long as a run that has begun, and then they take turns.
 *
 * A run that takes very long no longer counts, because it may hang: the places of the others must not wait for it.
 */
import type { Clock } from '../concurrency/clock.js'
import { FairQueue, type Turn } from '../concurrency/fair-queue.js'

/** After so many milliseconds a run no longer counts. Ordinary ones end far sooner. */
const COUNTED_MS = 5000

/** What one scheduler has of the places. */
export interface RunPlaces {
  /**
   * Takes a place now, or stands in line: `offered` is called when it is its turn.
   * @returns gives the place back, when its run has ended; undefined where there is none now
   */
  take(): (() => void) | undefined
  /** It has nothing to run now: it no longer stands in line. */
  leave(): void
}

interface Member {
  readonly name: string
  /** Of its last run; what the next one is expected to take. */
  ms: number
  /** While it stands in line. */
  turn: Turn<Member> | undefined
  offered(): void
}

export class Places {
  readonly #width: number
  readonly #clock: Clock
  readonly #line = new FairQueue<Member>(({ ms }) => ms)
  #taken = 0

  /** @param width batches at once */
  constructor(width: number, clock: Clock) {
    this.#width = width
    this.#clock = clock
  }

  /** @param offered called when a place is free and it is the turn of this scheduler, which takes it or leaves */
  join(name: string, offered: () => void): RunPlaces {
    const member: Member = { name, ms: 0, turn: undefined, offered }
    return {
      take: () => this.#take(member),
      leave: () => {
        if (member.turn === undefined) return
        this.#line.remove(member.turn)
        member.turn = undefined
        this.#offer()
      },
    }
  }

  #take(member: Member): (() => void) | undefined {
    member.turn ??= this.#line.push([member.name], member)
    const { turn } = member
    if (this.#taken >= this.#width || this.#line.first() !== turn) return undefined
    this.#line.give(turn)
    member.turn = undefined
    this.#taken++
    this.#offer()
    return this.#held(member, turn)
  }

  /** A place that is held from now on. */
  #held(member: Member, turn: Turn<Member>): () => void {
    const began = this.#clock.now()
    let counts = true
    const discount = () => {
      if (!counts) return
      counts = false
      this.#taken--
      this.#offer()
    }
    const cancel = this.#clock.after(COUNTED_MS, discount)
    return () => {
      cancel()
      member.ms = this.#clock.now() - began
      this.#line.end(turn, member.ms)
      discount()
    }
  }

  #offer(): void {
    if (this.#taken < this.#width) this.#line.first()?.item.offered()
  }
}
