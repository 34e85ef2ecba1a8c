/**
 * The path of one predict request: admission, then for every image decoding, a lease on its domain's version, a run.
 *
 * The images of a request go their way side by side: one that is decoded is queued at once, while the others are
 * still being decoded. Knows the parts it joins by their interfaces, and neither HTTP nor ONNX.
 */
import type { Clock } from '../concurrency/clock.js'
import { clientClosed, type ErrorCode, FacetError, noHead } from '../errors.js'
import type { Activation } from '../pack/pack.js'
import type { Lease } from '../registry/types.js'
import type { Scheduler } from '../scheduler/scheduler.js'
import type { Admission } from './admission.js'
import type { Sample, SampleResult } from './batch-runner.js'
import { together } from './together.js'

export interface PredictItem {
  domain: string
  /** Full SHA-256 or a unique prefix; the active version where left out. */
  version?: string
  /** Encoded image bytes; with `size`, pixels. */
  image: Uint8Array
  /** Given where `image` is no file but pixels `[height, width, 3]`, RGB, which the network takes as they are. */
  size?: ImageSize
}

/** In pixels. */
export interface ImageSize {
  readonly height: number
  readonly width: number
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

/** An image whose header has been read and accepted. */
export interface AcceptedImage {
  /**
   * Its pixels `[H, W, 3]` of the family's input size, when there is a thread for it.
   * @param wait.owner principal and domain, which take turns at the threads
   */
  decode(wait: Wait & { owner: readonly string[] }): Promise<Uint8Array>
}

/** What predicting needs of the family a domain belongs to. */
export interface PredictingFamily {
  readonly fingerprint: string
  /** Of the network's input. */
  readonly input: ImageSize
  /**
   * Reads the header of an encoded image, in turn with the long work of other principals.
   * @throws FacetError for an image that is refused by it; `client_closed`, `deadline_exceeded` where it takes longer
   */
  open(image: Uint8Array, asker: Wait & { principal: string }): Promise<AcceptedImage>
  readonly scheduler: Pick<Scheduler<Sample, SampleResult>, 'submit'>
}

/** Hears what happens to images. Every method may be left out. */
export interface PredictObserver {
  /** An image was decoded, in so many seconds; the wait for a thread is among them. */
  decode?(seconds: number): void
  /** @param outcome `rejected` where the client is at fault (status 4xx), `error` where we are */
  images?(domain: string, outcome: 'ok' | 'rejected' | 'error', count: number): void
  /** A request with images of this domain was answered, so many seconds after it came. */
  predicted?(domain: string, seconds: number): void
  /** A request was answered. @param ms from when it came */
  answered?(results: readonly PredictResult[], timings: PredictTimings, ms: number): void
  /** A request with images of these domains failed. @param ms from when it came */
  failed?(domains: Iterable<string>, ms: number): void
  /** An admitted request was given up. */
  rejected?(reason: GivenUp): void
}

export interface PredictorOptions {
  admission: Pick<Admission, 'check' | 'enter' | 'leave'>
  /** Takes a request's images from its domains' rate limits, after it was admitted. @throws FacetError `rate_limited` */
  limitRate?(images: ReadonlyMap<string, number>): void
  /** The family of a domain's active version, or of `version`. @throws FacetError as `acquire` */
  familyOf(domain: string, version: string | undefined): PredictingFamily
  /**
   * Loads a cold version, without a lease; undefined where there is nothing to wait for. Not at all unless given.
   * @throws FacetError as `acquire`
   */
  warm?(
    domain: string,
    version: string | undefined,
    wait: Wait & { principal: string },
  ): Promise<void> | undefined
  /** @param wait.principal principals take turns at loads */
  acquire(domain: string, version: string | undefined, wait: Wait & { principal: string }): Promise<Lease>
  clock: Clock
  observe?: PredictObserver
}

/** One image's answer, and how long its steps took. */
interface Answer extends PredictTimings {
  result: PredictResult
}

/** Why an admitted request is given up although neither it nor the service is at fault. */
const GIVEN_UP = ['client_closed', 'deadline_exceeded', 'draining'] as const satisfies ErrorCode[]
export type GivenUp = (typeof GIVEN_UP)[number]

/** An image as it was sent, until it is let go. */
interface SentImage {
  bytes: Uint8Array
  /** Of pixels. */
  readonly size: ImageSize | undefined
}

/** Stands for an encoded image that is decoded. */
const LET_GO = new Uint8Array(0)

/**
 * Each step reports a missed deadline itself. After this grace period the request is answered 504 even if a step
 * hangs.
 */
const HANG_GRACE_MS = 50

export class Predictor {
  readonly #options: PredictorOptions
  readonly #observe: PredictObserver
  /** Ends the requests that are not answered yet, each with an error. */
  readonly #unanswered = new Set<(error: FacetError) => void>()

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
    const began = this.#options.clock.now()
    try {
      this.#admit(items, images, options.principal ?? '')
      const answers = await this.#inTime(this.#answerAll(items, options), options.deadline)
      this.#count(images, 'ok')
      const ms = this.#options.clock.now() - began
      for (const domain of images.keys()) this.#observe.predicted?.(domain, ms / 1000)
      const results = answers.map(({ result }) => result)
      const timings = {
        decodeMs: Math.max(...answers.map(({ decodeMs }) => decodeMs)),
        queueMs: Math.max(...answers.map(({ queueMs }) => queueMs)),
        inferenceMs: Math.max(...answers.map(({ inferenceMs }) => inferenceMs)),
      }
      this.#observe.answered?.(results, timings, ms)
      return { results, timings }
    } catch (error) {
      const isClients = error instanceof FacetError && error.status < 500
      this.#count(images, isClients ? 'rejected' : 'error')
      this.#observe.failed?.(images.keys(), this.#options.clock.now() - began)
      const givenUp = GIVEN_UP.find((code) => error instanceof FacetError && error.code === code)
      if (givenUp !== undefined) this.#observe.rejected?.(givenUp)
      throw error
    }
  }

