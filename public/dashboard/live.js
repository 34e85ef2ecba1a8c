/**
 * What the service is doing: readings of its counters every few seconds, and what lies between them. Everything is
 * reckoned here from `/metrics`, so that the page shows what an operator's Prometheus shows.
 */
import { bucketsBetween, bucketsOf, parseMetrics, quantileOf, sumOf, sumsBy } from './metrics.js'

/**
 * @typedef {object} Reading what the counters said at a moment
 * @property {number} time seconds
 * @property {number} started when the service's process was started, Unix time in seconds
 * @property {Map<string, number>} images images answered, by domain
 * @property {number} failed images that failed for the service's fault
 * @property {number} queue images that wait for a batch
 * @property {import('./metrics.js').Buckets} latency seconds from admission to the answer
 * @property {number} batches
 * @property {number} batched images of these batches
 * @property {number} mixed domains of these batches, summed
 *
 * @typedef {object} Moment what happened between two readings
 * @property {number} time seconds, of the later one
 * @property {number} rate images a second
 * @property {number | null} p50 seconds; null where nothing was answered
 * @property {number | null} p95
 * @property {number} queue
 */

/** Readings are kept for so long. A page that was hidden took none: it begins anew. */
const KEPT_S = 180
/** Latencies and batches are told of readings that lie within so many seconds. */
const SMOOTHED_S = 10
/** Between readings that are closer, one batch looks like a peak. */
const LEAST_S = 1

const NAMES = new Set([
  'process_start_time_seconds',
  'facet_images_total',
  'facet_queue_length',
  'facet_predict_duration_seconds_bucket',
  'facet_batch_size_sum',
  'facet_batch_size_count',
  'facet_batch_domains_sum',
])

/** @param {string} text of `/metrics` @param {number} time seconds @returns {Reading} */
export function readingOf(text, time) {
  const metrics = parseMetrics(text, (name) => NAMES.has(name))
  const outcome = (/** @type {string} */ wanted) => (/** @type {Record<string, string>} */ labels) =>
    labels.outcome === wanted
  return {
    time,
    started: sumOf(metrics, 'process_start_time_seconds'),
    images: sumsBy(metrics, 'facet_images_total', 'domain', outcome('ok')),
    failed: sumOf(metrics, 'facet_images_total', outcome('error')),
    queue: sumOf(metrics, 'facet_queue_length'),
    latency: bucketsOf(metrics, 'facet_predict_duration_seconds'),
    batches: sumOf(metrics, 'facet_batch_size_count'),
    batched: sumOf(metrics, 'facet_batch_size_sum'),
    mixed: sumOf(metrics, 'facet_batch_domains_sum'),
  }
}

/**
 * The readings with one more; the same where it follows the last too closely. A service that was started again counts
 * from 0: what was read before is dropped then.
 * @param {readonly Reading[]} readings @param {Reading} next @returns {Reading[]}
 */
export function withReading(readings, next) {
  const last = readings.at(-1)
  if (last === undefined || next.started !== last.started) return [next]
  if (next.time - last.time < LEAST_S) return [...readings]
  return [...readings.filter(({ time }) => next.time - time <= KEPT_S), next]
}

/**
 * Images answered between two readings, by domain. The counts of a domain that was deleted are gone, and those of one
 * that was made again begin at 0.
 * @param {Reading} before @param {Reading} after
 */
function answeredBetween(before, after) {
  return [...after.images].map(([domain, count]) => {
    const earlier = before.images.get(domain) ?? 0
    return { domain, images: count < earlier ? count : count - earlier }
  })
}

/** The first of the readings that lie within the last ten seconds before one of them, which may be that one.
 * @param {readonly Reading[]} readings @param {Reading} last @returns {Reading} */
function smoothedFrom(readings, last) {
  return readings.find(({ time }) => last.time - time <= SMOOTHED_S) ?? last
}

/** The latencies between two readings; none where a deleted domain took its own with it, since the rest is not known.
 * @param {Reading} before @param {Reading} after @returns {import('./metrics.js').Buckets} */
function latencyBetween(before, after) {
  const latency = bucketsBetween(before.latency, after.latency)
  return [...latency.values()].some((count) => count < 0) ? new Map() : latency
}

/** @param {readonly Reading[]} readings @returns {Moment[]} one for each reading but the first */
export function momentsOf(readings) {
  return readings.slice(1).map((reading, index) => {
    const before = /** @type {Reading} */ (readings[index])
    const latency = latencyBetween(smoothedFrom(readings, reading), reading)
    const answered = answeredBetween(before, reading).reduce((sum, { images }) => sum + images, 0)
    return {
      time: reading.time,
      rate: answered / (reading.time - before.time),
      p50: quantileOf(latency, 0.5),
      p95: quantileOf(latency, 0.95),
      queue: reading.queue,
    }
  })
}

/**
 * Batches of the last ten seconds: how many, and how many images and domains each had on average; null where there were
 * none.
 * @param {readonly Reading[]} readings
 */
export function batchesOf(readings) {
  const last = readings.at(-1)
  if (last === undefined) return null
  const first = smoothedFrom(readings, last)
  if (last.batches === first.batches) return null
  const batches = last.batches - first.batches
  return {
    batches,
    images: (last.batched - first.batched) / batches,
    domains: (last.mixed - first.mixed) / batches,
  }
}

/**
 * Whose images were answered in the kept readings: each domain's part of them, the largest first, those beyond `most`
 * together.
 * @param {readonly Reading[]} readings @param {number} most
 * @returns {{ domain: string | null, images: number, part: number }[]} `domain` is null for the others together
 */
export function mixOf(readings, most) {
  const [first, last] = [readings[0], readings.at(-1)]
  if (first === undefined || last === undefined) return []
  const counts = answeredBetween(first, last)
    .filter(({ images }) => images > 0)
    .sort((a, b) => b.images - a.images || (a.domain < b.domain ? -1 : 1))
  const all = counts.reduce((sum, { images }) => sum + images, 0)
  const named = counts.filter(({ domain }, index) => index < most && domain !== '_other')
  const others = all - named.reduce((sum, { images }) => sum + images, 0)
  return [...named, ...(others > 0 ? [{ domain: null, images: others }] : [])].map((entry) => ({
    ...entry,
    part: entry.images / all,
  }))
}
