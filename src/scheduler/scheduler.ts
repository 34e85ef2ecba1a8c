/**
 * The queue in front of the engine: entries wait here, and leave in batches.
 *
 * - Fair: who is next is `line.ts`'s business, what a batch consists of `policy.ts`'s.
 * - Work-conserving: when a lane is free, a batch leaves as soon as the entries submitted in the same turn are in.
 *   While all lanes run, the next batch fills. No entry waits for a batch to become full.
 * - Nothing runs for nobody: an entry whose client left or whose deadline passed leaves the queue at once, and a batch
 *   all of whose clients left is given up where `run` can do that.
 *
 * Some entries run faster by themselves than among others (`apart`): those of one kind make a batch of their own where
 * two or more of them wait, and such a batch leaves when the turn comes to one of them. Batches of the others pass them
 * over. One that has no company goes with the others: nobody waits for company.
 *
 * How many entries may wait is decided in front of it (`predict/admission.ts`). It knows neither what an entry is nor
 * what `run` does with it: no engine, no HTTP.
 */
import type { Clock } from '../concurrency/clock.js'
import { clientClosed, draining, FacetError } from '../errors.js'
import type { LineLimits } from './domain-line.js'
import { Line, type LineEntry } from './line.js'
import type { RunPlaces } from './places.js'
import { lineLimits, nextBatch } from './policy.js'

/** Hears what the scheduler does. Every method may be left out. */
export interface SchedulerObserver {
  /** An entry left the queue for a batch after so many seconds. */
  queued?(seconds: number): void
  batch?(size: number, domains: number): void
}

export interface SchedulerOptions<T, R> {
  /**
   * Runs a batch and answers in its order. An `Error` in the answer fails its entry, a throw all of them.
   * @param signal aborted when nobody waits for the batch any more
   */
  run(batch: T[], signal: AbortSignal): Promise<(R | Error)[]>
  clock: Clock
  /** Batches that may run side by side; asked before each, and at least 1. */
  lanes: () => number
  /** Most entries of the next batch; asked before each. */
  maxBatch: () => number
  /** Measured time of a run of so many entries in ms, null where none is known; never known unless given. */
  runMs?: (size: number) => number | null
  /**
   * The kind of an entry that runs faster in a batch of its kind alone; undefined for all others. Entries of one kind
   * have one domain. Asked when a batch is formed, and none unless given.
   */
  apart?: (item: T) => string | undefined
  /**
   * Puts off the next batch where a lane is free, so that entries submitted together leave together: a request of
   * eight domains takes eight leases, and submits after each of them. A microtask unless given, and that is enough:
   * leases of resident versions are granted in one turn of the microtask queue, their submissions follow each other
   * in the next, and what the first of them queues runs after the last. `setImmediate` would add only entries of
   * other requests, and cost a turn of the event loop.
   */
  defer?: (start: () => void) => void
  /** Places for runs that it shares with other schedulers; as many as it has lanes unless given. */
  places?: (offered: () => void) => RunPlaces
  /** So many entries of a principal run in order of arrival; by `policy.ts` unless given. */
  few?: () => number
  observe?: SchedulerObserver
}

export interface Outcome<R> {
  value: R
  /** Milliseconds from submission to the start of the run. */
  queueMs: number
}

export interface SubmitOptions {
  /** Whose entry it is; principals have turns, and within them their domains. Those with no principal are one. */
  principal?: string | undefined
  /** `clock.now()` milliseconds. */
  deadline?: number | undefined
  /** Aborted when the client left. */
  signal?: AbortSignal | undefined
}

interface Entry<T, R> extends LineEntry {
  readonly item: T
  /** `clock.now()` milliseconds. */
  readonly since: number
  readonly deadline: number
  /** The batch that it runs in. */
  run: Run | undefined
  resolve(outcome: Outcome<R>): void
  reject(error: FacetError): void
  /** Ends the wait for its deadline. */
  cancelTimer(): void
  /** Ends the watch for its client. */
  unwatch(): void
}

/** A batch that runs. */
interface Run {
  /** Aborted when nobody waits for it any more. */
  readonly controller: AbortController
  /** Entries whose clients have not left. */
  awaited: number
}

/** Entries of a kind that make a batch of their own. */
const COMPANY = 2
/** Weight of a full batch in the moving average of the run time of an entry. */
const AVERAGE_WEIGHT = 0.2

export class Scheduler<T, R> {
  readonly #options: SchedulerOptions<T, R>
  readonly #observe: SchedulerObserver
  readonly #limits: LineLimits
  readonly #line: Line<Entry<T, R>>
  readonly #places: RunPlaces
  /** Batches that run. */
  readonly #running = new Set<Run>()
  /** A start was put off and will come. */
  #starting = false
  #lastWasQuiet = false
  #draining: { done: Promise<void>; finish: () => void } | null = null
  /** Run time of one entry in ms, a moving average; 0 before the first batch. */
  #msPerEntry = 0

