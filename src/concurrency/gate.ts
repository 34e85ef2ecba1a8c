/**
 * A gate lets at most `width` tasks run at once, and only tasks that together weigh no more than `capacity`; the
 * others wait for their turn.
 *
 * Owners take turns by what their tasks cost (`fair-queue.ts`). The cost of a task is the time for which it held its
 * place: that is what it kept from the others, and where threads share cores the time is longer for all of them alike.
 * A task that takes more of the capacity than of the places is charged for as many places as that share is. The tasks
 * of one owner run in order of arrival. A task leaves when its client leaves or its deadline comes, and takes no turn
 * then.
 *
 * While little waits, tasks of all owners run in order of arrival: turns would answer even traffic unevenly, and protect
 * nobody. Nobody saves turns up meanwhile.
 *
 * One small task at a time may run beside the `width` others: so it does not wait until a long one ends.
 *
 * A task that is next but too heavy for what runs is promised the next room: tasks that begin meanwhile must fit
 * beside it. So it waits for those that ran already and for no other, and lighter tasks go on as far as they do not
 * delay it.
 */
import type { Clock } from './clock.js'
import { clientClosed, FacetError } from '../errors.js'
import { FairQueue, type Turn } from './fair-queue.js'

export interface GateOptions {
  /** Tasks at once. */
  width: number
  /** Sum of the weights of the tasks that run; unbounded unless given. */
  capacity?: number
  /** The largest `size` of a small task; none is small unless given. */
  smallSize?: number
  /**
   * While at most so many tasks wait, and at most so many expected milliseconds of them for each place, all run in order
   * of arrival; never unless given.
   */
  little?: { tasks: number; ms: number }
  clock: Clock
  /** What is waited for, in the message of a missed deadline: `for the image to be decoded`. */
  purpose?: string
}

export interface GateWait {
  /** Whose task it is, the outermost party first (principal, domain); all tasks are of one owner unless told. */
  owner?: readonly string[]
  /** How large the work is beside that of other tasks, in any unit: its time is expected in proportion. */
  size?: number
  /** Its share of `capacity` while it runs; 0 unless told. */
  weight?: number
  /** `clock.now()` milliseconds. */
  deadline?: number | undefined
  /** Aborted when the client left. */
  signal?: AbortSignal | undefined
}

/** A task at the gate. */
interface Task {
  readonly size: number
  readonly weight: number
  begun: boolean
  /** It runs beside the `width` others. */
  extra: boolean
  /** Tells a task that waits that it has begun. */
  enter(): void
  /** The task that had the promise of the next room when this one began. */
  beside: Turn<Task> | undefined
}

const NOBODY: readonly string[] = []
/** Weight of the times and sizes known so far, at the end of each task: about the last fifty tasks count. */
const KEPT_WEIGHT = 0.98

export class Gate {
  readonly #options: GateOptions
  readonly #capacity: number
  readonly #queue = new FairQueue<Task>((task) => this.#cost(task, task.size * this.#msPerSize))
  /** Tasks that run, without the small one beside them. */
  #running = 0
  #smallRuns = false
  /** Of the tasks that run. */
  #weight = 0
  /** Of the tasks that wait. */
  #waitingSize = 0
  /** The task that is promised the next room, and the weight of the tasks that began since and run. */
  #promised: Turn<Task> | undefined
  #weightBeside = 0
  /** Times and sizes of the tasks that ended, the older the less. */
  #endedMs = 0
  #endedSize = 0

  constructor(options: GateOptions) {
    this.#options = options
    this.#capacity = options.capacity ?? Number.POSITIVE_INFINITY
  }

  /** Tasks that wait for their turn. */
  get waiting(): number {
    return this.#queue.length
  }

  /**
   * Runs `task` when its turn has come, and answers as it does. A task heavier than `capacity` runs alone.
   * @throws FacetError `client_closed` (499), `deadline_exceeded` (504), before the task began
   */
  async run<T>(task: () => Promise<T>, wait: GateWait = {}): Promise<T> {
    const { clock } = this.#options
    const turn = this.#arrive(wait)
    if (!turn.item.begun) await this.#begun(turn, wait)
    const start = clock.now()
    try {
      return await task()
    } finally {
      this.#end(turn, clock.now() - start)
    }
  }

