/**
 * What the service tells Prometheus of events: every counter and histogram, its help and its buckets, in one place, in
 * base units. What is (gauges) is read at each scrape, see `gauges.ts`.
 *
 * The other parts call its methods, which fit their observers, and know no metric by name. `domain` is the one label
 * whose values clients could multiply: only domains that exist get a value of their own, up to a number, and `_other`
 * stands for the rest. Where all domains fit, each has one from the start; else those that are resident or asked for
 * first.
 *
 * A counter that appears with its first event has no increase that a query could see: what is known beforehand starts
 * at 0.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { ConnectionBound } from '../http/exchange/deps.js'
import type { LoadedDomain } from '../registry/types.js'
import { addGauges, type MetricsSource } from './gauges.js'

export interface MetricsOptions {
  /** Domains with a label of their own. */
  maxDomains: number
  version: string
  family: string
  /** `cpu`, `cuda:0`. */
  device?: string
  /** What the trunk's frozen convolutions compute with. */
  precision?: 'fp32' | 'int8'
}

/** Answers of one route that are known beforehand. */
export interface KnownRequests {
  route: string
  method: string
  codes: readonly number[]
}

/** Buckets in seconds, from the decoding of a small image to the longest wait of a request. */
const durationBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
/** Buckets in seconds; few, because each domain has them all. */
const predictBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
/** Buckets in seconds: an eviction after a second is thrash, after hours it is tidying. */
const ageBuckets = [0.1, 1, 10, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600]
/** Buckets of images and of domains in a batch. */
const countBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256]

