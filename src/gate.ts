/**
 * At most so many tasks at once, in order of arrival; and a bounded number that wait. Who waits leaves when the
 * client has left or the deadline comes, and takes no turn then.
 */
import type { Clock } from './clock.js'
import { Deadlines } from './deadlines.js'
import { clientClosed, FacetError, Withdrawn } from './errors.js'

export interface GateOptions {
  /** Tasks at once. */
  width: number
  clock: Clock
  /** Tasks that may wait; unbounded unless given. */
  maxWaiting?: number
  /** What happens behind the gate and what sets its bound, for messages. */
  words?: { task: string; option: string }
  /** A task was refused or left: `queue_full`, `deadline_exceeded` or `client_closed`. */
  refused?(reason: string): void
}

export interface GateWait {
  /** `clock.now()` milliseconds. */
  deadline?: number
  /** Aborted when the client left. */
  signal?: AbortSignal
}

interface Waiter {
  readonly deadline: number
  place: number
  enter(): void
  leave(error: FacetError): void
}

/** Seconds after which a turn may have come free. */
const RETRY_SECONDS = 1

export class Gate {
  readonly #options: GateOptions
  readonly #waiting = new Set<Waiter>()
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
    return this.#waiting.size
  }

  /** Asks for room for `count` tasks that come in the same turn, so that all of them find it, or none comes.
   * @throws FacetError `queue_full` (429) */
  admit(count: number): void {
    const { maxWaiting = Infinity, words, refused } = this.#options
    if (this.#waiting.size + Math.max(0, count - this.#free) <= maxWaiting) return
    refused?.('queue_full')
    const [what, by] = words ? [` to be ${words.task}`, ` (${words.option})`] : ['', '']
    throw new FacetError('queue_full', `Too many images wait${what}: ${maxWaiting}${by} may.`, {
      retryAfter: RETRY_SECONDS,
    })
  }

  /**
   * Runs `task` when its turn has come, and answers as it does.
   * @throws FacetError `queue_full` (429), `client_closed` (499), `deadline_exceeded` (504), before the task began
   */
  async run<T>(task: () => Promise<T>, wait: GateWait = {}): Promise<T> {
    await this.#enter(wait)
    try {
      return await task()
    } finally {
      const [next] = this.#waiting
      if (next) next.enter()
      else this.#free++
    }
  }

  async #enter({ deadline = Infinity, signal }: GateWait): Promise<void> {
    if (signal?.aborted) throw this.#left(signal)
    if (deadline <= this.#options.clock.now()) {
      this.#options.refused?.('deadline_exceeded')
      throw this.#tooLate()
    }
    this.admit(1)
    if (this.#free > 0) {
      this.#free--
      return
    }
    await new Promise<void>((resolve, reject) => {
      const abort = () => waiter.leave(this.#left(signal!))
      const end = () => {
        this.#waiting.delete(waiter)
        this.#deadlines.remove(waiter)
        signal?.removeEventListener('abort', abort)
      }
      const waiter: Waiter = {
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
      this.#waiting.add(waiter)
      if (deadline !== Infinity) this.#deadlines.add(waiter)
      signal?.addEventListener('abort', abort, { once: true })
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
