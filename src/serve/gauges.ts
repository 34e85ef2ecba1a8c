/**
 * What the service tells Prometheus of its state: gauges that are read at each scrape, with their help, in base units.
 */
import { Gauge, type Registry } from 'prom-client'
import type { LoadedDomain } from '../registry/types.js'
import type { MemoryAccount, ResidencyState } from '../residency/types.js'
import { familyLabel, labelsOf } from './family-metrics.js'

/** What the gauges of one family read at each scrape. */
export interface FamilySource {
  name: string
  queueLength(): number
  memory(): MemoryAccount
  /** Domains whose active version is of the family, by its state. */
  domains(): Record<ResidencyState, number>
  /** Most images of the next batch. */
  maxBatch(): number
  /** Seconds since the least recently used resident adapter was asked for; 0 where none is resident. */
  lruAge(): number
}

/** What the gauges read at each scrape. */
export interface MetricsSource {
  families: readonly FamilySource[]
  /** Domains that have no active version, or one of a family that is not served. */
  otherDomains(): Record<ResidencyState, number>
  /** Whether a domain is registered; no other gets a label. */
  knowsDomain(domain: string): boolean
  /** The ids of all domains. */
  ids(): Iterable<string>
  /** The domains whose active version is in the bank. */
  loaded(): Iterable<LoadedDomain>
  /** Domains that are pinned, the base not counted. */
  pinned(): number
  /** Bytes of packs in the store. */
  storeBytes(): number
  /** Bytes that resident adapters may take. */
  bankCapacity(): number
  /** Bytes that dedicated networks may take. */
  specialiseCapacity(): number
  /** Domains or packs with a problem in the store, by kind. */
  storeProblems(): Readonly<Record<string, number>>
}

type Memories = ReadonlyMap<FamilySource, MemoryAccount>

/** The value of the label `family` for domains that belong to none. */
const NO_FAMILY = '_none'

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
  const { families } = source
  const names = families.map(({ name }) => name)
  const family = familyLabel(names)
  const reads: ((memories: Memories) => void)[] = []

  const one = (name: string, help: string, value: () => number) => {
    const gauge = new Gauge({ name, help, registers })
    reads.push(() => gauge.set(value()))
  }
  const perFamily = (
    name: string,
    help: string,
    value: (memory: MemoryAccount, family: FamilySource) => number,
  ) => {
    const gauge = new Gauge({ name, help, labelNames: family, registers })
    reads.push((memories) => {
      for (const [each, memory] of memories) gauge.set(labelsOf(names, each.name), value(memory, each))
    })
  }
  perFamily('facet_queue_length', 'Images waiting for a batch.', (_, family) => family.queueLength())
  perFamily('facet_trunk_bytes', 'Weights of the trunk, shared by all domains.', ({ trunk }) => trunk)
  perFamily(
    'facet_dedicated_equivalent_bytes',
    'Weights that dedicated networks for the resident domains would take.',
    ({ dedicated }) => dedicated,
  )
  perFamily(
    'facet_memory_saving_ratio',
    'Bytes of dedicated networks over trunk and resident adapters; below 1 while few domains are resident.',
    ({ saving }) => saving,
  )
  perFamily(
    'facet_memory_break_even_domains',
    'Resident domains, the base included, from which on the saving ratio is 1 or more.',
    ({ breakEven }) => breakEven,
  )
  perFamily(
    'facet_specialised_domains',
    'Dedicated networks in use, one for each version.',
    ({ specialised }) => specialised.networks,
  )
  perFamily(
    'facet_specialised_bytes',
    'Bytes of these networks, as reckoned.',
    ({ specialised }) => specialised.bytes,
  )
  one('facet_specialised_capacity_bytes', 'Bytes that they may take.', () => source.specialiseCapacity())
  perFamily('facet_bank_rows_used', 'Bank rows in use, the base included.', ({ rows }) => rows.used)
  perFamily('facet_bank_rows_capacity', 'Bank rows there may be.', ({ rows }) => rows.capacity)
  addDomains(registry, source, reads)

  const bytes = new Gauge({
    name: 'facet_adapter_bytes',
    help: 'Bytes of adapters and heads, by where they are.',
    labelNames: ['tier', ...family],
    registers,
  })
  reads.push((memories) => {
    bytes.set({ tier: 'store' }, source.storeBytes())
    for (const [{ name }, { adapters, heads }] of memories)
      bytes.set({ tier: 'resident', ...labelsOf(names, name) }, adapters + heads)
  })
  perFamily('facet_batch_size_limit', 'Most images of the next batch.', (_, family) => family.maxBatch())
  one('facet_domains_pinned', 'Domains that are never evicted.', () => source.pinned())
  perFamily(
    'facet_adapter_lru_age_seconds',
    'Time since the least recently used resident adapter was asked for; short ages mean thrash.',
    (_, family) => family.lruAge(),
  )
  const problems = new Gauge({
    name: 'facet_store_problems',
    help: 'Domains or packs with a problem in the store, found when it was opened.',
    labelNames: ['kind'],
    registers,
  })
  reads.push(() => {
    for (const [kind, count] of Object.entries(source.storeProblems())) problems.set({ kind }, count)
  })
  one('facet_bank_capacity_bytes', 'Bytes that resident adapters may take.', () => source.bankCapacity())

  // One for each domain; `_other` has the number of those without a label of their own.
  const adapters = new Gauge({
    name: 'facet_adapter_loaded',
    help: 'Domains whose adapter is in the bank; tier: dedicated where a dedicated network answers for it, else where its bytes are, seed for a shipped pack.',
    labelNames: ['domain', 'tier', 'pinned', ...family],
    registers,
  })
  return (loaded) => {
    const memories = new Map(families.map((each) => [each, each.memory()]))
    for (const read of reads) read(memories)
    adapters.reset()
    for (const { domain, tier, pinned, family } of loaded)
      adapters.inc({ domain: label(domain), tier, pinned: String(pinned), ...labelsOf(names, family) })
  }
}

/** Where there are several families, the domains of each; else all together. */
function addDomains(
  registry: Registry,
  source: MetricsSource,
  reads: ((memories: Memories) => void)[],
): void {
  const names = source.families.map(({ name }) => name)
  const gauge = new Gauge({
    name: 'facet_domains',
    help: 'Domains by the state of their active version.',
    labelNames: ['state', ...familyLabel(names)],
    registers: [registry],
  })
  reads.push(() => {
    gauge.reset()
    const all = source.families.map((each) => [each.name, each.domains()] as const)
    for (const [name, states] of [...all, [NO_FAMILY, source.otherDomains()] as const])
      for (const [state, count] of Object.entries(states))
        gauge.inc({ state, ...labelsOf(names, name) }, count)
  })
}
