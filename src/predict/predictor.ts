/**
 * The path of one predict request: admission, then for every image decoding, a lease on its domain's version, a run.
 *
 * The images of a request go their way side by side: one that is decoded is queued at once, while the others are
 * still being decoded. Knows the parts it joins by their interfaces, and neither HTTP nor ONNX.
 */
import type { Clock } from '../concurrency/clock.js'
import { FacetError, noHead, Withdrawn } from '../errors.js'
import type { Activation } from '../pack/pack.js'
import type { Lease } from '../registry/types.js'
import type { Scheduler } from '../scheduler/scheduler.js'
import type { Admission } from './admission.js'
import type { Sample, SampleResult } from './batch-runner.js'
import { SharedLease } from './shared-lease.js'
import { together } from './together.js'

export interface PredictItem {
  domain: string
  /** Full SHA-256 or a unique prefix; the active version where left out. */
  version?: string
  /** Encoded image bytes. */
  image: Uint8Array
}

export interface PredictResult {
  domain: string
  /** SHA-256 of the pack that answered. */
  version: string
  /** Null for a pack without a head. */
  labels: readonly string[] | null
  activation: Activation
  /** `[classes]`, null without a head. */
  logits: Float32Array | null
  /** `[F]` */
  features: Float32Array
}

export interface PredictOptions {
  /** Whose request it is: principals share the service evenly, however many domains each of them asks for. */
  principal?: string
  /** On the clock's scale, ms. */
  deadline?: number
  /** Fires when the client leaves. */
  signal?: AbortSignal
  /** True where an answer needs a classifier; a pack without one is then refused (409). */
  needHead: boolean
}

/** Milliseconds, the longest of the request's images. */
export interface PredictTimings {
  decodeMs: number
  queueMs: number
  inferenceMs: number
}

/** A wait for something shared: until when, and for whom. */
export interface Wait {
  /** `clock.now()` milliseconds. */
  deadline: number | undefined
  signal: AbortSignal | undefined
}

/** What predicting needs of the family a domain belongs to. */
export interface PredictingFamily {
  /**
   * Encoded bytes to pixels `[H, W, 3]` of the family's input size, when there is a thread for it.
   * @param wait.owner principal and domain, which take turns at the threads
   */
  decode(image: Uint8Array, wait: Wait & { owner: readonly string[] }): Promise<Uint8Array>
  readonly scheduler: Pick<Scheduler<Sample, SampleResult>, 'submit'>
}

/** Hears what happens to images. Every method may be left out. */
export interface PredictObserver {
  /** An image was decoded, so many seconds after it asked for a thread. */
  decode?(seconds: number): void
  images?(domain: string, outcome: 'ok' | 'error', count: number): void
  /** A client left while its image waited for an adapter: `client_closed`. */
  rejected?(reason: string): void
}

export interface PredictorOptions {
  admission: Pick<Admission, 'check' | 'enter' | 'leave'>
  /** Takes a request's images from its domains' rate limits, after it was admitted. @throws FacetError `rate_limited` */
  limitRate?(images: ReadonlyMap<string, number>): void
  /** The family of a domain's version. @throws FacetError `unknown_domain` (404) */
  familyOf(domain: string): PredictingFamily
  acquire(domain: string, version: string | undefined, wait: Wait): Promise<Lease>
  clock: Clock
  observe?: PredictObserver
}

/** One image's answer, and how long its steps took. */
interface Answer extends PredictTimings {
  result: PredictResult
}

/**
 * Each step reports a missed deadline itself. After this grace period the request is answered 504 even if a step
 * hangs.
 */
const HANG_GRACE_MS = 50

export class Predictor {
  readonly #options: PredictorOptions
  readonly #observe: PredictObserver

  constructor(options: PredictorOptions) {
    this.#options = options
    this.#observe = options.observe ?? {}
  }

