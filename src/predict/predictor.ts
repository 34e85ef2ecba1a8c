/**
 * The path of one predict request: decode every image, hold a lease on every domain, queue, answer.
 *
 * Knows the parts it joins (image, registry, scheduler) by their interfaces, and neither HTTP nor ONNX.
 */
import type { Clock } from '../concurrency/clock.js'
import { Deadlines, type Timed } from '../concurrency/deadlines.js'
import { engineRestarting, FacetError, noHead, Withdrawn } from '../errors.js'
import type { EngineResult } from '../engine/messages.js'
import type { Activation } from '../pack/pack.js'
import type { Lease } from '../registry/types.js'
import type { Scheduler } from '../scheduler/scheduler.js'

/** What is asked of an image. */
interface WantedItem {
  domain: string
  /** Full SHA-256 or a unique prefix; the active version where left out. */
  version?: string
}

export interface PredictItem extends WantedItem {
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

/** One image of one leased domain, as the scheduler queues it. */
export interface Sample {
  /** `[H, W, 3]` */
  pixels: Uint8Array
  row: number
  generation: number
}

/** One sample's share of a batch's answer. */
export interface SampleResult {
  /** `[F]` */
  features: Float32Array
  logits: Float32Array | null
  /** Milliseconds the whole batch took. */
  inferenceMs: number
}

export interface PredictorOptions {
  /** Encoded bytes to pixels `[H, W, 3]`, when there is a thread for it. */
  decode(
    image: Uint8Array,
    wait: { owner: string; signal?: AbortSignal; deadline?: number },
  ): Promise<Uint8Array>
  /** Throws where a request with so many images of each domain may not come in, before any work on it. */
  admit?(counts: ReadonlyMap<string, number>): void
  acquire(
    domain: string,
    version: string | undefined,
    options: { signal?: AbortSignal; deadline?: number },
  ): Promise<Lease>
  scheduler: Pick<Scheduler<Sample, SampleResult>, 'submit'>
  clock: Clock
  observe?: {
    decode?(seconds: number): void
    images?(domain: string, outcome: 'ok' | 'error', count: number): void
  }
}

/** What one batch took, milliseconds: from hand-over to answer, and in the engine alone. */
export interface BatchTimes {
  size: number
  ms: number
  inferenceMs: number
}

interface Decoded {
  pixels: Uint8Array
  ms: number
}

interface Answer {
  result: PredictResult
  queueMs: number
  inferenceMs: number
}

/** Whoever waits for something tells of the deadline in its own words; this much later, ms, nobody is waited for. */
const GRACE_MS = 50

/** A request that is not answered yet. */
interface Waiting extends Timed {
  expire(): void
}

export class Predictor {
  readonly #options: PredictorOptions
  readonly #deadlines: Deadlines<Waiting>

  constructor(options: PredictorOptions) {
    this.#options = options
    this.#deadlines = new Deadlines(options.clock, (waiting) => waiting.expire())
  }

  /**
   * Answers every item, in order, or fails as a whole with the first failing item's error, `.at(index)`.
   *
   * The version of each answer is the one active when the item was admitted, after its image was decoded.
   * Items of one domain and version share a lease. No lease is held while another is awaited, so that a
   * request of more domains than the bank has rows is answered, and two such requests cannot lock each other
   * out.
   *
   * Answers soon after the deadline at the latest, also where a run hangs; what is in a run then keeps its leases until
   * that ends.
   * @throws FacetError of the image, the registry or the scheduler; `deadline_exceeded`.
   */
  async predict(
    items: readonly PredictItem[],
    options: PredictOptions,
  ): Promise<{ results: PredictResult[]; timings: PredictTimings }> {
    try {
      this.#options.admit?.(countsOf(items))
      const answer = await this.#inTime(this.#predict(items, options), options.deadline)
      this.#count(items, 'ok')
      return answer
    } catch (error) {
      this.#count(items, 'error')
      throw error
    }
  }

