/**
 * Which entries run together, and when: who is first in the line (`line.ts`), and as many batches at a time as there
 * are lanes.
 *
 * - Fair: a domain has few places in the line, so a flood of it costs another at most the batch that is running and
 *   two entries. Where more of it waits than a batch of each lane holds, and a small batch is short and costs an image
 *   little more than a full one (a CPU), those that flood nobody run in a small one, and do not wait for a batch full of
 *   a flood around them. Every second batch is the line's: no flood starves, and who shares it has waited for one small
 *   batch more.
 * - Work-conserving: when a lane is free, a batch leaves as soon as the current turn's submissions are in; while
 *   all run, the next one fills. Nobody waits for a batch to become full. Where fewer images make a shorter run (a CPU), a
 *   batch is one lane's share of what waits, half of it where there are two: the other will be free before a batch of
 *   all had run.
 * - Bounded: in all and per domain, and who floods leaves room for who does not; what does not fit is refused
 *   with an estimate of when to come back.
 * - Nothing is run for nobody: entries whose client left or whose deadline passed leave the queue at once.
 *
 * Knows neither what an entry is nor what `run` does with it: no engine, no HTTP.
 */
import type { Clock } from '../concurrency/clock.js'
import { Deadlines } from '../concurrency/deadlines.js'
import { clientClosed, draining, FacetError, Withdrawn } from '../errors.js'
import { Line, PLACES, Waiting } from './line.js'

export interface SchedulerOptions<T, R> {
  /** Runs a batch and answers in its order. An `Error` in the answer fails its entry, a throw all of them. */
  run(batch: T[]): Promise<(R | Error)[]>
  clock: Clock
  /** Batches that may run side by side; asked before each, and at least 1. */
  lanes: () => number
  /** Most entries of the next batch; asked before each. */
  maxBatch: () => number
  /** Measured time of a run of so many entries in ms, null where none is known. */
  runMs?: (size: number) => number | null
  /** Most entries waiting, in all and of one domain. */
  maxQueue: number
  maxQueuePerDomain: number
  /**
   * Puts off the next batch where a lane is free, so that what is submitted together leaves together: a request of
   * eight domains takes eight leases, and each of them submits by itself. A microtask unless given, and that
   * is enough: leases of resident versions are all granted in one turn of the microtask queue, their submissions
   * follow each other in the next, and what is queued by the first of them runs after the last. `setImmediate`
   * would gain only what other requests decoded meanwhile, at the price of a turn of the event loop.
   */
  defer?: (start: () => void) => void
  observe?: {
    /** An entry left the queue for a batch after so many ms. */
    queued?(ms: number): void
    batch?(size: number, domains: number): void
    /** A request was refused or dropped: `queue_full`, `domain_queue_full`, `too_many_parts`, `draining`,
     * `deadline_exceeded` or `client_closed`. */
    rejected?(reason: string): void
  }
}

export interface Outcome<R> {
  value: R
  queueMs: number
  batchSize: number
}

export interface SubmitOptions {
  /** `clock.now()` milliseconds. */
  deadline?: number
  /** Aborted when the client left. */
  signal?: AbortSignal
}

/** The entries of one `submit`: they are admitted together and answered together. */
class Request<T, R> {
  place = -1
  readonly entries: Entry<T, R>[] = []
  readonly outcomes: Outcome<R>[] = []
  queued = 0
  running = 0
  failure: FacetError | null = null
  /** Takes the abort listener off. */
  unlisten: (() => void) | null = null

  constructor(
    readonly deadline: number,
    readonly resolve: (outcomes: Outcome<R>[]) => void,
    readonly reject: (error: FacetError) => void,
  ) {}
}

class Entry<T, R> extends Waiting<Entry<T, R>> {
  /** Neither running nor done. */
  queued = false

  constructor(
    readonly request: Request<T, R>,
    readonly index: number,
    domain: string,
    readonly item: T,
    readonly since: number,
  ) {
    super(domain)
  }
}

/** A small batch's run takes such a share of a full one's at most, and an image so many times what it takes there. */
const SMALL = 0.5
const DEAR = 2
/** A lane leaves others their share where its own run takes such a share of the time at most. */
const SHORTER = 0.75

