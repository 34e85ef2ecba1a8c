/**
 * What the parts of each family tell Prometheus of events: batches, runs, loads, dedicated networks. Where several
 * families are served, each series says whose it is (label `family`); else nothing has such a label.
 */
import { Counter, Histogram, type Registry } from 'prom-client'
import { ageBuckets, countBuckets, durationBuckets } from './buckets.js'
import type { FamilyObserver } from './family-runtime.js'

const label = 'family'

/** The name of that label where there are several families. */
export function familyLabel(families: readonly string[]): 'family'[] {
  return families.length > 1 ? [label] : []
}

/** Its value, likewise. */
export function labelsOf(families: readonly string[], name: string): { family?: string } {
  return families.length > 1 ? { family: name } : {}
}

export class FamilyMetrics {
  readonly #families: readonly string[]
  readonly #registry: Registry
  readonly #queueSeconds: Histogram<'family'>
  readonly #inferenceSeconds: Histogram<'family'>
  readonly #batchSize: Histogram<'family'>
  readonly #batchDomains: Histogram<'family'>
  readonly #loadSeconds: Histogram<'family' | 'tier'>
  readonly #loads: Counter<'family' | 'outcome'>
  readonly #misses: Counter<'family'>
  readonly #evictions: Counter<'family'>
  readonly #evictionAge: Histogram<'family'>
  readonly #runImages: Counter<'family' | 'network'>
  readonly #specialisations: Counter<'family' | 'outcome'>

  /** @param families their names */
  constructor(registry: Registry, families: readonly string[]) {
    this.#families = families
    this.#registry = registry
    this.#queueSeconds = this.#histogram(
      'facet_queue_duration_seconds',
      'Time an image waited for its batch.',
      durationBuckets,
    )
    this.#inferenceSeconds = this.#histogram(
      'facet_inference_duration_seconds',
      'Time of one run of the trunk and its heads, a batch.',
      durationBuckets,
    )
    this.#batchSize = this.#histogram('facet_batch_size', 'Images of a batch.', countBuckets)
    this.#batchDomains = this.#histogram('facet_batch_domains', 'Distinct domains of a batch.', countBuckets)
    this.#loadSeconds = this.#histogram(
      'facet_adapter_load_duration_seconds',
      'Time to bring a cold adapter into the bank.',
      durationBuckets,
      ['tier'],
    )
    this.#loads = this.#counter('facet_adapter_loads_total', 'Cold adapters brought into the bank.', [
      'outcome',
    ])
    this.#misses = this.#counter('facet_adapter_misses_total', 'Requests that found their adapter cold.')
    this.#evictions = this.#counter(
      'facet_adapter_evictions_total',
      'Adapters that left the bank for others.',
    )
    this.#evictionAge = this.#histogram(
      'facet_adapter_eviction_age_seconds',
      'Time since an evicted adapter was last asked for.',
      ageBuckets,
    )
    this.#runImages = this.#counter('facet_run_images_total', 'Images that were run, by what ran them.', [
      'network',
    ])
    this.#specialisations = this.#counter(
      'facet_specialisations_total',
      'Versions that got a dedicated network (promoted), lost it (demoted), or could not get one (failed).',
      ['outcome'],
    )
    for (const family of families) this.#startAtZero(labelsOf(families, family))
  }

  /** What hears a family's parts. */
  observer(family: string): Required<FamilyObserver> {
    const own = labelsOf(this.#families, family)
    return {
      queued: (seconds) => this.#queueSeconds.observe(own, seconds),
      batch: (size, domains) => {
        this.#batchSize.observe(own, size)
        this.#batchDomains.observe(own, domains)
      },
      inference: (seconds, images, dedicated) => {
        this.#inferenceSeconds.observe(own, seconds)
        this.#runImages.inc({ network: dedicated ? 'dedicated' : 'trunk', ...own }, images)
      },
      specialist: (event) => this.#specialisations.inc({ outcome: event, ...own }),
      load: (outcome, tier, seconds) => {
        this.#loads.inc({ outcome, ...own })
        this.#loadSeconds.observe({ tier, ...own }, seconds)
      },
      miss: () => this.#misses.inc(own),
      eviction: (ageSeconds) => {
        this.#evictions.inc(own)
        this.#evictionAge.observe(own, ageSeconds)
      },
    }
  }

  #startAtZero(own: { family?: string }): void {
    for (const histogram of [
      this.#queueSeconds,
      this.#inferenceSeconds,
      this.#batchSize,
      this.#batchDomains,
      this.#evictionAge,
    ])
      histogram.zero(own)
    for (const tier of ['store', 'seed']) this.#loadSeconds.zero({ tier, ...own })
    for (const outcome of ['ok', 'error']) this.#loads.inc({ outcome, ...own }, 0)
    for (const counter of [this.#misses, this.#evictions]) counter.inc(own, 0)
    for (const network of ['trunk', 'dedicated']) this.#runImages.inc({ network, ...own }, 0)
    for (const outcome of ['promoted', 'demoted', 'failed']) this.#specialisations.inc({ outcome, ...own }, 0)
  }

  #counter<Label extends string>(
    name: string,
    help: string,
    labels: Label[] = [],
  ): Counter<Label | 'family'> {
    const labelNames = [...labels, ...familyLabel(this.#families)]
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: Label[] = [],
  ): Histogram<Label | 'family'> {
    const labelNames = [...labels, ...familyLabel(this.#families)]
    return new Histogram({ name, help, buckets: [...buckets], labelNames, registers: [this.#registry] })
  }
}
