/**
 * What the service tells Prometheus of events: its counters and histograms, with their help, in base units. Those of a
 * family's parts are in `family-metrics.ts`. What is (gauges) is read at each scrape, see `gauges.ts`.
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
import { durationBuckets, predictBuckets } from './buckets.js'
import { FamilyMetrics } from './family-metrics.js'
import type { FamilyObserver } from './family-runtime.js'
import { addGauges, type MetricsSource } from './gauges.js'

export interface MetricsOptions {
  /** Domains with a label of their own. */
  maxDomains: number
  version: string
  /** `precision`: what the trunk's frozen convolutions compute with. */
  families: readonly { name: string; precision?: 'fp32' | 'fp16' | 'int8' }[]
  /** `cpu`, `cuda:0`. */
  device?: string
}

/** Answers of one route that are known beforehand. */
export interface KnownRequests {
  route: string
  method: string
  codes: readonly number[]
}

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
  readonly #ofFamilies: FamilyMetrics

  constructor({ maxDomains, version, families, device = 'cpu' }: MetricsOptions) {
    this.#maxDomains = maxDomains
    this.#ofFamilies = new FamilyMetrics(
      this.registry,
      families.map(({ name }) => name),
    )
    collectDefaultMetrics({ register: this.registry })
    const build = this.#gauge('facet_build_info', 'Always 1, for each family; the labels say what runs.', [
      'version',
      'family',
      'device',
      'precision',
      'node',
    ])
    for (const { name, precision = 'fp32' } of families)
      build.set({ version, family: name, device, precision, node: process.version }, 1)
    for (const reason of reasons) this.#rejected.inc({ reason }, 0)
    for (const bound of connectionBounds) this.#connectionsRefused.inc({ bound }, 0)
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

  rejected(reason: RejectionReason): void {
    this.#rejected.inc({ reason })
  }

  connectionRefused(bound: ConnectionBound): void {
    this.#connectionsRefused.inc({ bound })
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

  /** What hears the parts of the family of this name. */
  ofFamily(name: string): Required<FamilyObserver> {
    return this.#ofFamilies.observer(name)
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
