/** What the dashboard reckons: numbers as people read them, the service's counters, the picture of memory, requests. */
import t from 'tap'
import {
  accuracyText,
  bytesText,
  counted,
  domainIdOf,
  millisecondsText,
  scoreText,
  threeDigits,
} from '../public/dashboard/format.js'
import { batchesOf, mixOf, momentsOf, readingOf, withReading } from '../public/dashboard/live.js'
import { bucketsBetween, bucketsOf, parseMetrics, quantileOf, sumOf } from '../public/dashboard/metrics.js'
import { groupsOf, timingsOf } from '../public/dashboard/requests.js'
import { huesOf, pictureOf, ticksOf } from '../public/dashboard/scale.js'
import type { Domain, Family } from '../public/dashboard/types.js'

t.test('numbers have about three digits and their unit', async (t) => {
  const bytes = {
    0: '0 B',
    999: '999 B',
    1000: '1.0 kB',
    662024: '662 kB',
    999600: '1.0 MB',
    57600000: '57.6 MB',
  }
  for (const [value, text] of Object.entries(bytes)) t.equal(bytesText(Number(value)), text)
  t.equal(bytesText(3.1e9), '3.1 GB')
  t.same([0, 0.466, 3.14, 57.55, 142.7].map(threeDigits), ['0', '0.47', '3.1', '57.5', '143'])
  t.same([0, 0.26, 12.3, 999, 1200, 12_345].map(millisecondsText), [
    '0 ms',
    '0.3 ms',
    '12 ms',
    '999 ms',
    '1.2 s',
    '12 s',
  ])
  t.same([1, 0.99996, 0.5, 0.0004, 0].map(scoreText), ['100.0%', '> 99.9%', '50.0%', '< 0.1%', '0.0%'])
  t.same(
    [counted(1, 'domain'), counted(1200, 'domain'), counted(0, 'family', 'families')],
    ['1 domain', '1,200 domains', '0 families'],
  )
})

t.test('the accuracy of a card is shown where it is one', async (t) => {
  t.equal(accuracyText({ accuracy: 95.35, test_images: 4000 }), '95.3%')
  t.equal(accuracyText({ accuracy: 0.5 }), '50.0%')
  for (const metrics of [
    null,
    undefined,
    {},
    { accuracy: '<b>99</b>' },
    { accuracy: -1 },
    { accuracy: 950 },
    { accuracy: Number.NaN },
  ])
    t.equal(accuracyText(metrics), null)
})

t.test("a file's name becomes a domain id, or nothing", async (t) => {
  const names = {
    'eurosat.safetensors': 'eurosat',
    'North fields (2).safetensors': 'north-fields-2',
    '..evil/<b>.safetensors': 'evil-b',
    'Ünder.safetensors': 'nder',
    '...safetensors': '',
  }
  for (const [file, id] of Object.entries(names)) t.equal(domainIdOf(file), id, file)
  t.equal(domainIdOf(`${'a'.repeat(80)}.x`).length, 63)
})

t.test('the text of metrics is read with its labels, and only what is wanted', async (t) => {
  const metrics = parseMetrics(
    [
      '# HELP a x',
      'a{domain="one",outcome="ok"} 3',
      'a{domain="t\\"w\\\\o\\n",outcome="ok"} 4 1700000000',
      'a_other 7',
      'b 1.5e3',
      'h_bucket{le="0.1"} 2',
      'h_bucket{le="+Inf"} 5',
      'broken',
      '',
    ].join('\n'),
    (name) => name !== 'a_other',
  )
  t.same(metrics.get('a'), [
    { labels: { domain: 'one', outcome: 'ok' }, value: 3 },
    { labels: { domain: 't"w\\o\n', outcome: 'ok' }, value: 4 },
  ])
  t.equal(sumOf(metrics, 'a'), 7)
  t.equal(
    sumOf(metrics, 'a', ({ domain }) => domain === 'one'),
    3,
  )
  t.equal(sumOf(metrics, 'b'), 1500)
  t.equal(metrics.has('a_other'), false)
  t.same(
    [...bucketsOf(metrics, 'h')],
    [
      [0.1, 2],
      [Number.POSITIVE_INFINITY, 5],
    ],
  )
})

t.test('quantiles lie within the bucket that holds them', async (t) => {
  const buckets = new Map([
    [0.1, 10],
    [0.2, 30],
    [Number.POSITIVE_INFINITY, 40],
  ])
  t.equal(quantileOf(buckets, 0.25), 0.1)
  t.ok(Math.abs(quantileOf(buckets, 0.5)! - 0.15) < 1e-9)
  t.equal(quantileOf(buckets, 0.99), 0.2, 'the last bucket has no bound above')
  t.equal(quantileOf(new Map([[0.1, 0]]), 0.5), null)
  t.same(
    [
      ...bucketsBetween(
        new Map([[0.1, 4]]),
        new Map([
          [0.1, 10],
          [1, 12],
        ]),
      ),
    ],
    [
      [0.1, 6],
      [1, 12],
    ],
  )
})

