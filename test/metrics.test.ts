/** A scrape: names, types and help follow the conventions, and the number of label values is bounded. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse as parseYaml } from 'yaml'
import type { LoadedDomain } from '../src/registry/types.js'
import type { FamilySource, MetricsSource } from '../src/serve/gauges.js'
import { knownRequests } from '../src/serve/known-requests.js'
import { Metrics } from '../src/serve/metrics.js'

interface Family {
  type: string
  help: string
  /** Sample line without its value -> value. */
  samples: Map<string, number>
}

/** A parser of the text exposition format, as strict as promtool for the parts that are written. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>()
  const family = (name: string) => {
    const known = families.get(name) ?? { type: '', help: '', samples: new Map() }
    families.set(name, known)
    return known
  }
  let current = ''
  for (const line of text.split('\n').filter((line) => line !== '')) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line)
    if (comment) {
      current = comment[2]!
      if (comment[1] === 'HELP') family(current).help = comment[3]!
      else family(current).type = comment[3]!
      continue
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^}]*\})?) (\S+)$/.exec(line)
    if (!sample || !sample[1]!.startsWith(current)) throw new Error(`not understood: ${line}`)
    if (family(current).samples.has(sample[1]!)) throw new Error(`twice: ${line}`)
    family(current).samples.set(sample[1]!, Number(sample[2]))
  }
  return families
}

const family: FamilySource = {
  name: 'resnet26',
  queueLength: () => 7,
  memory: () => ({
    trunk: 1000,
    adapters: 150,
    heads: 50,
    specialised: { networks: 2, bytes: 14 },
    rows: { used: 3, capacity: 64 },
    dedicated: 3600,
    saving: 3,
    breakEven: 2,
  }),
  domains: () => ({ resident: 2, cold: 1, loading: 0, failed: 0, inactive: 0 }),
  maxBatch: () => 8,
  lruAge: () => 12,
}

const source: MetricsSource = {
  families: [family],
  otherDomains: () => ({ resident: 0, cold: 0, loading: 0, failed: 0, inactive: 4 }),
  knowsDomain: (domain) => /^known/.test(domain),
  ids: () => [],
  loaded: () => [],
  pinned: () => 1,
  storeBytes: () => 12_345,
  bankCapacity: () => 2 ** 30,
  specialiseCapacity: () => 64,
  storeProblems: () => ({ pack_missing: 2, stray_file: 0 }),
}

function create(maxDomains = 10): Metrics {
  const metrics = new Metrics({ maxDomains, version: '1.2.3', families: [{ name: 'resnet26' }] })
  metrics.observe(source)
  return metrics
}

async function value(metrics: Metrics, sample: string): Promise<number | undefined> {
  for (const family of parse(await metrics.text()).values()) {
    if (family.samples.has(sample)) return family.samples.get(sample)
  }
  return undefined
}

t.test(
  'a scrape asks once for the memory account and the loaded domains, which are long to make',
  async (t) => {
    const asked = { memory: 0, loaded: 0 }
    const metrics = new Metrics({ maxDomains: 1, version: '1.2.3', families: [{ name: 'resnet26' }] })
    metrics.observe({
      ...source,
      ids: () => ['known-a', 'known-b'],
      families: [
        {
          ...family,
          memory: () => {
            asked.memory++
            return family.memory()
          },
        },
      ],
      loaded: () => {
        asked.loaded++
        return [{ domain: 'known-b', tier: 'store', family: 'resnet26', pinned: false }]
      },
    })
    await metrics.text()
    t.same(asked, { memory: 1, loaded: 1 })
    await metrics.text()
    t.same(asked, { memory: 2, loaded: 2 })
  },
)

t.test('every metric exists, with its type', async (t) => {
  const families = parse(await create().text())
  const types = {
    counter: [
      'requests',
      'images',
      'rejected',
      'adapter_loads',
      'adapter_evictions',
      'adapter_misses',
      'run_images',
      'specialisations',
    ].map((name) => `${name}_total`),
    histogram: [
      'request_duration_seconds',
      'queue_duration_seconds',
      'decode_duration_seconds',
      'inference_duration_seconds',
      'batch_size',
      'batch_domains',
      'adapter_load_duration_seconds',
      'adapter_eviction_age_seconds',
    ],
    gauge: [
      'queue_length',
      'domains',
      'trunk_bytes',
      'adapter_bytes',
      'dedicated_equivalent_bytes',
      'memory_saving_ratio',
      'memory_break_even_domains',
      'adapter_loaded',
      'build_info',
      'bank_rows_used',
      'bank_rows_capacity',
      'bank_capacity_bytes',
      'specialised_domains',
      'specialised_bytes',
      'specialised_capacity_bytes',
      'batch_size_limit',
      'domains_pinned',
      'adapter_lru_age_seconds',
    ],
  }
  for (const [type, names] of Object.entries(types)) {
    for (const name of names) t.equal(families.get(`facet_${name}`)?.type, type, name)
  }
  t.ok(families.has('process_cpu_seconds_total'), "prom-client's own")
  t.ok(families.has('nodejs_eventloop_lag_seconds'))
})

t.test('docs/signals.md names every metric, with its type and labels', async (t) => {
  const page = readFileSync(new URL('../docs/signals.md', import.meta.url), 'utf8')
  const told = (family: string[]) =>
    [...page.matchAll(/^\| `(facet_\w+)` \| (\w+) \|(.*?)\|/gm)].map(([, name, type, labels]) => {
      const names = labels!
        .replaceAll('`', '')
        .split(',')
        .map((label) => label.trim())
      return [
        name,
        type,
        names
          .flatMap((label) => (label === 'F' ? family : [label]))
          .filter(Boolean)
          .join(', '),
      ]
    })
  const there = async (metrics: Metrics) => {
    const families = parse(await metrics.text())
    return metrics.registry.getMetricsAsArray().flatMap((metric) => {
      const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] }
      return name.startsWith('facet_') ? [[name, families.get(name)!.type, labelNames.join(', ')]] : []
    })
  }
  t.same((await there(create())).sort(), told([]).sort(), 'with one family')
  const several = new Metrics({
    maxDomains: 10,
    version: '1.2.3',
    families: [{ name: 'one' }, { name: 'two' }],
  })
  several.observe({
    ...source,
    families: [
      { ...family, name: 'one' },
      { ...family, name: 'two' },
    ],
  })
  t.same((await there(several)).sort(), told(['family']).sort(), 'with several')
})

t.test('names and help follow the conventions', async (t) => {
  const metrics = create()
  for (const [name, { type, help }] of parse(await metrics.text())) {
    if (!name.startsWith('facet_')) continue
    t.match(name, /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/)
    t.match(help, /^[A-Z].*\.$/, `${name} has a sentence of help`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} ends in _total where it is a counter`)
    t.notMatch(name, /milli|_ms\b|_kb|_mb|percent|minutes/, 'base units')
  }
  t.match(metrics.contentType, /^text\/plain; version=0.0.4/)
})

t.test('recorded values are the scraped ones', async (t) => {
  const metrics = create()
  metrics.request('/v1/predict', 200, 0.02, 'POST')
  metrics.request('/v1/predict', 429, 0.001, 'POST')
  metrics.request('_unmatched', 405, 0.001, 'PROPFIND')
  metrics.images('known-a', 'ok', 3)
  metrics.images('known-a', 'error')
  metrics.decode(0.004)
  metrics.ofFamily('resnet26').queued(0.002)
  metrics.ofFamily('resnet26').inference(0.02, 5, false)
  metrics.ofFamily('resnet26').inference(0.01, 2, true)
  metrics.ofFamily('resnet26').specialist('promoted')
  metrics.ofFamily('resnet26').batch(8, 5)
  metrics.rejected('queue_full')
  metrics.ofFamily('resnet26').load('ok', 'store', 0.01)
  metrics.ofFamily('resnet26').load('error', 'seed', 0.02)
  metrics.ofFamily('resnet26').miss()
  metrics.ofFamily('resnet26').eviction(90)
  const wanted: Record<string, number> = {
    'facet_requests_total{route="/v1/predict",code="200",method="POST"}': 1,
    'facet_requests_total{route="/v1/predict",code="429",method="POST"}': 1,
    'facet_requests_total{route="_unmatched",code="405",method="_other"}': 1,
    'facet_request_duration_seconds_count{route="/v1/predict",method="POST"}': 2,
    'facet_images_total{domain="known-a",outcome="ok"}': 3,
    'facet_images_total{domain="known-a",outcome="error"}': 1,
    facet_decode_duration_seconds_sum: 0.004,
    'facet_queue_duration_seconds_bucket{le="0.0025"}': 1,
    'facet_queue_duration_seconds_bucket{le="0.001"}': 0,
    facet_inference_duration_seconds_count: 2,
    'facet_run_images_total{network="trunk"}': 5,
    'facet_run_images_total{network="dedicated"}': 2,
    'facet_specialisations_total{outcome="promoted"}': 1,
    'facet_specialisations_total{outcome="demoted"}': 0,
    facet_batch_size_sum: 8,
    facet_batch_domains_sum: 5,
    'facet_rejected_total{reason="queue_full"}': 1,
    'facet_adapter_loads_total{outcome="ok"}': 1,
    'facet_adapter_loads_total{outcome="error"}': 1,
    'facet_adapter_load_duration_seconds_count{tier="store"}': 1,
    'facet_adapter_load_duration_seconds_sum{tier="seed"}': 0.02,
    facet_adapter_misses_total: 1,
    facet_adapter_evictions_total: 1,
    'facet_adapter_eviction_age_seconds_bucket{le="300"}': 1,
  }
  for (const [sample, wantedValue] of Object.entries(wanted)) {
    t.equal(await value(metrics, sample), wantedValue, sample)
  }
})

t.test('gauges are read when they are scraped', async (t) => {
  let queued = 1
  const metrics = new Metrics({
    maxDomains: 1,
    version: '1.2.3',
    families: [{ name: 'f' }],
    device: 'cuda:0',
  })
  metrics.observe({ ...source, families: [{ ...family, queueLength: () => queued }] })
  t.equal(await value(metrics, 'facet_queue_length'), 1)
  queued = 5
  const families = parse(await metrics.text())
  const gauge = (name: string) => Object.fromEntries(families.get(name)?.samples ?? [])
  t.same(gauge('facet_queue_length'), { facet_queue_length: 5 })
  t.same(gauge('facet_domains'), {
    'facet_domains{state="resident"}': 2,
    'facet_domains{state="cold"}': 1,
    'facet_domains{state="loading"}': 0,
    'facet_domains{state="failed"}': 0,
    'facet_domains{state="inactive"}': 4,
  })
  t.same(gauge('facet_adapter_bytes'), {
    'facet_adapter_bytes{tier="resident"}': 200,
    'facet_adapter_bytes{tier="store"}': 12_345,
  })
  t.same(gauge('facet_trunk_bytes'), { facet_trunk_bytes: 1000 })
  t.same(gauge('facet_dedicated_equivalent_bytes'), { facet_dedicated_equivalent_bytes: 3600 })
  t.same(gauge('facet_memory_saving_ratio'), { facet_memory_saving_ratio: 3 })
  t.same(gauge('facet_memory_break_even_domains'), { facet_memory_break_even_domains: 2 })
  t.same(gauge('facet_bank_rows_used'), { facet_bank_rows_used: 3 })
  t.same(gauge('facet_bank_rows_capacity'), { facet_bank_rows_capacity: 64 })
  t.same(gauge('facet_bank_capacity_bytes'), { facet_bank_capacity_bytes: 2 ** 30 })
  t.same(gauge('facet_specialised_domains'), { facet_specialised_domains: 2 })
  t.same(gauge('facet_specialised_bytes'), { facet_specialised_bytes: 14 })
  t.same(gauge('facet_specialised_capacity_bytes'), { facet_specialised_capacity_bytes: 64 })
  t.same(gauge('facet_batch_size_limit'), { facet_batch_size_limit: 8 })
  t.same(gauge('facet_domains_pinned'), { facet_domains_pinned: 1 })
  const node = process.version
  t.same(gauge('facet_build_info'), {
    [`facet_build_info{version="1.2.3",family="f",device="cuda:0",precision="fp32",node="${node}"}`]: 1,
  })
})

t.test('domain labels: known ones, up to a number', async (t) => {
  const metrics = create(2)
  for (const domain of ['known-a', 'known-b', 'known-c', 'known-a', 'scanned-1', 'scanned-2']) {
    metrics.images(domain, 'ok')
  }
  t.same(Object.fromEntries(parse(await metrics.text()).get('facet_images_total')!.samples), {
    'facet_images_total{domain="known-a",outcome="ok"}': 2,
    'facet_images_total{domain="known-b",outcome="ok"}': 1,
    'facet_images_total{domain="_other",outcome="ok"}': 3,
    ...Object.fromEntries(
      ['known-a', 'known-b', '_other'].flatMap((domain) =>
        ['rejected', 'error'].map((outcome) => [
          `facet_images_total{domain="${domain}",outcome="${outcome}"}`,
          0,
        ]),
      ),
    ),
  })
})

t.test("a deleted domain's series go and make room for another", async (t) => {
  const metrics = create(1)
  metrics.images('known-a', 'ok')
  metrics.images('known-a', 'error')
  const other = async (outcome: string) =>
    (await value(metrics, `facet_images_total{domain="_other",outcome="${outcome}"}`)) ?? 0
  metrics.predicted('known-a', 0.1)
  metrics.forget('known-a')
  metrics.forget('never-seen')
  t.notMatch(await metrics.text(), 'known-a')
  for (const outcome of ['ok', 'rejected', 'error']) t.equal(await other(outcome), 0, 'no spike elsewhere')
  metrics.images('known-b', 'ok')
  t.equal(await value(metrics, 'facet_images_total{domain="known-b",outcome="ok"}'), 1)
})

t.test('known label values start at 0', async (t) => {
  const metrics = create()
  metrics.images('known-a', 'ok')
  metrics.predicted('known-a', 0.02)
  metrics.predicted('unknown', 0.02)
  for (const sample of [
    'facet_images_total{domain="_other",outcome="error"}',
    'facet_images_total{domain="known-a",outcome="rejected"}',
    'facet_rejected_total{reason="rate_limited"}',
    'facet_rejected_total{reason="principal_queue_full"}',
    'facet_connections_refused_total{bound="max_connections"}',
    'facet_adapter_loads_total{outcome="error"}',
    'facet_adapter_load_duration_seconds_count{tier="seed"}',
  ])
    t.equal(await value(metrics, sample), 0, sample)
  t.equal(await value(metrics, 'facet_predict_duration_seconds_count{domain="known-a"}'), 1)
  t.equal(await value(metrics, 'facet_predict_duration_seconds_count{domain="_other"}'), 1)
})

t.test('loaded adapters: one series for each domain, within the number of labels', async (t) => {
  let loaded: LoadedDomain[] = [
    { domain: 'base', tier: 'seed', family: 'resnet26', pinned: true },
    { domain: 'known-a', tier: 'store', family: 'resnet26', pinned: false },
    { domain: 'known-b', tier: 'store', family: 'resnet26', pinned: false },
    { domain: 'known-c', tier: 'store', family: 'resnet26', pinned: false },
  ]
  const metrics = new Metrics({ maxDomains: 2, version: '1.2.3', families: [{ name: 'f' }] })
  metrics.observe({
    ...source,
    knowsDomain: () => true,
    ids: () => ['cold', ...loaded.map(({ domain }) => domain)],
    loaded: () => loaded,
  })
  const series = async () =>
    Object.fromEntries(parse(await metrics.text()).get('facet_adapter_loaded')!.samples)
  t.same(await series(), {
    'facet_adapter_loaded{domain="base",tier="seed",pinned="true"}': 1,
    'facet_adapter_loaded{domain="known-a",tier="store",pinned="false"}': 1,
    'facet_adapter_loaded{domain="_other",tier="store",pinned="false"}': 2,
  })
  loaded = loaded.filter(({ domain }) => domain === 'base' || domain === 'known-b')
  t.same(
    await series(),
    {
      'facet_adapter_loaded{domain="base",tier="seed",pinned="true"}': 1,
      'facet_adapter_loaded{domain="_other",tier="store",pinned="false"}': 1,
    },
    'what left the bank is gone at the next scrape',
  )
  metrics.forget('known-a')
  t.same(
    await series(),
    {
      'facet_adapter_loaded{domain="base",tier="seed",pinned="true"}': 1,
      'facet_adapter_loaded{domain="known-b",tier="store",pinned="false"}': 1,
    },
    "a deleted domain's label is another's, and the sum is the same",
  )
})

t.test('where all domains fit, each has its series from the first scrape on', async (t) => {
  const ids = ['known-a', 'known-b']
  const metrics = new Metrics({ maxDomains: 2, version: '1.2.3', families: [{ name: 'f' }] })
  metrics.observe({ ...source, ids: () => ids })
  const named = async () =>
    [...(await metrics.text()).matchAll(/^facet_images_total\{domain="(.*)",outcome="error"\} 0$/gm)].map(
      ([, domain]) => domain,
    )
  t.same(await named(), ['_other', 'known-a', 'known-b'])
  ids.push('known-c')
  t.same(await named(), ['_other', 'known-a', 'known-b'], 'one too many has none')
})

t.test('requests that may come are counted from 0, and no others', async (t) => {
  const metrics = create()
  metrics.expect([{ route: '/v1/x', method: 'PUT', codes: [200, 500] }])
  const counted = async () =>
    Object.fromEntries(parse(await metrics.text()).get('facet_requests_total')!.samples)
  const series = (code: number) => `facet_requests_total{route="/v1/x",code="${code}",method="PUT"}`
  t.same(await counted(), { [series(200)]: 0, [series(500)]: 0 })
  metrics.request('/v1/x', 500, 0.1, 'PUT')
  t.same(await counted(), { [series(200)]: 0, [series(500)]: 1 })
  t.equal(await value(metrics, 'facet_request_duration_seconds_count{route="/v1/x",method="PUT"}'), 1)
})

t.test('the known requests are those of openapi.yaml, and those without a route', async (t) => {
  const text = readFileSync(new URL('../openapi.yaml', import.meta.url), 'utf8')
  const { paths } = parseYaml(text) as { paths: Record<string, Record<string, { responses?: object }>> }
  const documented = Object.entries(paths).flatMap(([route, item]) =>
    Object.entries(item).flatMap(([method, { responses }]) =>
      responses === undefined
        ? []
        : [...Object.keys(responses), '499']
            // Counted without a route: a wrong method, and header fields too long to be read.
            .filter((code) => code !== '405' && code !== '431')
            .map((code) => `${method.toUpperCase()} ${route} ${code}`),
    ),
  )
  const known = knownRequests(text).flatMap(({ route, method, codes }) =>
    codes.map((code) => `${method} ${route} ${code}`),
  )
  const unmatched = (line: string) => line.includes(' _unmatched ')
  t.same(known.filter((line) => !unmatched(line)).sort(), documented.sort())
  t.match(known.filter(unmatched), ['GET _unmatched 400', 'GET _unmatched 404', 'GET _unmatched 405'])
  t.ok(known.includes('_other _unmatched 431'))
})

t.test('two instances in one process share nothing', async (t) => {
  const [one, two] = [create(), create()]
  one.ofFamily('resnet26').miss()
  t.equal(await value(one, 'facet_adapter_misses_total'), 1)
  t.equal(await value(two, 'facet_adapter_misses_total'), 0)
})
