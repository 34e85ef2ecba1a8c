/**
 * What the service tells Prometheus of its state: gauges that are read at each scrape, with their help, in base units.
 */
import { Gauge, type Registry } from 'prom-client'
import type { LoadedDomain } from '../registry/types.js'
import type { MemoryAccount, ResidencyState } from '../residency/types.js'

/** What the gauges read at each scrape. */
export interface MetricsSource {
  queueLength(): number
  memory(): MemoryAccount
  /** Domains by the state of their active version. */
  domains(): Record<ResidencyState, number>
  /** Whether a domain is registered; no other gets a label. */
  knowsDomain(domain: string): boolean
  /** The ids of all domains. */
  ids(): Iterable<string>
  /** The domains whose active version is in the bank. */
  loaded(): Iterable<LoadedDomain>
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
  /** Bytes that dedicated networks may take. */
  specialiseCapacity(): number
  /** Domains or packs with a problem in the store, by kind. */
  storeProblems(): Readonly<Record<string, number>>
}

/**
 * @param label the value of the label `domain` for a domain, as the counters have it
 * @returns sets all gauges, to be called before each scrape with `loaded()`
 */
export function addGauges(
  registry: Registry,
  source: MetricsSource,
  label: (domain: string) => string,
): (loaded: Iterable<LoadedDomain>) => void {
  const registers = [registry]
  const reads: ((memory: MemoryAccount) => void)[] = []
  const one = (name: string, help: string, value: (memory: MemoryAccount) => number) => {
    const gauge = new Gauge({ name, help, registers })
    reads.push((memory) => gauge.set(value(memory)))
  }
  const each = (
    name: string,
    help: string,
    labelName: string,
    values: (memory: MemoryAccount) => Readonly<Record<string, number>>,
  ) => {
    const gauge = new Gauge({ name, help, labelNames: [labelName], registers })
    reads.push((memory) => {
      for (const [key, value] of Object.entries(values(memory))) gauge.set({ [labelName]: key }, value)
    })
  }
  one('facet_queue_length', 'Images waiting for a batch.', () => source.queueLength())
  one('facet_trunk_bytes', 'Weights of the trunk, shared by all domains.', ({ trunk }) => trunk)
  one(
    'facet_dedicated_equivalent_bytes',
    'Weights that dedicated networks for the resident domains would take.',
    ({ dedicated }) => dedicated,
  )
  one(
    'facet_memory_saving_ratio',
    'Bytes of dedicated networks over trunk and resident adapters; below 1 while few domains are resident.',
    ({ saving }) => saving,
  )
  one(
    'facet_memory_break_even_domains',
    'Resident domains, the base included, from which on the saving ratio is 1 or more.',
    ({ breakEven }) => breakEven,
  )
  one(
    'facet_specialised_domains',
    'Dedicated networks in use, one for each version.',
    ({ specialised }) => specialised.networks,
  )
  one(
    'facet_specialised_bytes',
    'Bytes of these networks, as reckoned.',
    ({ specialised }) => specialised.bytes,
  )
  one('facet_specialised_capacity_bytes', 'Bytes that they may take.', () => source.specialiseCapacity())
  one('facet_bank_rows_used', 'Bank rows in use, the base included.', ({ rows }) => rows.used)
  one('facet_bank_rows_capacity', 'Bank rows there may be.', ({ rows }) => rows.capacity)
  each('facet_domains', 'Domains by the state of their active version.', 'state', () => {
    return source.domains()
  })
  each(
    'facet_adapter_bytes',
    'Bytes of adapters and heads, by where they are.',
    'tier',
    ({ adapters, heads }) => ({
      resident: adapters + heads,
      store: source.storeBytes(),
    }),
  )
  one('facet_batch_size_limit', 'Most images of the next batch.', () => source.maxBatch())
  one('facet_domains_pinned', 'Domains that are never evicted.', () => source.pinned())
  one(
    'facet_adapter_lru_age_seconds',
    'Time since the least recently used resident adapter was asked for; short ages mean thrash.',
    () => source.lruAge(),
  )
  each(
    'facet_store_problems',
    'Domains or packs with a problem in the store, found when it was opened.',
    'kind',
    () => source.storeProblems(),
  )
  one('facet_bank_capacity_bytes', 'Bytes that resident adapters may take.', () => {
    return source.bankCapacity()
  })

  // One for each domain; `_other` has the number of those without a label of their own.
  const adapters = new Gauge({
    name: 'facet_adapter_loaded',
    help: 'Domains whose adapter is in the bank; tier: dedicated where a dedicated network answers for it, else where its bytes are, seed for a shipped pack.',
    labelNames: ['domain', 'tier', 'pinned'],
    registers,
  })
  return (loaded) => {
    const memory = source.memory()
    for (const read of reads) read(memory)
    adapters.reset()
    for (const { domain, tier, pinned } of loaded)
      adapters.inc({ domain: label(domain), tier, pinned: String(pinned) })
  }
}