const reading = (time: number, a: number, b: number, started = 1000) =>
  readingOf(
    [
      `process_start_time_seconds ${started}`,
      `facet_images_total{domain="a",outcome="ok"} ${a}`,
      `facet_images_total{domain="b",outcome="ok"} ${b}`,
      'facet_images_total{domain="b",outcome="error"} 2',
      'facet_queue_length{family="x"} 3',
      'facet_queue_length{family="y"} 1',
      `facet_predict_duration_seconds_bucket{le="0.1",domain="a"} ${a}`,
      `facet_predict_duration_seconds_bucket{le="+Inf",domain="a"} ${a}`,
      `facet_batch_size_sum ${a + b}`,
      `facet_batch_size_count ${(a + b) / 2}`,
      `facet_batch_domains_sum ${a + b}`,
    ].join('\n'),
    time,
  )

t.test('between readings lie rates, latencies, batches and the mix of domains', async (t) => {
  const readings = [reading(0, 10, 0), reading(2, 20, 10), reading(4, 20, 10)]
  t.same(
    momentsOf(readings).map(({ rate, queue }) => ({ rate, queue })),
    [
      { rate: 10, queue: 4 },
      { rate: 0, queue: 4 },
    ],
  )
  t.equal(momentsOf(readings)[0]!.p50, 0.05)
  t.same(batchesOf(readings), { batches: 10, images: 2, domains: 2 })
  t.equal(batchesOf(readings.slice(1)), null, 'no batch ran')
  t.same(mixOf(readings, 1), [
    { domain: 'a', images: 10, part: 0.5 },
    { domain: null, images: 10, part: 0.5 },
  ])
  t.same(mixOf([], 3), [])
  t.same(momentsOf([]), [])
})

t.test('readings begin anew with a service that was started again, and the oldest go', async (t) => {
  const before = [reading(0, 10, 5), reading(2, 20, 5)]
  t.equal(withReading(before, reading(4, 20, 5)).length, 3)
  const anew = reading(6, 30, 10, 1005)
  t.same(withReading(before, anew), [anew])
  let readings = before
  for (let time = 4; time < 400; time += 2) readings = withReading(readings, reading(time, 20 + time, 5))
  t.equal(readings.length, 91)
  t.equal(readings[0]!.time, 398 - 180)
})

t.test('readings that follow too closely are left out: one batch between them is no peak', async (t) => {
  const before = [reading(0, 10, 5), reading(2, 20, 5)]
  t.same(withReading(before, reading(2.02, 52, 5)), before)
  t.equal(momentsOf(withReading(before, reading(4, 52, 5))).at(-1)!.rate, 16)
})

t.test(
  'a page that was hidden forgets what is older than three minutes, and averages over ten seconds',
  async (t) => {
    const old = [reading(0, 10, 0), reading(2, 20, 0), reading(100, 40, 0)]
    const readings = withReading(old, reading(190, 80, 0))
    t.same(
      readings.map(({ time }) => time),
      [100, 190],
    )
    t.equal(batchesOf(readings), null, 'not of a minute and a half')
    t.equal(momentsOf(readings)[0]!.p50, null)
    const more = withReading(readings, reading(192, 90, 0))
    t.match(batchesOf(more), { batches: 5 })
  },
)

t.test('a domain that is deleted takes its counts along, and is no restart', async (t) => {
  const before = withReading([reading(0, 10, 50)], reading(2, 20, 60))
  const gone = { ...reading(4, 24, 0), images: new Map([['a', 24]]) }
  const after = withReading(before, gone)
  t.equal(after.length, 3)
  t.equal(momentsOf(after).at(-1)!.rate, 2)
  t.same(mixOf(after, 3), [{ domain: 'a', images: 14, part: 1 }])
  const again = withReading(after, reading(6, 24, 6))
  t.equal(momentsOf(again).at(-1)!.rate, 3, 'made again it counts from 0')
  const fewer = withReading(before, { ...gone, latency: new Map([[0.1, 3]]) })
  t.equal(momentsOf(fewer).at(-1)!.p50, null, 'latencies that are not known are not made up')
})

const family = (memory: Partial<Family['memory']>): Family => ({
  name: 'f',
  design: 'parallel',
  input: { height: 8, width: 8 },
  features: 9,
  execution: { provider: 'cpu', runtime: 'native', precision: 'fp32', lanes: 2, bank_dtype: 'f32' },
  memory: {
    trunk_bytes: 2000,
    adapter_bytes: 200,
    head_bytes: 400,
    specialised: { networks: 0, bytes: 0 },
    rows: { used: 1, capacity: 9 },
    dedicated_bytes: 2400,
    saving: 1,
    ...memory,
  },
})

