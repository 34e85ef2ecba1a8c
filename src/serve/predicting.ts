/** The path of a request over all families: what admits it, and where each of its images goes. */
import type { Clock } from '../concurrency/clock.js'
import type { ServeConfig } from '../config/config.js'
import { Admission } from '../predict/admission.js'
import { Predictor } from '../predict/predictor.js'
import { RateLimit } from '../predict/rate-limit.js'
import type { Statistics } from '../predict/statistics.js'
import type { Registry } from '../registry/registry.js'
import type { FamilyRuntime } from './family-runtime.js'
import type { Metrics, RejectionReason } from './metrics.js'

export function buildPredictor(
  runtimes: readonly FamilyRuntime[],
  registry: Registry,
  config: ServeConfig,
  clock: Clock,
  metrics: Metrics,
  statistics: Statistics,
): Predictor {
  const refused = (reason: RejectionReason) => metrics.rejected(reason)
  const { rateLimit, rateBurst } = config
  const options = { rate: rateLimit, burst: rateBurst, clock, refused }
  const limit = rateLimit > 0 ? new RateLimit(options) : undefined
  const byFingerprint = new Map(runtimes.map((runtime) => [runtime.fingerprint, runtime]))
  return new Predictor({
    admission: new Admission({
      maxImages: config.maxQueue,
      maxImagesOfDomain: config.maxQueuePerDomain,
      maxBytes: config.maxBodies,
      secondsFor: (images) => secondsFor(runtimes, images),
      refused,
    }),
    limitRate: (images) => limit?.take(images),
    familyOf: (domain, version) => byFingerprint.get(registry.familyOf(domain, version))!,
    warm: (domain, version, wait) => registry.warm(domain, version, wait),
    acquire: (domain, version, wait) => registry.acquire(domain, version, wait),
    clock,
    observe: {
      decode: (seconds) => metrics.decode(seconds),
      images: (domain, outcome, count) => metrics.images(domain, outcome, count),
      predicted: (domain, seconds) => metrics.predicted(domain, seconds),
      rejected: (reason) => metrics.rejected(reason),
      answered: (results, timings, ms) => statistics.answered(results, timings, ms),
      failed: (domains, ms) => statistics.failed(domains, ms),
    },
  })
}

/**
 * Seconds in which so many images of what waits are answered, as far as is known: of each family as many as its part of
 * what waits.
 */
function secondsFor(
  families: readonly { scheduler: { readonly length: number; secondsFor(images: number): number } }[],
  images: number,
): number {
  const schedulers = families.map(({ scheduler }) => scheduler)
  const waiting = schedulers.reduce((sum, { length }) => sum + length, 0)
  if (waiting === 0) return Math.max(...schedulers.map((scheduler) => scheduler.secondsFor(images)))
  return schedulers.reduce(
    (sum, scheduler) => sum + scheduler.secondsFor((images * scheduler.length) / waiting),
    0,
  )
}