  async #predict(
    items: readonly PredictItem[],
    options: PredictOptions,
  ): Promise<{ results: PredictResult[]; timings: PredictTimings }> {
    const decoded = await this.#decodeAll(items, options)
    // Without the encoded images: a run that hangs would hold them, and nobody counts them any more.
    const wanted = items.map(({ image: _, ...wanted }) => wanted)
    return this.#finish(wanted, decoded, options)
  }

  async #finish(
    items: readonly WantedItem[],
    decoded: Decoded[],
    options: PredictOptions,
  ): Promise<{ results: PredictResult[]; timings: PredictTimings }> {
    const answers = await this.#answerAll(items, decoded, options)
    return {
      results: answers.map(({ result }) => result),
      timings: {
        decodeMs: longest(decoded, ({ ms }) => ms),
        queueMs: longest(answers, ({ queueMs }) => queueMs),
        inferenceMs: longest(answers, ({ inferenceMs }) => inferenceMs),
      },
    }
  }

  #inTime<T>(work: Promise<T>, deadline: number | undefined): Promise<T> {
    if (deadline === undefined) return work
    return new Promise((resolve, reject) => {
      const expire = () =>
        reject(new FacetError('deadline_exceeded', 'The deadline passed before the answer came.'))
      const waiting: Waiting = { deadline: deadline + GRACE_MS, place: -1, expire }
      this.#deadlines.add(waiting)
      void work.then(resolve, reject).finally(() => this.#deadlines.remove(waiting))
    })
  }

  #decodeAll(items: readonly PredictItem[], options: PredictOptions): Promise<Decoded[]> {
    const { clock, decode, observe } = this.#options
    const each = items.map((_, index) => [index])
    return together(each, options, async ([index], wait) => {
      const start = clock.now()
      const { domain, image } = items[index!]!
      const pixels = await decode(image, { ...wait, owner: domain })
      const ms = clock.now() - start
      observe?.decode?.(ms / 1000)
      return { pixels, ms }
    })
  }

  async #answerAll(
    items: readonly WantedItem[],
    decoded: Decoded[],
    options: PredictOptions,
  ): Promise<Answer[]> {
    const answers: Answer[] = []
    await together(groups(items), options, (group, own) => {
      return this.#answerGroup(group, items, decoded, own, answers)
    })
    return answers
  }

  /** Leases one domain and queues its images together. */
  async #answerGroup(
    group: readonly number[],
    items: readonly WantedItem[],
    decoded: Decoded[],
    options: PredictOptions,
    answers: Answer[],
  ): Promise<void> {
    const { domain, version } = items[group[0]!]!
    let lease: Lease | undefined
    try {
      lease = await this.#options.acquire(domain, version, options)
      const { row, generation, labels, activation } = lease
      if (options.needHead && labels === null) throw noHead(domain)
      const entries = group.map((index) => {
        return { domain, item: { pixels: decoded[index]!.pixels, row, generation } }
      })
      const outcomes = await this.#options.scheduler.submit(entries, options)
      for (const [position, { value, queueMs }] of outcomes.entries()) {
        const { features, logits, inferenceMs } = value
        const result = { domain, version: lease.version, labels, activation, logits, features }
        answers[group[position]!] = { result, queueMs, inferenceMs }
      }
    } finally {
      lease?.release()
    }
  }

  #count(items: readonly WantedItem[], outcome: 'ok' | 'error'): void {
    for (const group of groups(items)) {
      this.#options.observe?.images?.(items[group[0]!]!.domain, outcome, group.length)
    }
  }
}

/**
 * Runs one batch on the engine: samples in, one outcome a sample.
 *
 * Samples of an earlier engine generation lost their rows in a restart; they fail alone, the rest of the
 * batch goes on.
 * @param pixels elements of one image, H*W*3
 * @param features length F of the feature vector
 */