  #arrive({ owner = NOBODY, size = 1, weight = 0, deadline, signal }: GateWait): Turn<Task> {
    if (signal?.aborted) throw clientClosed()
    if (deadline !== undefined && deadline <= this.#options.clock.now()) throw this.#tooLate()
    const atMost = Math.min(weight, this.#capacity)
    const task: Task = {
      size,
      weight: atMost,
      begun: false,
      extra: false,
      enter: doNothing,
      beside: undefined,
    }
    const turn = this.#queue.push(owner, task)
    this.#waitingSize += size
    this.#next()
    return turn
  }

  /** Waits until a task begins. */
  #begun(turn: Turn<Task>, { deadline, signal }: GateWait): Promise<void> {
    const { clock } = this.#options
    return new Promise((resolve, reject) => {
      const unwatch = () => {
        cancelTimer()
        signal?.removeEventListener('abort', abort)
      }
      const leave = (error: FacetError) => {
        unwatch()
        this.#queue.remove(turn)
        this.#waitingSize -= turn.item.size
        if (turn === this.#promised) this.#promised = undefined
        this.#next()
        reject(error)
      }
      const abort = () => leave(clientClosed())
      const cancelTimer =
        deadline === undefined || deadline === Number.POSITIVE_INFINITY
          ? doNothing
          : clock.after(deadline - clock.now(), () => leave(this.#tooLate()))
      signal?.addEventListener('abort', abort, { once: true })
      turn.item.enter = () => {
        unwatch()
        resolve()
      }
    })
  }

  /** Begins tasks as long as there is a place and one of them fits. */
  #next(): void {
    while (this.#running < this.#options.width) {
      const turn = this.#choose()
      if (turn === undefined) return
      this.#running++
      this.#begin(turn)
    }
    const { smallSize } = this.#options
    if (smallSize === undefined || this.#smallRuns) return
    const room = this.#roomBeside(this.#promised)
    const small = this.#first(({ size, weight }) => size <= smallSize && weight <= room)
    if (small === undefined) return
    this.#smallRuns = true
    small.item.extra = true
    this.#begin(small)
  }

  #begin(turn: Turn<Task>): void {
    const { item: task } = turn
    this.#queue.give(turn, !this.#littleWaits)
    this.#waitingSize -= task.size
    this.#weight += task.weight
    if (turn === this.#promised) this.#promised = undefined
    else if (this.#promised !== undefined) {
      task.beside = this.#promised
      this.#weightBeside += task.weight
    }
    task.begun = true
    task.enter()
  }

  #choose(): Turn<Task> | undefined {
    const front = this.#promised ?? this.#first(anyTask)
    if (front === undefined) return undefined
    if (this.#weight + front.item.weight <= this.#capacity) return front
    if (this.#promised === undefined) {
      this.#promised = front
      this.#weightBeside = 0
    }
    const room = this.#roomBeside(front)
    return this.#first(({ weight }) => weight <= room)
  }

  /** The task that is next of those that are accepted. */
  #first(accepts: (task: Task) => boolean): Turn<Task> | undefined {
    return this.#littleWaits ? this.#queue.oldest(accepts) : this.#queue.firstAccepted(accepts)
  }

  /** Whether what waits is within `little`. */
  get #littleWaits(): boolean {
    const { little, width } = this.#options
    if (little === undefined || this.#queue.length > little.tasks) return false
    return this.#waitingSize * this.#msPerSize <= little.ms * width
  }

  /** What a task may weigh that begins now and does not delay the one that has the promise. */
  #roomBeside(promised: Turn<Task> | undefined): number {
    const kept = promised === undefined ? 0 : this.#weightBeside + promised.item.weight
    return this.#capacity - Math.max(this.#weight, kept)
  }

  #end(turn: Turn<Task>, ms: number): void {
    const { size, weight, beside, extra } = turn.item
    this.#queue.end(turn, this.#cost(turn.item, ms))
    this.#endedMs = KEPT_WEIGHT * this.#endedMs + ms
    this.#endedSize = KEPT_WEIGHT * this.#endedSize + size
    if (extra) this.#smallRuns = false
    else this.#running--
    this.#weight -= weight
    if (beside !== undefined && beside === this.#promised) this.#weightBeside -= weight
    this.#next()
  }

  get #msPerSize(): number {
    return this.#endedSize === 0 ? 1 : this.#endedMs / this.#endedSize
  }

  /** What a task of so many milliseconds is charged. */
  #cost({ weight }: Task, ms: number): number {
    return ms * Math.max(1, (weight / this.#capacity) * this.#options.width)
  }

  #tooLate(): FacetError {
    const { purpose = 'for a turn' } = this.#options
    return new FacetError('deadline_exceeded', `The deadline passed while waiting ${purpose}.`)
  }
}

function doNothing(): void {}

function anyTask(): boolean {
  return true
}
