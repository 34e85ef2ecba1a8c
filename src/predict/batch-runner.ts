/** One batch on the engine: samples in, one outcome a sample. */
import type { Clock } from '../concurrency/clock.js'
import type { EngineResult } from '../engine/batch.js'
import { engineRestarting, FacetError } from '../errors.js'

/** One image of one leased domain, as the scheduler queues it. */
export interface Sample {
  /** Domain and version that answer it. */
  domain: string
  version: string
  /** `[H, W, 3]` */
  pixels: Uint8Array
  /** Bank row of its domain's version. */
  row: number
  /** The engine generation the row belongs to. */
  generation: number
}

/** One sample's share of a batch's answer. */
export interface SampleResult {
  /** `[F]` */
  features: Float32Array
  /** `[classes]`; null where the domain has no head. */
  logits: Float32Array | null
  /** Milliseconds of the whole batch in the engine. */
  inferenceMs: number
}

/** What one batch took. */
export interface BatchTimes {
  /** Images. */
  size: number
  /** Milliseconds from hand-over to answer. */
  ms: number
  /** Milliseconds in the engine alone. */
  inferenceMs: number
  /** A dedicated network ran it, not the trunk. */
  dedicated: boolean
}

/** What a batch is run on. */
export interface BatchEngine {
  readonly generation: number
  run(
    batch: { pixels: Uint8Array; rows: Int32Array },
    generation: number,
    signal?: AbortSignal,
  ): Promise<EngineResult>
}

/**
 * What the scheduler runs a batch with. Samples of an earlier engine generation lost their rows in a restart: they
 * fail alone (`engine_restarting`), the rest of the batch runs.
 *
 * @param pixels elements of one image, H*W*3
 * @param features length F of the feature vector
 */
export function batchRunner(
  engine: BatchEngine,
  clock: Pick<Clock, 'now'>,
  { pixels, features }: { pixels: number; features: number },
  observe: (times: BatchTimes) => void = () => {},
): (batch: Sample[], signal?: AbortSignal) => Promise<(SampleResult | Error)[]> {
  return async (batch, signal) => {
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
    const result = await engine.run({ pixels: joined, rows }, generation, signal)
    const { inferenceMs, dedicated = false } = result
    observe({ size: current.length, ms: clock.now() - start, inferenceMs, dedicated })
    let next = 0
    return batch.map((sample) => {
      if (sample.generation !== generation) return engineRestarting()
      const index = next++
      const own = result.features.subarray(index * features, (index + 1) * features)
      const logits = result.logits[index] ?? null
      if (!allFinite(own) || !(logits === null || allFinite(logits))) return notFinite(sample)
      return { features: own, logits, inferenceMs }
    })
  }
}

/** The canary run of a new pack finds most of them, but not every image is like one of its images. */
function notFinite({ domain, version }: Sample): FacetError {
  return new FacetError(
    'inference_failed',
    `The pack of domain ${domain}, version ${version.slice(0, 12)}, gives no finite answer for this image: its numbers ` +
      'overflow. Other images may be answered; for this one, register another pack for the domain.',
  )
}

function allFinite(values: Float32Array): boolean {
  for (const value of values) if (!Number.isFinite(value)) return false
  return true
}
