/**
 * What each version of each domain was asked, since the service started: counts and times, for the statistics of the Open
 * Inference Protocol. Metrics for Prometheus are elsewhere; these have no buckets, and name every domain.
 */
import type { PredictResult, PredictTimings } from './predictor.js'

/** How often something was done, and how long it took in all, ms. */
export class Total {
  count = 0
  ms = 0

  add(ms: number): void {
    this.count++
    this.ms += ms
  }
}

/** Of one version of a domain. Times of requests are those of their slowest image. */
export class VersionStatistics {
  /** Milliseconds since 1970 of the last answer. */
  last = 0
  /** Images that were answered. */
  images = 0
  /** Runs that had images of it. */
  runs = 0
  /** Requests that were answered. */
  readonly success = new Total()
  readonly queue = new Total()
  readonly decode = new Total()
  readonly inference = new Total()
}

/** What a domain was asked. */
export interface DomainStatistics {
  /** Requests that failed, whichever version they were for. */
  readonly failed: Total
  readonly versions: ReadonlyMap<string, VersionStatistics>
}

/** Versions of a domain that are kept account of; the one that was asked first goes when another comes. */
const MAX_VERSIONS = 100

interface Kept {
  failed: Total
  versions: Map<string, VersionStatistics>
}

export class Statistics {
  readonly #domains = new Map<string, Kept>()
  readonly #now: () => number

  /** @param now milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now
  }

  of(domain: string): DomainStatistics | undefined {
    return this.#domains.get(domain)
  }

  /** A request was answered. @param ms from its admission */
  answered(results: readonly PredictResult[], timings: PredictTimings, ms: number): void {
    const asked = new Map<VersionStatistics, number>()
    for (const { domain, version } of results) {
      const own = this.#version(domain, version)
      asked.set(own, (asked.get(own) ?? 0) + 1)
    }
    for (const [own, images] of asked) {
      own.last = this.#now()
      own.images += images
      own.success.add(ms)
      own.queue.add(timings.queueMs)
      own.decode.add(timings.decodeMs)
      own.inference.add(timings.inferenceMs)
    }
  }

  /** A request failed. @param domains that exist */
  failed(domains: Iterable<string>, ms: number): void {
    for (const domain of domains) this.#domain(domain).failed.add(ms)
  }

  /** Images of these versions ran together. */
  ran(batch: readonly { domain: string; version: string }[]): void {
    for (const own of new Set(batch.map(({ domain, version }) => this.#version(domain, version)))) own.runs++
  }

  /** A domain was deleted. */
  forget(domain: string): void {
    this.#domains.delete(domain)
  }

  #domain(domain: string): Kept {
    let kept = this.#domains.get(domain)
    if (kept === undefined) {
      kept = { failed: new Total(), versions: new Map() }
      this.#domains.set(domain, kept)
    }
    return kept
  }

  #version(domain: string, version: string): VersionStatistics {
    const { versions } = this.#domain(domain)
    let own = versions.get(version)
    if (own === undefined) {
      if (versions.size === MAX_VERSIONS) versions.delete(versions.keys().next().value!)
      own = new VersionStatistics()
      versions.set(version, own)
    }
    return own
  }
}
