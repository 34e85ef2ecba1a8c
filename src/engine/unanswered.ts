/** Answers that are given from elsewhere, once: to what is asked of a lane, and to its start. Knows neither questions nor lanes. */

/** Nobody need wait for it: it may be rejected without a handler. */
export class Awaited<Answer> {
  readonly answer: Promise<Answer>
  resolve!: (answer: Answer) => void
  reject!: (error: Error) => void

  constructor() {
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.answer.catch(() => {})
  }
}

/** Numbers of 32 bits that questions are asked under, and the answers that have not come. */
export class Unanswered<Answer> {
  readonly #all = new Map<number, Awaited<Answer>>()
  #lastId = 0

  add(): { id: number; answer: Promise<Answer> } {
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#all.has(this.#lastId))
    const awaited = new Awaited<Answer>()
    this.#all.set(this.#lastId, awaited)
    return { id: this.#lastId, answer: awaited.answer }
  }

  /** What answers this number, which is free then; undefined where it was answered before. */
  take(id: number): Awaited<Answer> | undefined {
    const awaited = this.#all.get(id)
    this.#all.delete(id)
    return awaited
  }

  /** Answers all of them with this error. */
  fail(reason: Error): void {
    for (const { reject } of this.#all.values()) reject(reason)
    this.#all.clear()
  }
}