  /**
   * Answers every image, in order, or fails as a whole with the first failing image's error, `.at(index)`.
   *
   * Answers soon after the deadline at the latest, even where a run hangs. What is in a run then keeps its lease
   * until the run ends.
   * @throws FacetError of the admission, the image, the registry or the scheduler; `deadline_exceeded`.
   */
  async predict(
    items: readonly PredictItem[],
    options: PredictOptions,
  ): Promise<{ results: PredictResult[]; timings: PredictTimings }> {
    const images = countsOf(items)
    try {
      this.#admit(items, images)
      const answers = await this.#inTime(this.#answerAll(items, options), options.deadline)
      this.#count(images, 'ok')
      return {
        results: answers.map(({ result }) => result),
        timings: {
          decodeMs: Math.max(...answers.map(({ decodeMs }) => decodeMs)),
          queueMs: Math.max(...answers.map(({ queueMs }) => queueMs)),
          inferenceMs: Math.max(...answers.map(({ inferenceMs }) => inferenceMs)),
        },
      }
    } catch (error) {
      this.#count(images, 'error')
      throw error
    }
  }

  #admit(items: readonly PredictItem[], images: ReadonlyMap<string, number>): void {
    const { admission, limitRate } = this.#options
    admission.check(items)
    limitRate?.(images)
    admission.enter(items)
  }

  #inTime<T>(work: Promise<T>, deadline: number | undefined): Promise<T> {
    if (deadline === undefined) return work
    const { clock } = this.#options
    return new Promise((resolve, reject) => {
      const cancel = clock.after(deadline + HANG_GRACE_MS - clock.now(), () =>
        reject(new FacetError('deadline_exceeded', 'The deadline passed before the answer came.')),
      )
      work.then(resolve, reject).finally(cancel)
    })
  }

  #answerAll(items: readonly PredictItem[], options: PredictOptions): Promise<Answer[]> {
    const leases = this.#leases(items, options)
    return together(items, options.signal, async ({ domain, version, image }, _, signal) => {
      const wait = { deadline: options.deadline, signal }
      const lease = leases.get(keyOf(domain, version))!
      const bytes = image.byteLength
      try {
        return await this.#answer(domain, image, lease, wait, options)
      } finally {
        lease.done()
        this.#options.admission.leave(domain, bytes)
      }
    })
  }

  /** One lease for each domain and version of a request. */
  #leases(items: readonly PredictItem[], { deadline }: PredictOptions): Map<string, SharedLease> {
    const leases = new Map<string, SharedLease>()
    for (const { domain, version } of items) {
      const key = keyOf(domain, version)
      let lease = leases.get(key)
      if (lease === undefined) {
        lease = new SharedLease((signal) => this.#options.acquire(domain, version, { deadline, signal }))
        leases.set(key, lease)
      }
      lease.join()
    }
    return leases
  }

  /** One image: decoded, then run on the row of its domain's version. */
  async #answer(
    domain: string,
    image: Uint8Array,
    shared: SharedLease,
    wait: Wait,
    { principal = '', needHead }: PredictOptions,
  ): Promise<Answer> {
    const { clock, familyOf } = this.#options
    const family = familyOf(domain)
    const start = clock.now()
    const pixels = await family.decode(image, { ...wait, owner: [principal, domain] })
    const decodeMs = clock.now() - start
    this.#observe.decode?.(decodeMs / 1000)
    const { version, row, generation, labels, activation } = await this.#take(shared, wait.signal)
    if (needHead && labels === null) throw noHead(domain)
    const { value, queueMs } = await family.scheduler.submit(domain, { pixels, row, generation }, wait)
    const { features, logits, inferenceMs } = value
    const result = { domain, version, labels, activation, logits, features }
    return { result, decodeMs, queueMs, inferenceMs }
  }

  async #take(shared: SharedLease, signal: AbortSignal | undefined): Promise<Lease> {
    try {
      return await shared.take(signal)
    } catch (error) {
      // A withdrawn part of a request is no client that left.
      if (signal?.aborted && !(signal.reason instanceof Withdrawn)) this.#observe.rejected?.('client_closed')
      throw error
    }
  }

  #count(images: ReadonlyMap<string, number>, outcome: 'ok' | 'error'): void {
    for (const [domain, count] of images) this.#observe.images?.(domain, outcome, count)
  }
}

function keyOf(domain: string, version: string | undefined): string {
  return `${domain} ${version ?? ''}`
}

/** Images of each domain, in order of first appearance. */
function countsOf(items: readonly PredictItem[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { domain } of items) counts.set(domain, (counts.get(domain) ?? 0) + 1)
  return counts
}
