/**
 * A gate lets at most `width` tasks run at once, of at most `capacity` weight together; the others wait for their
 * turn.
 *
 * Owners take turns, so a flood of one owner delays another by the running tasks and one turn. The tasks of one
 * owner run in order of arrival. A task leaves when its client leaves or its deadline comes, and takes no turn then.
 *
 * Where the next task is too heavy for what is unused of the capacity, lighter tasks of other owners go first, but
 * only so often: then the gate keeps what becomes free for it.
 */
import type { Clock } from './clock.js'
import { clientClosed, FacetError, Withdrawn } from '../errors.js'

export interface GateOptions {
  /** Tasks at once. */
  width: number
  /** Weight of all running tasks together, in the unit of `GateWait.weight`; unbounded unless told. */
  capacity?: number
  clock: Clock
  /** What is waited for, in the message of a missed deadline: `for the image to be decoded`. */
  purpose?: string
  /** A task left the gate before its turn: `deadline_exceeded` or `client_closed`. */
  refused?(reason: string): void
}

export interface GateWait {
  /** Whose task it is; all tasks are of one owner unless told. */
  owner?: string
  /** What the task takes of the gate's capacity while it runs, at most all of it; 0 unless told. */
  weight?: number
  /** `clock.now()` milliseconds. */
  deadline?: number | undefined
  /** Aborted when the client left. */
  signal?: AbortSignal | undefined
}

/** A task that waits for its turn. */
interface Turn {
  readonly weight: number
  /** Tasks that were behind it in turn and went first, because this one was too heavy. */
  passed: number
  enter(): void
}

/** How many lighter tasks may go before one that is too heavy to run at its turn. */
const MAX_PASSED = 8

export class Gate {
  readonly #options: GateOptions
  /** By owner, the next one to have a turn first; an owner is here while a task of it waits. */
  readonly #turns = new Map<string, Set<Turn>>()
  #waiting = 0
  #unused: number
  #unusedCapacity: number

  constructor(options: GateOptions) {
    this.#options = options
    this.#unused = options.width
    this.#unusedCapacity = options.capacity ?? Number.POSITIVE_INFINITY
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
    const weight = Math.min(wait.weight ?? 0, this.#options.capacity ?? Number.POSITIVE_INFINITY)
    await this.#enter(weight, wait)
    try {
      return await task()
    } finally {
      this.#unused++
      this.#unusedCapacity += weight
      this.#letIn()
    }
  }

  /** Lets in those whose turn it is, as many as there is room for. */
  #letIn(): void {
    while (this.#unused > 0) {
      const next = this.#next()
      if (next === undefined) return
      const [owner, turn] = next
      this.#take(turn.weight)
      const turns = this.#turns.get(owner)!
      turn.enter()
      // The owner's next turn comes after those of all other owners.
      if (turns.size === 0) continue
      this.#turns.delete(owner)
      this.#turns.set(owner, turns)
    }
  }

  /** The first in turn that fits. Those that it goes past are told so. */
  #next(): [owner: string, turn: Turn] | undefined {
    const tooHeavy: Turn[] = []
    for (const [owner, turns] of this.#turns) {
      const [turn] = turns
      if (turn!.weight <= this.#unusedCapacity) {
        for (const heavy of tooHeavy) heavy.passed++
        return [owner, turn!]
      }
      if (turn!.passed >= MAX_PASSED) return
      tooHeavy.push(turn!)
    }
    return
  }

  #take(weight: number): void {
    this.#unused--
    this.#unusedCapacity -= weight
  }

  async #enter(
    weight: number,
    { owner = '', deadline = Number.POSITIVE_INFINITY, signal }: GateWait,
  ): Promise<void> {
    const { clock } = this.#options
    if (signal?.aborted) throw this.#left(signal)
    if (deadline <= clock.now()) throw this.#tooLate()
    if (this.#waiting === 0 && this.#unused > 0 && weight <= this.#unusedCapacity) {
      this.#take(weight)
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
        // Others may have waited behind this one, which was too heavy.
        this.#letIn()
      }
      const abort = () => leave(this.#left(signal!))
      const turn: Turn = {
        weight,
        passed: 0,
        enter: () => {
          end()
          resolve()
        },
      }
      this.#add(owner, turn)
      if (deadline !== Number.POSITIVE_INFINITY)
        cancelTimer = clock.after(deadline - clock.now(), () => leave(this.#tooLate()))
      signal?.addEventListener('abort', abort, { once: true })
      // While one that is too heavy waits, there may be room for this one.
      this.#letIn()
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