  constructor(options: SchedulerOptions<T, R>) {
    this.#options = options
    this.#observe = options.observe ?? {}
    const limits = lineLimits(
      () => this.#lanes,
      () => this.#maxBatch,
    )
    this.#limits = { ...limits, ...(options.few && { few: options.few }) }
    this.#line = new Line(this.#limits)
    this.#places = options.places?.(() => this.#defer()) ?? OWN_PLACES
  }

  /** Entries that wait; those of the running batches do not count. */
  get length(): number {
    return this.#line.length
  }

  /** True while a batch runs. */
  get busy(): boolean {
    return this.#running.size > 0
  }

  /** Seconds in which so many entries run at the speed measured so far; 0 before the first batch. */
  secondsFor(entries: number): number {
    return (entries * this.#msPerEntry) / this.#lanes / 1000
  }

  /**
   * Queues an entry and answers when it has run. While it runs it is neither dropped nor answered: what it refers to
   * may be freed when the promise settles, and not before.
   *
   * @throws FacetError `draining` (503), `client_closed` (499), `deadline_exceeded` (504), and what `run` says
   * (`inference_failed` where that is no FacetError)
   */
  submit(
    domain: string,
    item: T,
    { principal = '', deadline = Number.POSITIVE_INFINITY, signal }: SubmitOptions = {},
  ): Promise<Outcome<R>> {
    return new Promise((resolve, reject) => {
      const since = this.#options.clock.now()
      if (this.#draining) throw draining()
      if (signal?.aborted) throw clientClosed()
      if (deadline <= since) throw tooLate()
      const entry: Entry<T, R> = {
        principal,
        domain,
        item,
        since,
        deadline,
        run: undefined,
        resolve,
        reject,
        cancelTimer: doNothing,
        unwatch: doNothing,
      }
      this.#line.push(entry)
      this.#watch(entry, signal)
      this.#start()
    })
  }

  /** Fails every entry that waits. The running batches are `run`'s to end. */
  rejectAll(error: FacetError): void {
    for (let entry = this.#line.first(); entry !== undefined; entry = this.#line.first())
      this.#drop(entry, error)
  }

  /** As `rejectAll`, and the running batches are given up where `run` can do that. */
  abandon(error: FacetError): void {
    this.rejectAll(error)
    for (const { controller } of this.#running) controller.abort(error)
  }

  /** From now on `submit` refuses with `draining`; resolves when nothing waits or runs. */
  drain(): Promise<void> {
    if (this.#draining === null) {
      let finish = doNothing
      const done = new Promise<void>((resolve) => {
        finish = resolve
      })
      this.#draining = { done, finish }
      if (!this.busy && this.#line.length === 0) finish()
    }
    return this.#draining.done
  }

  #watch(entry: Entry<T, R>, signal: AbortSignal | undefined): void {
    const { clock } = this.#options
    if (entry.deadline !== Number.POSITIVE_INFINITY)
      entry.cancelTimer = clock.after(entry.deadline - clock.now(), () => this.#drop(entry, tooLate()))
    if (signal === undefined) return
    const leave = () => {
      const { run } = entry
      if (run === undefined) this.#drop(entry, clientClosed())
      else if (--run.awaited === 0) run.controller.abort(clientClosed())
    }
    signal.addEventListener('abort', leave, { once: true })
    entry.unwatch = () => signal.removeEventListener('abort', leave)
  }

  #drop(entry: Entry<T, R>, error: FacetError): void {
    this.#takeOut(entry)
    entry.unwatch()
    entry.reject(error)
  }

  #takeOut(entry: Entry<T, R>, isTurn?: boolean): void {
    this.#line.remove(entry, isTurn)
    entry.cancelTimer()
  }

  get #lanes(): number {
    return Math.max(1, this.#options.lanes())
  }

  get #maxBatch(): number {
    return Math.max(1, this.#options.maxBatch())
  }

  #start(): void {
    if (this.#running.size < this.#lanes) this.#defer()
  }

  #defer(): void {
    if (this.#starting) return
    this.#starting = true
    const defer = this.#options.defer ?? queueMicrotask
    defer(() => {
      this.#starting = false
      this.#next()
    })
  }

  /** Gives every free lane a batch, as far as entries wait and there are places for runs. */
  #next(): void {
    const lanes = this.#lanes
    let standsInLine = false
    for (let unserved = lanes; unserved > 0 && this.#line.length > 0; unserved--) {
      const free = lanes - this.#running.size
      if (free <= 0) break
      const giveBack = this.#places.take()
      standsInLine = giveBack === undefined
      if (giveBack === undefined) break
      const batch = this.#take(free, unserved, lanes)
      if (batch.length > 0) void this.#run(batch, giveBack)
      else giveBack()
    }
    if (!standsInLine) this.#places.leave()
    if (!this.busy && this.#line.length === 0) this.#draining?.finish()
  }

  /** Takes the next batch out of the line. */
  #take(free: number, unserved: number, lanes: number): Entry<T, R>[] {
    const { runMs = () => null } = this.#options
    const maxBatch = this.#maxBatch
    const lastWasQuiet = this.#lastWasQuiet
    const few = this.#limits.few()
    const situation = { free, unserved, lanes, maxBatch, few, runMs, lastWasQuiet }
    const { quiet, size } = nextBatch(this.#line, situation)
    const batch = quiet.filter((entry) => this.#takeToRun(entry))
    this.#lastWasQuiet = batch.length > 0
    if (this.#lastWasQuiet) return batch
    for (;;) {
      const first = this.#line.first()
      if (first === undefined) return []
      const batch = this.#batchOf(first, size)
      // Otherwise the deadlines of all of them have passed.
      if (batch.length > 0) return batch
    }
  }

  /** Takes a batch out of the line that begins with its first entry: that entry's kind, or the others. */
  #batchOf(first: Entry<T, R>, size: number): Entry<T, R>[] {
    const kind = this.#kindOf(first)
    if (kind !== undefined)
      return this.#company(first, kind, size).filter((entry) => this.#takeToRun(entry, true))
    const batch: Entry<T, R>[] = []
    while (batch.length < size) {
      const entry = this.#line.first((entry) => this.#kindOf(entry) === undefined)
      if (entry === undefined) break
      if (this.#takeToRun(entry, true)) batch.push(entry)
    }
    return batch
  }

  /** The kind of an entry that is to run with its kind alone. */
  #kindOf({ item, domain }: Entry<T, R>): string | undefined {
    return this.#line.lengthOf(domain) < COMPANY ? undefined : this.#options.apart?.(item)
  }

  /** The entries of a kind that are next, `most` of them at most. */
  #company(first: Entry<T, R>, kind: string, most: number): Entry<T, R>[] {
    const company: Entry<T, R>[] = []
    for (const entry of this.#line.of(first.domain)) {
      if (company.length >= most) break
      if (this.#options.apart?.(entry.item) === kind) company.push(entry)
    }
    return company
  }

  /**
   * Takes an entry out of the line; false where its deadline has passed: its timer may be late.
   * @param isTurn as in `Line.remove`
   */
  #takeToRun(entry: Entry<T, R>, isTurn?: boolean): boolean {
    if (entry.deadline <= this.#options.clock.now()) {
      this.#drop(entry, tooLate())
      return false
    }
    this.#takeOut(entry, isTurn)
    return true
  }

  async #run(batch: Entry<T, R>[], giveBack: () => void): Promise<void> {
    const { run, clock } = this.#options
    const running: Run = { controller: new AbortController(), awaited: batch.length }
    this.#running.add(running)
    for (const entry of batch) entry.run = running
    const start = clock.now()
    let answers: (R | Error)[]
    try {
      this.#observe.batch?.(batch.length, new Set(batch.map((entry) => entry.domain)).size)
      for (const entry of batch) this.#observe.queued?.((start - entry.since) / 1000)
      answers = await run(
        batch.map((entry) => entry.item),
        running.controller.signal,
      )
      if (answers.length !== batch.length)
        throw new Error(`run answered ${answers.length} entries of ${batch.length}`)
      this.#learn(batch.length, clock.now() - start)
    } catch (error) {
      answers = batch.map(() => asError(error))
    }
    batch.forEach((entry, index) => {
      const answer = answers[index]!
      entry.unwatch()
      if (answer instanceof Error) entry.reject(asFacetError(answer))
      else entry.resolve({ value: answer, queueMs: start - entry.since })
    })
    this.#running.delete(running)
    giveBack()
    this.#next()
  }

  /** Small batches say little about the time of an entry and weigh less. */
  #learn(size: number, ms: number): void {
    const weight = AVERAGE_WEIGHT * Math.min(1, size / this.#maxBatch)
    const msPerEntry = ms / size
    this.#msPerEntry =
      this.#msPerEntry === 0 ? msPerEntry : (1 - weight) * this.#msPerEntry + weight * msPerEntry
  }
}

function doNothing(): void {}

/** Of a scheduler that shares none: its lanes bound its runs. */
const OWN_PLACES: RunPlaces = { take: () => doNothing, leave: doNothing }

function tooLate(): FacetError {
  return new FacetError('deadline_exceeded', 'The deadline passed while the image waited to be run.')
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

function asFacetError(error: Error): FacetError {
  if (error instanceof FacetError) return error
  return new FacetError('inference_failed', 'The model could not be run on this image.', { cause: error })
}