  #admit(items: readonly PredictItem[], images: ReadonlyMap<string, number>, principal: string): void {
    const { admission, limitRate } = this.#options
    admission.check(items, principal)
    limitRate?.(images)
    admission.enter(items, principal)
  }

  /** Answers all requests in the service with this error now, whatever their images wait for. */
  abandon(error: FacetError): void {
    for (const end of this.#unanswered) end(error)
  }

  /** Settles as `work` does, or rejects: soon after the deadline, or when the requests are abandoned. */
  #inTime<T>(work: Promise<T>, deadline: number | undefined): Promise<T> {
    const { clock } = this.#options
    return new Promise((resolve, reject) => {
      let cancel = (): void => {}
      const settled = () => {
        cancel()
        this.#unanswered.delete(end)
      }
      const end = (error: FacetError) => {
        settled()
        reject(error)
      }
      this.#unanswered.add(end)
      if (deadline !== undefined)
        cancel = clock.after(deadline + HANG_GRACE_MS - clock.now(), () =>
          end(new FacetError('deadline_exceeded', 'The deadline passed before the answer came.')),
        )
      work.then(resolve, reject).finally(settled)
    })
  }

  #answerAll(items: readonly PredictItem[], options: PredictOptions): Promise<Answer[]> {
    // Encoded images are let go before they are queued: a run that hangs must not hold them.
    const wanted = items.map(({ domain, version, image, size }) => ({
      domain,
      version,
      bytes: image.byteLength,
      image: { bytes: image, size },
    }))
    return together(wanted, options.signal, async ({ domain, version, bytes, image }, _index, signal) => {
      try {
        return await this.#answer(domain, version, image, { deadline: options.deadline, signal }, options)
      } finally {
        this.#options.admission.leave(domain, bytes, options.principal ?? '')
      }
    })
  }

  /**
   * One image: decoded, then run on the row of the version that is active by then. It holds a lease while it is queued
   * and runs, and waits for nothing else meanwhile. So a request of more domains than the bank has rows is answered,
   * and two such requests cannot lock each other out.
   */
  async #answer(
    domain: string,
    version: string | undefined,
    image: SentImage,
    wait: Wait,
    { principal = '', needHead }: PredictOptions,
  ): Promise<Answer> {
    const asker = { ...wait, principal }
    const { family, lease, pixels, decodeMs } = await this.#ready(domain, version, image, asker)
    image.bytes = LET_GO
    try {
      const { version: answering, row, generation, labels, activation } = lease
      if (needHead && labels === null) throw noHead(domain)
      const sample = { domain, version: answering, pixels, row, generation }
      const { value, queueMs } = await family.scheduler.submit(domain, sample, asker)
      const { features, logits, inferenceMs } = value
      const result = { domain, version: answering, labels, activation, logits, features }
      return { result, decodeMs, queueMs, inferenceMs }
    } finally {
      lease.release()
    }
  }

  /**
   * A lease, and the image as the pixels of the family that it is of. Where the domain was moved to another family while
   * the image was decoded, it is decoded anew: families differ in what they take as input.
   */
  async #ready(
    domain: string,
    version: string | undefined,
    image: SentImage,
    asker: Wait & { principal: string },
  ): Promise<{ family: PredictingFamily; lease: Lease; pixels: Uint8Array; decodeMs: number }> {
    const { acquire, familyOf } = this.#options
    let decodeMs = 0
    for (;;) {
      const family = familyOf(domain, version)
      const decoded = await this.#decode(family, domain, version, image, asker)
      decodeMs += decoded.decodeMs
      if (asker.signal?.aborted) throw clientClosed()
      const lease = await acquire(domain, version, asker)
      if (lease.family === family.fingerprint) return { family, lease, pixels: decoded.pixels, decodeMs }
      lease.release()
    }
  }

  /**
   * An image's pixels. Its header is read first: what is no image loads no adapter. A cold version is loaded before
   * the pixels are decoded: nothing is decoded for a domain that does not get into the bank.
   */
  async #decode(
    family: PredictingFamily,
    domain: string,
    version: string | undefined,
    { bytes, size }: SentImage,
    asker: Wait & { principal: string },
  ): Promise<{ pixels: Uint8Array; decodeMs: number }> {
    const { clock, warm } = this.#options
    const opened = clock.now()
    const image = size === undefined ? await family.open(bytes, asker) : asPixels(bytes, size, family.input)
    const openMs = clock.now() - opened
    await warm?.(domain, version, asker)
    const start = clock.now()
    const pixels = await image.decode({ ...asker, owner: [asker.principal, domain] })
    const decodeMs = openMs + clock.now() - start
    if (size === undefined) this.#observe.decode?.(decodeMs / 1000)
    return { pixels, decodeMs }
  }

  #count(images: ReadonlyMap<string, number>, outcome: 'ok' | 'rejected' | 'error'): void {
    for (const [domain, count] of images) this.#observe.images?.(domain, outcome, count)
  }
}

/** Pixels need no decoding. @throws FacetError `malformed_request` for those of another size than the network's input */
function asPixels(pixels: Uint8Array, size: ImageSize, input: ImageSize): AcceptedImage {
  if (size.height === input.height && size.width === input.width) return { decode: async () => pixels }
  throw new FacetError(
    'malformed_request',
    `The pixels are ${size.height} x ${size.width}, and the network takes ${input.height} x ${input.width}.`,
  )
}

/** Images of each domain, in order of first appearance. */
function countsOf(items: readonly PredictItem[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { domain } of items) counts.set(domain, (counts.get(domain) ?? 0) + 1)
  return counts
}
