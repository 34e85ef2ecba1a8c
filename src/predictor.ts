/**
 * The path of one predict request: decode every image, hold a lease on every domain, queue, answer.
 *
 * Knows the parts it joins (image, registry, scheduler) by their interfaces, and neither HTTP nor ONNX.
 */
import type { Clock } from './clock.js'
import { FacetError } from './errors.js'
import type { EngineResult } from './engine/messages.js'
import type { Activation } from './pack/pack.js'
import type { Lease } from './registry/types.js'
import type { Scheduler } from './scheduler.js'

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
  decode(image: Uint8Array, signal?: AbortSignal): Promise<Uint8Array>
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

export class Predictor {
  readonly #options: PredictorOptions

  constructor(options: PredictorOptions) {
    this.#options = options
  }

  /**
   * Answers every item, in order, or fails as a whole with the first failing item's error, `.at(index)`.
   *
   * The version of each answer is the one active when the item was admitted, after its image was decoded.
   * @throws FacetError of the image, the registry or the scheduler.
   */
  async predict(
    items: readonly PredictItem[],
    options: PredictOptions,
  ): Promise<{ results: PredictResult[]; timings: PredictTimings }> {
    const { scheduler } = this.#options
    const wait = signalAndDeadline(options)
    const leases: Lease[] = []
    try {
      const decoded = await inOrder(items, (item) => this.#decode(item, options.signal))
      await inOrder(items, async (item, index) => {
        const lease = await this.#options.acquire(item.domain, item.version, wait)
        leases[index] = lease
        if (options.needHead && lease.labels === null)
          throw new FacetError('no_head', `Domain '${item.domain}' has no classifier; use its embed route.`)
      })
      const entries = decoded.map(({ pixels }, index) => {
        const { domain, row, generation } = leases[index]!
        return { domain, item: { pixels, row, generation } }
      })
      const outcomes = await scheduler.submit(entries, wait)
      const results = outcomes.map(({ value }, index) => {
        const { domain, version, labels, activation } = leases[index]!
        return { domain, version, labels, activation, logits: value.logits, features: value.features }
      })
      this.#count(items, 'ok')
      return {
        results,
        timings: {
          decodeMs: longest(decoded, ({ ms }) => ms),
          queueMs: longest(outcomes, ({ queueMs }) => queueMs),
          inferenceMs: longest(outcomes, ({ value }) => value.inferenceMs),
        },
      }
    } catch (error) {
      this.#count(items, 'error')
      throw error
    } finally {
      for (const lease of leases) lease?.release()
    }
  }

  async #decode(item: PredictItem, signal?: AbortSignal): Promise<{ pixels: Uint8Array; ms: number }> {
    const { clock, decode, observe } = this.#options
    const start = clock.now()
    const pixels = await decode(item.image, signal)
    const ms = clock.now() - start
    observe?.decode?.(ms / 1000)
    return { pixels, ms }
  }

  #count(items: readonly PredictItem[], outcome: 'ok' | 'error'): void {
    const counts = new Map<string, number>()
    for (const { domain } of items) counts.set(domain, (counts.get(domain) ?? 0) + 1)
    for (const [domain, count] of counts) this.#options.observe?.images?.(domain, outcome, count)
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
  { pixels, features }: { pixels: number; features: number },
  observe?: (seconds: number) => void,
): (batch: Sample[]) => Promise<(SampleResult | Error)[]> {
  return async (batch) => {
    const { generation } = engine
    const current = batch.filter((sample) => sample.generation === generation)
    const stale = new FacetError('engine_restarting', 'The engine restarted; send the request again.', {
      retryAfter: 1,
    })
    if (current.length === 0) return batch.map(() => stale)
    const joined = new Uint8Array(current.length * pixels)
    const rows = new Int32Array(current.length)
    current.forEach((sample, index) => {
      joined.set(sample.pixels, index * pixels)
      rows[index] = sample.row
    })
    const result = await engine.run({ pixels: joined, rows }, generation)
    observe?.(result.inferenceMs / 1000)
    let next = 0
    return batch.map((sample) => {
      if (sample.generation !== generation) return stale
      const index = next++
      return {
        features: result.features.subarray(index * features, (index + 1) * features),
        logits: result.logits[index] ?? null,
        inferenceMs: result.inferenceMs,
      }
    })
  }
}

/** Maps all items at once; the failure of the earliest item wins, whichever happened first. */
async function inOrder<I, O>(items: readonly I[], map: (item: I, index: number) => Promise<O>): Promise<O[]> {
  const settled = await Promise.allSettled(items.map(map))
  return settled.map((outcome, index) => {
    if (outcome.status === 'fulfilled') return outcome.value
    const { reason } = outcome
    throw reason instanceof FacetError && items.length > 1 ? reason.at(index) : reason
  })
}

function signalAndDeadline(options: PredictOptions): { signal?: AbortSignal; deadline?: number } {
  return {
    ...(options.signal && { signal: options.signal }),
    ...(options.deadline !== undefined && { deadline: options.deadline }),
  }
}

function longest<T>(items: readonly T[], milliseconds: (item: T) => number): number {
  return items.reduce((most, item) => Math.max(most, milliseconds(item)), 0)
}
