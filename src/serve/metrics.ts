/**
 * What the service tells Prometheus: every metric, its help and its buckets, in one place. Base units.
 *
 * The other parts call its methods, which fit their observers, and know no metric by name. Gauges are read when they
 * are scraped. `domain` is the one label whose values clients could multiply: only domains that exist get a value of
 * their own, up to a number, and `_other` stands for the rest.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { ConnectionBound } from '../http/exchange/deps.js'
import type { MemoryAccount, ResidencyState } from '../residency/types.js'

export interface MetricsOptions {
  /** Domains with a label of their own. */
  maxDomains: number
  version: string
  family: string
  /** `cpu`, `cuda:0`. */
  device?: string
}

/** What the gauges read at each scrape. */
export interface MetricsSource {
  queueLength(): number
  memory(): MemoryAccount
  /** Domains by the state of their active version. */
  domains(): Record<ResidencyState, number>
  /** Whether a domain is registered; no other gets a label. */
  knowsDomain(domain: string): boolean
  /** Most images of the next batch. */
  maxBatch(): number
  /** Domains that are pinned, the base not counted. */
  pinned(): number
  /** Seconds since the least recently used resident adapter was asked for; 0 where none is resident. */
  lruAge(): number
  /** Bytes of packs in the store. */
  storeBytes(): number
  /** Bytes that resident adapters may take. */
  bankCapacity(): number
  /** Domains or packs with a problem in the store, by kind. */
  storeProblems(): Readonly<Record<string, number>>
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
const otherMethods = '_other'
/** Methods with a label of their own; a client may send any of three dozen. */
const methods: readonly string[] = ['GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'DELETE']
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
  #knows: (domain: string) => boolean = () => false

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
    'Connections beyond a bound: max_connections, closed at once; max_connections_per_peer, told so by 429 if they ask.',
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

  constructor({ maxDomains, version, family, device = 'cpu' }: MetricsOptions) {
    this.#maxDomains = maxDomains
    collectDefaultMetrics({ register: this.registry })
    const build = this.#gauge('facet_build_info', 'Always 1; the labels say what runs.', [
      'version',
      'family',
      'device',
      'node',
    ])
    build.set({ version, family, device, node: process.version }, 1)
    // A counter that appears with its first event has no increase that a query could see.
    for (const reason of reasons) this.#rejected.inc({ reason }, 0)
    for (const bound of connectionBounds) this.#connectionsRefused.inc({ bound }, 0)
    for (const outcome of ['ok', 'error']) this.#loads.inc({ outcome }, 0)
    for (const tier of ['store', 'seed']) this.#loadSeconds.zero({ tier })
    this.#startDomain(otherDomains)
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

  inference(seconds: number): void {
    this.#inferenceSeconds.observe(seconds)
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
    this.#knows = (domain) => source.knowsDomain(domain)
    this.#read('facet_queue_length', 'Images waiting for a batch.', () => source.queueLength())
    this.#read(
      'facet_trunk_bytes',
      'Weights of the trunk, shared by all domains.',
      () => source.memory().trunk,
    )
    this.#read(
      'facet_dedicated_equivalent_bytes',
      'Weights that dedicated networks for the resident domains would take.',
      () => source.memory().dedicated,
    )
    this.#read(
      'facet_memory_saving_ratio',
      'Bytes of dedicated networks over trunk and resident adapters; larger is better.',
      () => source.memory().saving,
    )
    this.#read(
      'facet_bank_rows_used',
      'Bank rows in use, the base included.',
      () => source.memory().rows.used,
    )
    this.#read('facet_bank_rows_capacity', 'Bank rows there may be.', () => source.memory().rows.capacity)
    this.#readEach('facet_domains', 'Domains by the state of their active version.', 'state', () => {
      return source.domains()
    })
    this.#readEach('facet_adapter_bytes', 'Bytes of adapters and heads, by where they are.', 'tier', () => ({
      resident: residentBytes(source.memory()),
      store: source.storeBytes(),
    }))
    this.#read('facet_batch_size_limit', 'Most images of the next batch.', () => source.maxBatch())
    this.#read('facet_domains_pinned', 'Domains that are never evicted.', () => source.pinned())
    this.#read(
      'facet_adapter_lru_age_seconds',
      'Time since the least recently used resident adapter was asked for; short ages mean thrash.',
      () => source.lruAge(),
    )
    this.#readEach(
      'facet_store_problems',
      'Domains or packs with a problem in the store, found when it was opened.',
      'kind',
      () => source.storeProblems(),
    )
    this.#read('facet_bank_capacity_bytes', 'Bytes that resident adapters may take.', () => {
      return source.bankCapacity()
    })
  }

  /** The exposition format, for `/metrics`; its media type is `contentType`. */
  text(): Promise<string> {
    return this.registry.metrics()
  }

  get contentType(): string {
    return this.registry.contentType
  }

  #label(domain: string): string {
    if (this.#labelled.has(domain)) return domain
    if (this.#labelled.size >= this.#maxDomains || !this.#knows(domain)) return otherDomains
    this.#labelled.add(domain)
    this.#startDomain(domain)
    return domain
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

  /** A gauge that is read at each scrape. */
  #read(name: string, help: string, value: () => number): void {
    const registers = [this.registry]
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  }

  /** The same with one label. */
  #readEach(name: string, help: string, label: string, values: () => Readonly<Record<string, number>>): void {
    const registers = [this.registry]
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers,
      collect() {
        for (const [key, value] of Object.entries(values())) this.set({ [label]: key }, value)
      },
    })
  }
}

function residentBytes({ adapters, heads }: MemoryAccount): number {
  return adapters + heads
}