export function batchRunner(
  engine: {
    readonly generation: number
    run(batch: { pixels: Uint8Array; rows: Int32Array }, generation: number): Promise<EngineResult>
  },
  clock: Pick<Clock, 'now'>,
  { pixels, features }: { pixels: number; features: number },
  observe?: (batch: BatchTimes) => void,
): (batch: Sample[]) => Promise<(SampleResult | Error)[]> {
  return async (batch) => {
    const { generation } = engine
    const current = batch.filter((sample) => sample.generation === generation)
    if (current.length === 0) return batch.map(() => engineRestarting())
    const joined = new Uint8Array(current.length * pixels)
    const rows = new Int32Array(current.length)
    current.forEach((sample, index) => {
      joined.set(sample.pixels, index * pixels)
      rows[index] = sample.row
    })
    const start = clock.now()
    const result = await engine.run({ pixels: joined, rows }, generation)
    observe?.({ size: current.length, ms: clock.now() - start, inferenceMs: result.inferenceMs })
    let next = 0
    return batch.map((sample) => {
      if (sample.generation !== generation) return engineRestarting()
      const index = next++
      const own = result.features.subarray(index * features, (index + 1) * features)
      const logits = result.logits[index] ?? null
      if (!finite(own) || !(logits === null || finite(logits)))
        return new FacetError('inference_failed', 'The model gives no finite answer for this image.')
      return { features: own, logits, inferenceMs: result.inferenceMs }
    })
  }
}

function finite(values: Float32Array): boolean {
  for (const value of values) if (!Number.isFinite(value)) return false
  return true
}

/** Positions of the items of each domain and version, in order of first appearance. */
function groups(items: readonly WantedItem[]): number[][] {
  const byDomain = new Map<string, number[]>()
  for (const [index, { domain, version }] of items.entries()) {
    const key = `${domain} ${version ?? ''}`
    const group = byDomain.get(key)
    if (group) group.push(index)
    else byDomain.set(key, [index])
  }
  return [...byDomain.values()]
}

function countsOf(items: readonly WantedItem[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { domain } of items) counts.set(domain, (counts.get(domain) ?? 0) + 1)
  return counts
}

/**
 * Works on the parts of one request side by side. The first failing item decides what is told, not the first
 * failure in time: when a part fails, only those whose items all come after it are withdrawn, the others go on.
 *
 * @param parts positions of the items of each part, ascending. A FacetError's own index is one into its part.
 * @throws the failure of the item with the lowest index, `.at` it where there are several items
 */
async function together<T>(
  parts: readonly (readonly number[])[],
  options: PredictOptions,
  work: (part: readonly number[], own: PredictOptions) => Promise<T>,
): Promise<T[]> {
  const results: T[] = []
  const withdraw = parts.map(() => new AbortController())
  const items = parts.reduce((sum, part) => sum + part.length, 0)
  let failure: { at: number; error: unknown } | undefined
  await Promise.all(
    parts.map(async (part, position) => {
      const own = parts.length > 1 ? withSignal(options, withdraw[position]!.signal) : options
      try {
        results[position] = await work(part, own)
      } catch (error) {
        const at = part[error instanceof FacetError ? (error.index ?? 0) : 0]!
        if (failure && failure.at <= at) return
        failure = { at, error: items > 1 && error instanceof FacetError ? error.at(at) : error }
        parts.forEach(([first], other) => {
          if (first! > at) withdraw[other]!.abort(new Withdrawn())
        })
      }
    }),
  )
  if (failure) throw failure.error
  return results
}

function withSignal(options: PredictOptions, signal: AbortSignal): PredictOptions {
  return { ...options, signal: options.signal ? AbortSignal.any([options.signal, signal]) : signal }
}

function longest<T>(items: readonly T[], milliseconds: (item: T) => number): number {
  return items.reduce((most, item) => Math.max(most, milliseconds(item)), 0)
}
