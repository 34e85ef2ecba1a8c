/**
 * Many deadlines on one timer: a binary heap, earliest first, and a timer for its top alone. Adding and
 * removing cost O(log n); nothing is left behind by a member that was removed.
 */
import type { Clock } from './clock.js'

/** What a JavaScript timer can count, ms; it fires at once beyond. */
const longestTimer = 2 ** 31 - 1

export interface Timed {
  /** `clock.now()` milliseconds. */
  readonly deadline: number
  /** Place in the heap, kept by `Deadlines`; -1 outside. */
  place: number
}

export class Deadlines<Member extends Timed> {
  readonly #clock: Clock
  readonly #expired: (member: Member) => void
  readonly #heap: Member[] = []
  #timer: { at: number; cancel: () => void } | null = null

  /** @param expired called for each member when its deadline has come; it is no longer in the heap then */
  constructor(clock: Clock, expired: (member: Member) => void) {
    this.#clock = clock
    this.#expired = expired
  }

  add(member: Member): void {
    this.#heap.push(member)
    this.#rise(member, this.#heap.length - 1)
    this.#arm()
  }

  /** No-op for a member that is not waiting. */
  remove(member: Member): void {
    const place = member.place
    if (place < 0) return
    member.place = -1
    const last = this.#heap.pop()!
    if (last !== member) {
      this.#rise(last, place)
      this.#sink(last, last.place)
    }
    if (this.#heap.length === 0) this.#disarm()
  }

  #arm(): void {
    const top = this.#heap[0]
    // A timer that comes too early, its member gone, is cheaper to let fire than to replace each time.
    if (top === undefined || (this.#timer !== null && this.#timer.at <= top.deadline)) return
    this.#disarm()
    const wait = Math.min(longestTimer, Math.max(0, top.deadline - this.#clock.now()))
    const cancel = this.#clock.after(wait, () => this.#fire())
    this.#timer = { at: top.deadline, cancel }
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #fire(): void {
    this.#timer = null
    for (
      let top = this.#heap[0];
      top !== undefined && top.deadline <= this.#clock.now();
      top = this.#heap[0]
    ) {
      this.remove(top)
      this.#expired(top)
    }
    this.#arm()
  }

  #rise(member: Member, place: number): void {
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (this.#heap[parent]!.deadline <= member.deadline) break
      this.#put(this.#heap[parent]!, place)
      place = parent
    }
    this.#put(member, place)
  }

  #sink(member: Member, place: number): void {
    for (;;) {
      let child = 2 * place + 1
      if (child >= this.#heap.length) break
      const right = this.#heap[child + 1]
      if (right !== undefined && right.deadline < this.#heap[child]!.deadline) child++
      if (this.#heap[child]!.deadline >= member.deadline) break
      this.#put(this.#heap[child]!, place)
      place = child
    }
    this.#put(member, place)
  }

  #put(member: Member, place: number): void {
    this.#heap[place] = member
    member.place = place
  }
}
