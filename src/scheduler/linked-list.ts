/**
 * A doubly linked list whose links live in its members: push, shift and removal from the middle in O(1),
 * without allocation. A member is in one list at most.
 */
export abstract class Linked<Self> {
  previous: Self | null = null
  next: Self | null = null
}

export class LinkedList<Member extends Linked<Member>> {
  #first: Member | null = null
  #last: Member | null = null
  #length = 0

  get length(): number {
    return this.#length
  }

  get first(): Member | null {
    return this.#first
  }

  push(member: Member): void {
    member.previous = this.#last
    if (this.#last === null) this.#first = member
    else this.#last.next = member
    this.#last = member
    this.#length++
  }

  /** `member` must be in this list. */
  remove(member: Member): void {
    if (member.previous === null) this.#first = member.next
    else member.previous.next = member.next
    if (member.next === null) this.#last = member.previous
    else member.next.previous = member.previous
    member.previous = member.next = null
    this.#length--
  }
}
