/**
 * Which entries run together, and when: one line for all, with few places for each domain, and as many batches at a
 * time as there are lanes.
 *
 * - Fair: what a domain submits beyond its places waits behind them and gets one at the end of the line when one of
 *   its own leaves, so a flood of one domain costs another at most the batch that is running and two entries. With
 *   one place each (a round robin) a second image of a domain would wait a whole round longer than its
 *   neighbours, and the slowest of random traffic three times the median (docs/LOG.md).
 * - Work-conserving: when a lane is free, a batch leaves as soon as the current turn's submissions are in; while
 *   all run, the next one fills. Nobody waits for a batch to become full, and lanes that are free share what
 *   waits.
 * - Bounded: in all and per domain, and who floods leaves room for who does not; what does not fit is refused
 *   with an estimate of when to come back.
 * - Nothing is run for nobody: entries whose client left or whose deadline passed leave the queue at once.
 *
 * Knows neither what an entry is nor what `run` does with it: no engine, no HTTP.
 */
import type { Clock } from './clock.js'
import { Deadlines } from './deadlines.js'
import { clientClosed, draining, FacetError, Withdrawn } from './errors.js'
import { Linked, LinkedList } from './linked-list.js'

export interface SchedulerOptions<T, R> {
  /** Runs a batch and answers in its order. An `Error` in the answer fails its entry, a throw all of them. */
  run(batch: T[]): Promise<(R | Error)[]>
  clock: Clock
  /** Batches that may run side by side; asked before each, and at least 1. */
  lanes: () => number
  /** Most entries of the next batch; asked before each. */
  maxBatch: () => number
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

class Entry<T, R> extends Linked<Entry<T, R>> {
  /** Its queue while it waits, null before and after. */
  queue: DomainQueue<T, R> | null = null
  /** It is in the line, and not behind it. */
  placed = false

  constructor(
    readonly request: Request<T, R>,
    readonly index: number,
    readonly domain: string,
    readonly item: T,
    readonly since: number,
  ) {
    super()
  }
}

/** What waits of one domain. It exists while something does. */
class DomainQueue<T, R> {
  /** Entries in the line. */
  placed = 0
  /** Those that wait for a place in it. */
  readonly behind = new LinkedList<Entry<T, R>>()

  constructor(readonly domain: string) {}

  get length(): number {
    return this.placed + this.behind.length
  }
}

/** The most places of a domain in the line. */
const PLACES = 2

export class Scheduler<T, R> {
  readonly #options: SchedulerOptions<T, R>
  readonly #queues = new Map<string, DomainQueue<T, R>>()
  /** Who is next. Empty only where nothing waits. */
  readonly #line = new LinkedList<Entry<T, R>>()
  readonly #deadlines: Deadlines<Request<T, R>>
  #length = 0
  /** Batches that run. */
  #running = 0
  /** A start was put off and is on its way. */
  #starting = false
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
    return this.#length
  }

  lengthOf(domain: string): number {
    return this.#queues.get(domain)?.length ?? 0
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
      if (!this.busy && this.#length === 0) finish()
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
    if (this.#length + entries.length > maxQueue) {
      const retryAfter = this.#secondsFor(this.#length)
      const message = `The queue (--max-queue) is full: ${this.#length} images wait.`
      throw this.#refuse(new FacetError('queue_full', message, { retryAfter }))
    }
    for (const [domain, count] of counts) {
      const waiting = this.lengthOf(domain)
      // Who waits already may take no more than is left: however many domains flood, the queue keeps room for one
      // that does not (Choudhury and Hahne, 1998: dynamic thresholds).
      const share = waiting > 0 ? maxQueue - this.#length : maxQueue
      if (waiting + count <= Math.min(maxQueuePerDomain, share)) continue
      // While one of its entries leaves, one of each other domain does.
      const retryAfter = this.#secondsFor(Math.min(this.#length, waiting * this.#queues.size))
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
    let queue = this.#queues.get(entry.domain)
    if (queue === undefined) {
      queue = new DomainQueue(entry.domain)
      this.#queues.set(entry.domain, queue)
    }
    queue.behind.push(entry)
    entry.queue = queue
    this.#place(queue)
    entry.request.queued++
    this.#length++
  }

  #dequeue(entry: Entry<T, R>): void {
    const queue = entry.queue!
    if (entry.placed) {
      this.#line.remove(entry)
      queue.placed--
      this.#place(queue)
    } else queue.behind.remove(entry)
    entry.queue = null
    if (queue.length === 0) this.#queues.delete(queue.domain)
    this.#length--
    if (--entry.request.queued === 0) this.#unwatch(entry.request)
  }

  /** Gives a queue's entries the places in the line that it has free. */
  #place(queue: DomainQueue<T, R>): void {
    // Where entries run one by one, two of a flood would cost the others a run more.
    const places = Math.min(PLACES, this.#lanes * this.#maxBatch)
    for (let entry = queue.behind.first; entry !== null; entry = queue.behind.first) {
      if (queue.placed >= places) return
      queue.behind.remove(entry)
      this.#line.push(entry)
      entry.placed = true
      queue.placed++
    }
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
    for (const entry of request.entries) if (entry.queue !== null) this.#dequeue(entry)
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

  /** Gives every free lane its share of what waits; after this, nothing waits unless all lanes run. */
  #next(): void {
    for (let free = this.#lanes - this.#running; free > 0 && this.#length > 0; free--) {
      const share = Math.ceil(this.#length / free)
      const batch = this.#take(Math.min(share, this.#maxBatch))
      if (batch.length > 0) void this.#run(batch)
    }
    if (!this.busy && this.#length === 0) this.#draining?.finish()
  }

  /** The next batch: who is first in the line, until it is full or nothing waits. */
  #take(most: number): Entry<T, R>[] {
    const batch: Entry<T, R>[] = []
    const now = this.#options.clock.now()
    while (batch.length < most) {
      const entry = this.#line.first
      if (entry === null) break
      // Its timer may be late where the event loop is.
      if (entry.request.deadline <= now) {
        this.#drop(entry.request, new FacetError('deadline_exceeded', 'The deadline passed in the queue.'))
        continue
      }
      this.#dequeue(entry)
      entry.request.running++
      batch.push(entry)
    }
    return batch
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
      this.#msPerEntry = this.#msPerEntry === 0 ? ms : 0.8 * this.#msPerEntry + 0.2 * ms
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