export class Scheduler<T, R> {
  readonly #options: SchedulerOptions<T, R>
  // Where entries run one by one, two of a flood would cost the others a run more.
  readonly #line = new Line<Entry<T, R>>(() => Math.min(PLACES, this.#lanes * this.#maxBatch))
  readonly #deadlines: Deadlines<Request<T, R>>
  /** Batches that run. */
  #running = 0
  /** A start was put off and is on its way. */
  #starting = false
  /** The latest batch was one of those that flood nobody. */
  #quietLast = false
  #draining: { done: Promise<void>; finish: () => void } | null = null
  /** Run time of one entry in ms, a moving average; 0 before the first batch. */
  #msPerEntry = 0

  constructor(options: SchedulerOptions<T, R>) {
    this.#options = options
    this.#deadlines = new Deadlines(options.clock, (request) => {
      this.#drop(
        request,
        new FacetError('deadline_exceeded', 'The deadline passed while the request waited.'),
      )
    })
  }

  /** Entries waiting, those of the running batches not counted. */
  get length(): number {
    return this.#line.length
  }

  lengthOf(domain: string): number {
    return this.#line.lengthOf(domain)
  }

  /** True while a batch runs. */
  get busy(): boolean {
    return this.#running > 0
  }

  /**
   * Queues the entries of one request, all or none, and answers in their order.
   *
   * The promise settles when none of the entries is running any more: what an entry refers to may be freed
   * then, and not before. When one entry fails, those still queued are dropped.
   *
   * @throws FacetError `queue_full` (with `retryAfter`), `too_many_parts` where the entries would not fit
   * into empty queues either, `draining`, `client_closed`, `deadline_exceeded`; and what `run` says of the
   * first entry that failed, with its index (`inference_failed` where that is no FacetError).
   */
  submit(
    entries: readonly { domain: string; item: T }[],
    { deadline = Number.POSITIVE_INFINITY, signal }: SubmitOptions = {},
  ): Promise<Outcome<R>[]> {
    return new Promise((resolve, reject) => {
      if (entries.length === 0) return resolve([])
      this.#admit(entries, deadline, signal)
      const request = new Request<T, R>(deadline, resolve, reject)
      const since = this.#options.clock.now()
      entries.forEach(({ domain, item }, index) => {
        const entry = new Entry(request, index, domain, item, since)
        request.entries.push(entry)
        this.#enqueue(entry)
      })
      this.#start()
      if (request.queued > 0) this.#watch(request, signal)
    })
  }

  /** Fails everything that waits, with one error. The running batches are `run`'s to end. */
  rejectAll(error: FacetError): void {
    for (let entry = this.#line.first; entry !== null; entry = this.#line.first) {
      this.#fail(entry.request, error)
    }
  }

  /** From now on `submit` refuses with `draining`; resolves when nothing waits or runs. */
  drain(): Promise<void> {
    if (this.#draining === null) {
      let finish = () => {}
      const done = new Promise<void>((resolve) => {
        finish = resolve
      })
      this.#draining = { done, finish }
      if (!this.busy && this.#line.length === 0) finish()
    }
    return this.#draining.done
  }

  /** Throws where the request cannot be admitted; changes nothing. */
  #admit(entries: readonly { domain: string }[], deadline: number, signal: AbortSignal | undefined): void {
    const { clock, maxQueue, maxQueuePerDomain } = this.#options
    if (this.#draining) throw this.#refuse(draining())
    if (signal?.aborted) {
      throw signal.reason instanceof Withdrawn ? clientClosed() : this.#refuse(clientClosed())
    }
    if (deadline <= clock.now()) {
      throw this.#refuse(new FacetError('deadline_exceeded', 'The deadline had passed already.'))
    }

    const counts = new Map<string, number>()
    for (const { domain } of entries) counts.set(domain, (counts.get(domain) ?? 0) + 1)
    if (entries.length > maxQueue) {
      const message = `${entries.length} images at once; ${maxQueue} fit into the queue (--max-queue).`
      throw this.#refuse(new FacetError('too_many_parts', message))
    }
    for (const [domain, count] of counts) {
      if (count <= maxQueuePerDomain) continue
      const message = `${count} images of domain ${domain} at once; ${maxQueuePerDomain} fit into its queue (--max-queue-per-domain).`
      throw this.#refuse(new FacetError('too_many_parts', message))
    }
    if (this.#line.length + entries.length > maxQueue) {
      const retryAfter = this.#secondsFor(this.#line.length)
      const message = `The queue (--max-queue) is full: ${this.#line.length} images wait.`
      throw this.#refuse(new FacetError('queue_full', message, { retryAfter }))
    }
    for (const [domain, count] of counts) {
      const waiting = this.lengthOf(domain)
      // Who waits already may take no more than is left: however many domains flood, the queue keeps room for one
      // that does not (Choudhury and Hahne, 1998: dynamic thresholds).
      const share = waiting > 0 ? maxQueue - this.#line.length : maxQueue
      if (waiting + count <= Math.min(maxQueuePerDomain, share)) continue
      // While one of its entries leaves, one of each other domain does.
      const retryAfter = this.#secondsFor(Math.min(this.#line.length, waiting * this.#line.domains))
      const message = `The queue of domain ${domain} (--max-queue-per-domain) is full: ${waiting} images wait.`
      throw this.#refuse(new FacetError('queue_full', message, { retryAfter }), 'domain_queue_full')
    }
  }

  #refuse(error: FacetError, reason: string = error.code): FacetError {
    this.#options.observe?.rejected?.(reason)
    return error
  }

  #secondsFor(entries: number): number {
    return Math.max(1, Math.ceil((entries * this.#msPerEntry) / this.#lanes / 1000))
  }

  #enqueue(entry: Entry<T, R>): void {
    this.#line.push(entry)
    entry.queued = true
    entry.request.queued++
  }

  #dequeue(entry: Entry<T, R>): void {
    this.#line.remove(entry)
    entry.queued = false
    if (--entry.request.queued === 0) this.#unwatch(entry.request)
  }

  /** Only what waits is watched: a request that left at once costs neither listener nor timer. */
  #watch(request: Request<T, R>, signal: AbortSignal | undefined): void {
    if (request.deadline !== Number.POSITIVE_INFINITY) this.#deadlines.add(request)
    if (signal === undefined) return
    const left = () => {
      if (signal.reason instanceof Withdrawn) this.#fail(request, clientClosed())
      else this.#drop(request, clientClosed())
    }
    signal.addEventListener('abort', left, { once: true })
    request.unlisten = () => signal.removeEventListener('abort', left)
  }

  #unwatch(request: Request<T, R>): void {
    this.#deadlines.remove(request)
    request.unlisten?.()
    request.unlisten = null
  }

  #drop(request: Request<T, R>, error: FacetError): void {
    this.#options.observe?.rejected?.(error.code)
    this.#fail(request, error)
  }

  /** Notes the failure, the one of the lowest index where several entries fail; drops what still waits. */
  #fail(request: Request<T, R>, error: FacetError): void {
    const first = request.failure
    if (first === null || (error.index ?? 0) < (first.index ?? 0)) request.failure = error
    for (const entry of request.entries) if (entry.queued) this.#dequeue(entry)
    this.#settle(request)
  }

  #settle(request: Request<T, R>): void {
    if (request.running > 0 || request.queued > 0) return
    if (request.failure !== null) request.reject(request.failure)
    else request.resolve(request.outcomes)
  }

  get #lanes(): number {
    return Math.max(1, this.#options.lanes())
  }

  get #maxBatch(): number {
    return Math.max(1, this.#options.maxBatch())
  }

  #start(): void {
    if (this.#running >= this.#lanes || this.#starting) return
    this.#starting = true
    const defer = this.#options.defer ?? queueMicrotask
    defer(() => {
      this.#starting = false
      this.#next()
    })
  }

  /** Gives every free lane its share of what waits. */
  #next(): void {
    let lanes = this.#lanes
    for (let free = lanes - this.#running; free > 0 && this.#line.length > 0; free--, lanes--) {
      const batch = this.#take(this.#share(free, lanes))
      if (batch.length > 0) void this.#run(batch)
    }
    if (!this.busy && this.#line.length === 0) this.#draining?.finish()
  }

  /**
   * How many of those that wait the next batch takes at most, where `free` of `lanes` lanes have none yet: one lane's
   * share, which leaves the busy ones theirs, where its run is known to be the shorter for it (a CPU); else all, shared
   * among the free ones (a GPU).
   */
  #share(free: number, lanes: number): number {
    const waiting = this.#line.length
    const [all, part] = [Math.ceil(waiting / free), Math.ceil(waiting / lanes)]
    const runMs = (size: number) => this.#options.runMs?.(Math.min(size, this.#maxBatch)) ?? null
    const [long, short] = [runMs(all), runMs(part)]
    return long !== null && short !== null && short <= SHORTER * long ? part : all
  }

  /** The next batch of at most `share` entries: who is first in the line, until it is full or nothing waits. */
  #take(share: number): Entry<T, R>[] {
    const batch = share > this.#maxBatch ? this.#takeQuiet() : []
    this.#quietLast = batch.length > 0
    if (this.#quietLast) return batch
    const most = Math.min(share, this.#maxBatch)
    for (let entry = this.#line.first; entry !== null && batch.length < most; entry = this.#line.first) {
      if (this.#takeOut(entry)) batch.push(entry)
    }
    return batch
  }

  /** Those that flood nobody, as many as make a small batch worth its run. */
  #takeQuiet(): Entry<T, R>[] {
    const { runMs } = this.#options
    const maxBatch = this.#maxBatch
    const full = this.#quietLast ? null : (runMs?.(maxBatch) ?? null)
    if (full === null) return []
    const most = (size: number) => full * Math.min(SMALL, (DEAR * size) / maxBatch)
    // Who floods has more waiting than one batch of each lane takes; by chance nobody has.
    const quiet = this.#line.quiet(Math.floor(maxBatch * SMALL), maxBatch * this.#lanes)
    while (quiet.length > 0 && (runMs?.(quiet.length) ?? full) > most(quiet.length)) quiet.pop()
    return quiet.filter((entry) => this.#takeOut(entry))
  }

  /** Takes an entry from the line to be run; false where its request has failed or its deadline has passed. */
  #takeOut(entry: Entry<T, R>): boolean {
    const { request } = entry
    if (!entry.queued) return false
    // Its timer may be late where the event loop is.
    if (request.deadline <= this.#options.clock.now()) {
      this.#drop(request, new FacetError('deadline_exceeded', 'The deadline passed in the queue.'))
      return false
    }
    this.#dequeue(entry)
    request.running++
    return true
  }

  async #run(batch: Entry<T, R>[]): Promise<void> {
    const { run, clock, observe } = this.#options
    this.#running++
    const start = clock.now()
    let answers: (R | Error)[]
    try {
      observe?.batch?.(batch.length, new Set(batch.map((entry) => entry.domain)).size)
      for (const entry of batch) observe?.queued?.(start - entry.since)
      answers = await run(batch.map((entry) => entry.item))
      if (answers.length !== batch.length) {
        throw new Error(`run answered ${answers.length} entries of ${batch.length}`)
      }
      const ms = (clock.now() - start) / batch.length
      const weight = 0.2 * Math.min(1, batch.length / this.#maxBatch)
      this.#msPerEntry = this.#msPerEntry === 0 ? ms : (1 - weight) * this.#msPerEntry + weight * ms
    } catch (error) {
      answers = batch.map(() => asError(error))
    }

    batch.forEach(({ request, index, since }, position) => {
      const answer = answers[position]!
      request.running--
      if (answer instanceof Error) {
        this.#fail(request, asFacetError(answer).at(index))
      } else {
        request.outcomes[index] = { value: answer, queueMs: start - since, batchSize: batch.length }
        this.#settle(request)
      }
    })
    this.#running--
    this.#next()
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

function asFacetError(error: Error): FacetError {
  if (error instanceof FacetError) return error
  return new FacetError('inference_failed', 'The model could not be run on this image.', { cause: error })
}