const otherDomains = '_other'
export const otherMethods = '_other'
/** Methods with a label of their own; a client may send any of three dozen. */
export const methods: readonly string[] = ['GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'DELETE']
/** `rejected`: the client's fault (status 4xx); `error`: ours (5xx). */
const outcomes = ['ok', 'rejected', 'error'] as const
/** Why a request is refused or dropped before it runs. */
const reasons = [
  'queue_full',
  'principal_queue_full',
  'domain_queue_full',
  'too_many_parts',
  'rate_limited',
  'deadline_exceeded',
  'client_closed',
  'draining',
] as const
const connectionBounds: readonly ConnectionBound[] = ['max_connections', 'max_connections_per_peer']
export type ImageOutcome = (typeof outcomes)[number]
export type RejectionReason = (typeof reasons)[number]

export class Metrics {
  readonly registry = new Registry()
  readonly #maxDomains: number
  /** Domains with a label of their own. */
  readonly #labelled = new Set<string>()
  #source: MetricsSource | undefined
  #readGauges: (loaded: Iterable<LoadedDomain>) => void = () => {}

  readonly #requests = this.#counter('facet_requests_total', 'HTTP requests answered.', [
    'route',
    'code',
    'method',
  ])
  readonly #requestSeconds = this.#histogram(
    'facet_request_duration_seconds',
    'Time from the first byte of an HTTP request to the end of its answer.',
    durationBuckets,
    ['route', 'method'],
  )
  readonly #images = this.#counter(
    'facet_images_total',
    'Images answered, refused for the fault of their client (rejected), or failed for ours (error).',
    ['domain', 'outcome'],
  )
  readonly #predictSeconds = this.#histogram(
    'facet_predict_duration_seconds',
    'Time from the admission of a request that was answered to its answer, for each of its domains.',
    predictBuckets,
    ['domain'],
  )
  readonly #decodeSeconds = this.#histogram(
    'facet_decode_duration_seconds',
    'Time from an encoded image to pixels, the wait for a thread included.',
    durationBuckets,
  )
  readonly #queueSeconds = this.#histogram(
    'facet_queue_duration_seconds',
    'Time an image waited for its batch.',
    durationBuckets,
  )
  readonly #inferenceSeconds = this.#histogram(
    'facet_inference_duration_seconds',
    'Time of one run of the trunk and its heads, a batch.',
    durationBuckets,
  )
  readonly #batchSize = this.#histogram('facet_batch_size', 'Images of a batch.', countBuckets)
  readonly #batchDomains = this.#histogram(
    'facet_batch_domains',
    'Distinct domains of a batch.',
    countBuckets,
  )
  readonly #rejected = this.#counter(
    'facet_rejected_total',
    'Requests refused, or given up before they were answered.',
    ['reason'],
  )
  readonly #connectionsRefused = this.#counter(
    'facet_connections_refused_total',
    'Connections beyond a bound: max_connections, for which a silent one is closed, or else they are; max_connections_per_peer, told so by 429 if they ask.',
    ['bound'],
  )
  readonly #loadSeconds = this.#histogram(
    'facet_adapter_load_duration_seconds',
    'Time to bring a cold adapter into the bank.',
    durationBuckets,
    ['tier'],
  )
  readonly #loads = this.#counter('facet_adapter_loads_total', 'Cold adapters brought into the bank.', [
    'outcome',
  ])
  readonly #misses = this.#counter('facet_adapter_misses_total', 'Requests that found their adapter cold.')
  readonly #evictions = this.#counter(
    'facet_adapter_evictions_total',
    'Adapters that left the bank for others.',
  )
  readonly #evictionAge = this.#histogram(
    'facet_adapter_eviction_age_seconds',
    'Time since an evicted adapter was last asked for.',
    ageBuckets,
  )

  readonly #runImages = this.#counter('facet_run_images_total', 'Images that were run, by what ran them.', [
    'network',
  ])
  readonly #specialisations = this.#counter(
    'facet_specialisations_total',
    'Versions that got a dedicated network (promoted), lost it (demoted), or could not get one (failed).',
    ['outcome'],
  )

  constructor({ maxDomains, version, family, device = 'cpu', precision = 'fp32' }: MetricsOptions) {
    this.#maxDomains = maxDomains
    collectDefaultMetrics({ register: this.registry })
    const build = this.#gauge('facet_build_info', 'Always 1; the labels say what runs.', [
      'version',
      'family',
      'device',
      'precision',
      'node',
    ])
    build.set({ version, family, device, precision, node: process.version }, 1)
    for (const reason of reasons) this.#rejected.inc({ reason }, 0)
    for (const bound of connectionBounds) this.#connectionsRefused.inc({ bound }, 0)
    for (const outcome of ['ok', 'error']) this.#loads.inc({ outcome }, 0)
    for (const network of ['trunk', 'dedicated']) this.#runImages.inc({ network }, 0)
    for (const outcome of ['promoted', 'demoted', 'failed']) this.#specialisations.inc({ outcome }, 0)
    for (const tier of ['store', 'seed']) this.#loadSeconds.zero({ tier })
    this.#startDomain(otherDomains)
  }

  /** The requests of these routes with these answers are counted from 0. */
  expect(requests: Iterable<KnownRequests>): void {
    for (const { route, method, codes } of requests) {
      for (const code of codes) this.#requests.inc({ route, code, method }, 0)
      this.#requestSeconds.zero({ route, method })
    }
  }

  /**
   * @param route the route's pattern, never a client's path
   * @param method empty where the request could not be read
   */
  request(route: string, code: number, seconds: number, method: string): void {
    const label = methods.includes(method) ? method : otherMethods
    this.#requests.inc({ route, code, method: label })
    this.#requestSeconds.observe({ route, method: label }, seconds)
  }

  images(domain: string, outcome: ImageOutcome, count = 1): void {
    this.#images.inc({ domain: this.#label(domain), outcome }, count)
  }

  /** A request for images of a domain was answered, so long after its admission. */
  predicted(domain: string, seconds: number): void {
    this.#predictSeconds.observe({ domain: this.#label(domain) }, seconds)
  }

  decode(seconds: number): void {
    this.#decodeSeconds.observe(seconds)
  }

  queued(seconds: number): void {
    this.#queueSeconds.observe(seconds)
  }

  /** @param dedicated a dedicated network ran so many images, not the trunk */
  inference(seconds: number, images: number, dedicated: boolean): void {
    this.#inferenceSeconds.observe(seconds)
    this.#runImages.inc({ network: dedicated ? 'dedicated' : 'trunk' }, images)
  }

  specialist(event: 'promoted' | 'demoted' | 'failed'): void {
    this.#specialisations.inc({ outcome: event })
  }

  batch(size: number, domains: number): void {
    this.#batchSize.observe(size)
    this.#batchDomains.observe(domains)
  }

  rejected(reason: RejectionReason): void {
    this.#rejected.inc({ reason })
  }

  connectionRefused(bound: ConnectionBound): void {
    this.#connectionsRefused.inc({ bound })
  }

  load(outcome: 'ok' | 'error', tier: 'store' | 'seed', seconds: number): void {
    this.#loads.inc({ outcome })
    this.#loadSeconds.observe({ tier }, seconds)
  }

  miss(): void {
    this.#misses.inc()
  }

  eviction(ageSeconds: number): void {
    this.#evictions.inc()
    this.#evictionAge.observe(ageSeconds)
  }

  /**
   * Removes a deleted domain's series, and its label is free. `_other` does not take its counts: that would look like
   * traffic. Sums over all domains fall then; rates of the series that are left do not notice.
   */
  forget(domain: string): void {
    if (!this.#labelled.delete(domain)) return
    for (const outcome of outcomes) this.#images.remove({ domain, outcome })
    this.#predictSeconds.remove({ domain })
  }

  /** Adds the gauges of a running service. Call once. */
  observe(source: MetricsSource): void {
    this.#source = source
    this.#readGauges = addGauges(this.registry, source, (domain) => this.#label(domain))
  }

  /** The exposition format, for `/metrics`; its media type is `contentType`. */
  text(): Promise<string> {
    const loaded = [...(this.#source?.loaded() ?? [])]
    this.#labelDomains(loaded)
    this.#readGauges(loaded)
    return this.registry.metrics()
  }

  get contentType(): string {
    return this.registry.contentType
  }

  #label(domain: string): string {
    if (this.#labelled.has(domain)) return domain
    if (this.#labelled.size >= this.#maxDomains || !this.#source?.knowsDomain(domain)) return otherDomains
    this.#labelled.add(domain)
    this.#startDomain(domain)
    return domain
  }

  /** Before the series are read, so that the scrape that first names a domain has all of its series. */
  #labelDomains(loaded: readonly LoadedDomain[]): void {
    const ids = [...(this.#source?.ids() ?? [])]
    if (ids.length > this.#maxDomains) for (const { domain } of loaded) this.#label(domain)
    else for (const domain of ids) this.#label(domain)
  }

  #startDomain(domain: string): void {
    for (const outcome of outcomes) this.#images.inc({ domain, outcome }, 0)
    this.#predictSeconds.zero({ domain })
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[] = []): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.registry] })
  }

  #gauge<Label extends string>(name: string, help: string, labelNames: Label[]): Gauge<Label> {
    return new Gauge({ name, help, labelNames, registers: [this.registry] })
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: Label[] = [],
  ): Histogram<Label> {
    return new Histogram({ name, help, buckets, labelNames, registers: [this.registry] })
  }
}
