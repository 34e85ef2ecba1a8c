/**
 * At most so many tasks at once; and a bounded number that wait, in all and of each owner. Owners take turns, so that
 * one that floods delays another by the tasks at once and its own turn; the tasks of one go in order of arrival. Who
 * waits leaves when the client has left or the deadline comes, and takes no turn then.
 */
import type { Clock } from './clock.js'
import { Deadlines } from './deadlines.js'
import { clientClosed, FacetError, Withdrawn } from '../errors.js'

export interface GateOptions {
  /** Tasks at once. */
  width: number
  clock: Clock
  /** Tasks that `admit` lets wait, in all and of one owner; unbounded unless given. */
  maxWaiting?: number
  maxWaitingOfOne?: number
  /** What happens behind the gate and what sets its bounds, for messages. */
  words?: { task: string; option: string; optionOfOne: string }
  /** A task was refused or left: `queue_full`, `domain_queue_full`, `deadline_exceeded` or `client_closed`. */
  refused?(reason: string): void
}

export interface GateWait {
  /** Whose task it is; all are of one unless told. */
  owner?: string
  /** `clock.now()` milliseconds. */
  deadline?: number
  /** Aborted when the client left. */
  signal?: AbortSignal
}

interface Waiter {
  readonly owner: string
  readonly deadline: number
  place: number
  enter(): void
  leave(error: FacetError): void
}

/** Seconds after which a turn may have come free. */
const RETRY_SECONDS = 1

export class Gate {
  readonly #options: GateOptions
  /** By owner, the next one to have a turn first; an owner is here while a task of it waits. */
  readonly #waiting = new Map<string, Set<Waiter>>()
  #length = 0
  readonly #deadlines: Deadlines<Waiter>
  #free: number

  constructor(options: GateOptions) {
    this.#options = options
    this.#free = options.width
    this.#deadlines = new Deadlines(options.clock, (waiter) => {
      options.refused?.('deadline_exceeded')
      waiter.leave(this.#tooLate())
    })
  }

  /** Tasks that wait for their turn. */
  get waiting(): number {
    return this.#length
  }

  /**
   * Asks for room for tasks that come in the same turn, by owner: all of them find it, or none comes. `run` itself asks
   * for none.
   * @throws FacetError `queue_full` (429)
   */
  admit(counts: ReadonlyMap<string, number>): void {
    const { maxWaiting = Infinity, maxWaitingOfOne = Infinity, words } = this.#options
    let all = 0
    for (const count of counts.values()) all += count
    if (this.#length + Math.max(0, all - this.#free) > maxWaiting)
      throw this.#full('queue_full', `${maxWaiting}`, words?.option)
    for (const [owner, count] of counts) {
      const waiting = this.#waiting.get(owner)?.size ?? 0
      // Who waits already may take no more than is left, as in the scheduler: the room is never full for others.
      const share = waiting > 0 ? maxWaiting - this.#length : maxWaiting
      const most = Math.min(maxWaitingOfOne, share)
      if (waiting + Math.max(0, count - this.#free) <= most) continue
      const option = share < maxWaitingOfOne ? words?.option : words?.optionOfOne
      throw this.#full('domain_queue_full', `${most} of '${owner}'`, option)
    }
  }

  /**
   * Runs `task` when its turn has come, and answers as it does.
   * @throws FacetError `client_closed` (499), `deadline_exceeded` (504), before the task began
   */
  async run<T>(task: () => Promise<T>, wait: GateWait = {}): Promise<T> {
    await this.#enter(wait)
    try {
      return await task()
    } finally {
      this.#next()
    }
  }

  #next(): void {
    const [turn] = this.#waiting
    if (turn === undefined) {
      this.#free++
      return
    }
    const [owner, waiters] = turn
    const [waiter] = waiters
    waiter!.enter()
    // Its next turn comes after all others'.
    if (waiters.size === 0) return
    this.#waiting.delete(owner)
    this.#waiting.set(owner, waiters)
  }

  async #enter({ owner = '', deadline = Infinity, signal }: GateWait): Promise<void> {
    if (signal?.aborted) throw this.#left(signal)
    if (deadline <= this.#options.clock.now()) {
      this.#options.refused?.('deadline_exceeded')
      throw this.#tooLate()
    }
    if (this.#free > 0) {
      this.#free--
      return
    }
    await new Promise<void>((resolve, reject) => {
      const abort = () => waiter.leave(this.#left(signal!))
      const end = () => {
        this.#leave(waiter)
        this.#deadlines.remove(waiter)
        signal?.removeEventListener('abort', abort)
      }
      const waiter: Waiter = {
        owner,
        deadline,
        place: -1,
        enter: () => {
          end()
          resolve()
        },
        leave: (error) => {
          end()
          reject(error)
        },
      }
      const others = this.#waiting.get(owner)
      if (others) others.add(waiter)
      else this.#waiting.set(owner, new Set([waiter]))
      this.#length++
      if (deadline !== Infinity) this.#deadlines.add(waiter)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  #leave(waiter: Waiter): void {
    const own = this.#waiting.get(waiter.owner)!
    own.delete(waiter)
    if (own.size === 0) this.#waiting.delete(waiter.owner)
    this.#length--
  }

  #full(reason: string, most: string, option: string | undefined): FacetError {
    const { words, refused } = this.#options
    refused?.(reason)
    const [what, by] = words ? [` to be ${words.task}`, ` (${option})`] : ['', '']
    return new FacetError('queue_full', `Too many images wait${what}: ${most}${by} may.`, {
      retryAfter: RETRY_SECONDS,
    })
  }

  #left(signal: AbortSignal): FacetError {
    if (!(signal.reason instanceof Withdrawn)) this.#options.refused?.('client_closed')
    return clientClosed()
  }

  #tooLate(): FacetError {
    const what = this.#options.words ? ` to be ${this.#options.words.task}` : ''
    return new FacetError('deadline_exceeded', `The deadline passed while the image waited${what}.`)
  }
}
