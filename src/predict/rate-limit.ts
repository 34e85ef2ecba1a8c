/**
 * A limit of images per second for each domain: a token bucket that holds `burst` images and fills at `rate`.
 *
 * A request takes all it needs or nothing. Full buckets are forgotten, so that memory grows with the domains in use
 * and not with all that were ever used.
 */
import type { Clock } from '../concurrency/clock.js'
import { FacetError } from '../errors.js'

export interface RateLimitOptions {
  /** Images a second. */
  rate: number
  /** Images at once after a pause; a larger request never passes. */
  burst: number
  clock: Pick<Clock, 'now'>
  /** A request was refused. */
  refused?(reason: 'rate_limited'): void
}

interface Bucket {
  images: number
  /** `clock.now()` when it held that many. */
  at: number
}

export class RateLimit {
  readonly #options: RateLimitOptions
  readonly #buckets = new Map<string, Bucket>()
  /** Milliseconds in which an empty bucket fills. */
  readonly #fillMs: number
  #swept: number

  constructor(options: RateLimitOptions) {
    this.#options = options
    this.#fillMs = (options.burst / options.rate) * 1000
    this.#swept = options.clock.now()
  }

  /** Buckets that are not full. */
  get size(): number {
    return this.#buckets.size
  }

  /**
   * Takes the images of one request from its domains' buckets.
   * @param counts images by domain
   * @throws FacetError `rate_limited` (429) with the seconds until the domain that is most behind has enough;
   * nothing is taken then
   */
  take(counts: ReadonlyMap<string, number>): void {
    const { rate, clock, refused } = this.#options
    const now = clock.now()
    this.#sweep(now)
    let wait = 0
    let slowest = ''
    for (const [domain, count] of counts) {
      const seconds = (count - this.#level(domain, now)) / rate
      if (seconds > wait) [wait, slowest] = [seconds, domain]
    }
    if (wait > 0) {
      refused?.('rate_limited')
      throw new FacetError(
        'rate_limited',
        `Domain '${slowest}' is sent more than ${rate} images a second (--rate-limit).`,
        { retryAfter: Math.ceil(wait) },
      )
    }
    for (const [domain, count] of counts)
      this.#buckets.set(domain, { images: this.#level(domain, now) - count, at: now })
  }

  /** Images in a domain's bucket. */
  #level(domain: string, now: number): number {
    const { rate, burst } = this.#options
    const bucket = this.#buckets.get(domain)
    return bucket === undefined ? burst : Math.min(burst, bucket.images + ((now - bucket.at) / 1000) * rate)
  }

  /** Forgets full buckets: those that were not touched for as long as an empty one takes to fill. */
  #sweep(now: number): void {
    if (now - this.#swept < this.#fillMs) return
    this.#swept = now
    for (const [domain, { at }] of this.#buckets) if (now - at >= this.#fillMs) this.#buckets.delete(domain)
  }
}
