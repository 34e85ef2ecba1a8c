/**
 * A gate lets at most `width` tasks run at once; the others wait for their turn.
 *
 * Owners take turns, so a flood of one owner delays another by the running tasks and one turn. The tasks of one
 * owner run in order of arrival. A task leaves when its client leaves or its deadline comes, and takes no turn then.
 */
import type { Clock } from './clock.js'
import { clientClosed, FacetError, Withdrawn } from '../errors.js'

export interface GateOptions {
  /** Tasks at once. */
  width: number
  clock: Clock
  /** What is waited for, in the message of a missed deadline: `for the image to be decoded`. */
  purpose?: string
  /** A task left the gate before its turn: `deadline_exceeded` or `client_closed`. */
  refused?(reason: string): void
}

export interface GateWait {
  /** Whose task it is; all tasks are of one owner unless told. */
  owner?: string
  /** `clock.now()` milliseconds. */
  deadline?: number | undefined
  /** Aborted when the client left. */
  signal?: AbortSignal | undefined
}

/** A task that waits for its turn. */
interface Turn {
  enter(): void
}

export class Gate {
  readonly #options: GateOptions
  /** By owner, the next one to have a turn first; an owner is here while a task of it waits. */
  readonly #turns = new Map<string, Set<Turn>>()
  #waiting = 0
  #unused: number

  constructor(options: GateOptions) {
    this.#options = options
    this.#unused = options.width
  }

  /** Tasks that wait for their turn. */
  get waiting(): number {
    return this.#waiting
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
    const [first] = this.#turns
    if (first === undefined) {
      this.#unused++
      return
    }
    const [owner, turns] = first
    const [turn] = turns
    turn!.enter()
    // The owner's next turn comes after those of all other owners.
    if (turns.size === 0) return
    this.#turns.delete(owner)
    this.#turns.set(owner, turns)
  }

  async #enter({ owner = '', deadline = Number.POSITIVE_INFINITY, signal }: GateWait): Promise<void> {
    const { clock } = this.#options
    if (signal?.aborted) throw this.#left(signal)
    if (deadline <= clock.now()) throw this.#tooLate()
    if (this.#unused > 0) {
      this.#unused--
      return
    }
    await new Promise<void>((resolve, reject) => {
      let cancelTimer = (): void => {}
      const end = () => {
        this.#remove(owner, turn)
        cancelTimer()
        signal?.removeEventListener('abort', abort)
      }
      const leave = (error: FacetError) => {
        end()
        reject(error)
      }
      const abort = () => leave(this.#left(signal!))
      const turn: Turn = {
        enter: () => {
          end()
          resolve()
        },
      }
      this.#add(owner, turn)
      if (deadline !== Number.POSITIVE_INFINITY)
        cancelTimer = clock.after(deadline - clock.now(), () => leave(this.#tooLate()))
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  #add(owner: string, turn: Turn): void {
    const others = this.#turns.get(owner)
    if (others) others.add(turn)
    else this.#turns.set(owner, new Set([turn]))
    this.#waiting++
  }

  #remove(owner: string, turn: Turn): void {
    const turns = this.#turns.get(owner)!
    turns.delete(turn)
    if (turns.size === 0) this.#turns.delete(owner)
    this.#waiting--
  }

  /** A withdrawn part of a request is no client that left. */
  #left({ reason }: AbortSignal): FacetError {
    if (!(reason instanceof Withdrawn)) this.#options.refused?.('client_closed')
    return clientClosed()
  }

  #tooLate(): FacetError {
    const { purpose = 'for a turn', refused } = this.#options
    refused?.('deadline_exceeded')
    return new FacetError('deadline_exceeded', `The deadline passed while waiting ${purpose}.`)
  }
}