const domain = (id: string, more: Partial<Domain>): Domain => ({
  domain: id,
  version: id,
  residency: 'cold',
  pinned: false,
  seed: false,
  bytes: { pack: 0, resident: 0 },
  family: 'f',
  design: 'parallel',
  classes: 5,
  updated: null,
  version_count: 1,
  ...more,
})

t.test('the picture has what is resident, what is on disk, and the same as dedicated networks', async (t) => {
  const domains = [
    domain('a', { residency: 'resident', bytes: { pack: 150, resident: 300 } }),
    domain('also-a', { version: 'a', residency: 'resident', bytes: { pack: 150, resident: 300 } }),
    domain('b', { residency: 'resident', bytes: { pack: 150, resident: 250 } }),
    domain('c', { bytes: { pack: 160, resident: 0 } }),
    domain('broken', { residency: 'failed' }),
    domain('none', { version: null, residency: 'inactive' }),
    domain('elsewhere', { family: 'g', residency: 'resident', bytes: { pack: 1, resident: 9000 } }),
  ]
  const { families, scale } = pictureOf([family({})], domains)
  const { shared, apart, resident, cold } = families[0]!
  t.same([resident, cold], [2, 1])
  t.same(
    shared.segments.map(({ label, bytes, kind }) => [label, bytes, kind]),
    [
      ['trunk', 2000, 'trunk'],
      ['a, also-a', 300, 'resident'],
      ['b', 250, 'resident'],
      ['other domains and versions', 50, 'rest'],
      ['c', 320, 'cold'],
    ],
  )
  t.same([shared.now, shared.all], [2600, 2920])
  // Each head has 5 x (9 + 1) numbers, 200 bytes; so a network is (2400 - 2 * 200) / 2 without its head.
  t.same(
    apart.segments.map(({ bytes }) => bytes),
    [1200, 1200, 1200],
  )
  t.same([apart.now, apart.all, scale], [2400, 3600, 3600])
})

t.test(
  'a token that shows one domain of four sees its network, and what the others take together',
  async (t) => {
    const seen = domain('a', { residency: 'resident', bytes: { pack: 50, resident: 100 } })
    const memory = {
      adapter_bytes: 200,
      head_bytes: 800,
      rows: { used: 4, capacity: 9 },
      dedicated_bytes: 4 * 1200,
    }
    const { shared, apart, resident, others } = pictureOf([family(memory)], [seen]).families[0]!
    t.same([resident, others], [1, 3])
    t.same(
      apart.segments.map(({ label, bytes }) => [label, bytes]),
      [
        ['a', 1200],
        ['other domains and versions', 3600],
      ],
    )
    t.same([shared.now, apart.now], [3000, 4800], 'both bars are of the whole account')
  },
)

t.test('very many domains are one segment beyond the first, and no byte is lost', async (t) => {
  const domains = Array.from({ length: 1000 }, (_, index) =>
    domain(`d${index}`, { residency: 'resident', bytes: { pack: 1, resident: 2 } }),
  )
  const memory = { adapter_bytes: 2000, head_bytes: 0, dedicated_bytes: 1_000_000 }
  const { shared, apart } = pictureOf([family(memory)], domains).families[0]!
  t.ok(shared.segments.length < 300)
  t.match(shared.segments.at(-1), { label: '760 more domains', bytes: 1520, kind: 'resident' })
  t.equal(shared.now, 4000)
  t.ok(Math.abs(apart.now - 1_000_000) < 1)
})

t.test('marks of the axis are round, and domains have colours of their own', async (t) => {
  t.same(ticksOf(87e6, 5), [0, 20e6, 40e6, 60e6, 80e6])
  t.same(ticksOf(1, 5), [0, 0.2, 0.4, 0.6000000000000001, 0.8, 1])
  const hues = huesOf(['b', 'a', 'c'])
  t.equal(new Set(hues.values()).size, 3)
  t.ok([...hues.values()].every((hue) => hue >= 0 && hue < 360))
  t.same([...hues.keys()], ['a', 'b', 'c'])
})

t.test('parts are sent together as far as the limits of a request allow', async (t) => {
  const parts = [3, 3, 5, 9, 1].map((size) => ({ image: { size } }))
  const sizes = (limits: { parts: number; bytes: number }) =>
    groupsOf(parts, limits).map((group) => group.map(({ image }) => image.size))
  t.same(sizes({ parts: 9, bytes: 99 }), [[3, 3, 5, 9, 1]])
  t.same(sizes({ parts: 2, bytes: 99 }), [[3, 3], [5, 9], [1]])
  t.same(sizes({ parts: 9, bytes: 8 }), [[3, 3], [5], [9], [1]], 'one that is too large goes alone')
  t.same(groupsOf([]), [])
  t.same(timingsOf('decode;dur=1.5, queue;dur=0, inference;dur=20.25'), {
    decode: 1.5,
    queue: 0,
    inference: 20.25,
  })
  t.same(timingsOf(null), {})
})
