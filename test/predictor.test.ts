import t from 'tap'
import { FacetError } from '../src/errors.js'
import { Gate } from '../src/concurrency/gate.js'
import { Admission } from '../src/predict/admission.js'
import { batchRunner, type Sample, type SampleResult } from '../src/predict/batch-runner.js'
import { type PredictItem, Predictor } from '../src/predict/predictor.js'
import type { Lease } from '../src/registry/types.js'
import { Scheduler } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'

/** A predictor over the real scheduler. Rows are the domains' positions; the engine adds up pixels. */
function build(
  options: {
    rows?: string[]
    free?: number
    generation?: number
    maxImages?: number
    /** Rows whose features overflow for an image of white, and rows whose head does. */
    overflows?: { features?: number; head?: number }
    /** A promise that each run waits for. */
    until?: Promise<void>
    /** Loads a cold domain. */
    warm?: (domain: string) => Promise<void> | undefined
    /** A promise that an image waits for before it is decoded, by its domain. */
    decoding?: (domain: string) => Promise<void>
    limitRate?: (images: ReadonlyMap<string, number>) => void
  } = {},
) {
  const clock = new ManualClock()
  const rows = options.rows ?? ['a', 'b', 'c', 'd']
  const engine = { generation: options.generation ?? 1 }
  let free = options.free ?? Number.POSITIVE_INFINITY
  const waiting: (() => void)[] = []
  const runs: number[][] = []
  /** Aborted where a run is given up. */
  const signals: (AbortSignal | undefined)[] = []
  const held = new Set<Lease>()
  const leased: string[] = []
  const run = batchRunner(
    {
      get generation() {
        return engine.generation
      },
      async run({ pixels, rows }, _generation: number, signal?: AbortSignal) {
        runs.push([...rows])
        signals.push(signal)
        await options.until
        signal?.throwIfAborted()
        const count = rows.length
        const features = new Float32Array(2 * count)
        for (let index = 0; index < count; index++) {
          features[2 * index] = pixels[3 * index]! + pixels[3 * index + 1]! + pixels[3 * index + 2]!
          features[2 * index + 1] = rows[index]!
        }
        const overflowing = (row: number, index: number, which: number | undefined) =>
          row === which && pixels[3 * index] === 255
        rows.forEach((row, index) => {
          if (overflowing(row, index, options.overflows?.features)) features[2 * index] = Infinity
        })
        return {
          features,
          logits: Array.from(rows, (row, index) =>
            Float32Array.of(overflowing(row, index, options.overflows?.head) ? Number.NaN : row, -row),
          ),
          inferenceMs: 4,
          runs: 1,
        }
      },
    },
    clock,
    { pixels: 3, features: 2 },
  )
  const rejected: string[] = []
  const scheduler = new Scheduler<Sample, SampleResult>({
    run,
    clock,
    lanes: () => 1,
    maxBatch: () => 8,
  })
  const maxImages = options.maxImages ?? 64
  const admission = new Admission({ maxImages, maxImagesOfDomain: maxImages, maxBytes: 1000 })
  const counted: [string, string, number][] = []
  const decoding: number[] = []
  const predictor = new Predictor({
    admission,
    familyOf: () => ({
      fingerprint: 'f',
      input: { height: 1, width: 1 },
      scheduler,
      async open(image) {
        if (image.length === 0) throw new FacetError('undecodable_image', 'No header.')
        return {
          async decode({ owner }) {
            decoding.push(image.length)
            await options.decoding?.(owner[1]!)
            if (image.length !== 3) throw new FacetError('undecodable_image', 'Not an image.')
            return image
          },
        }
      },
    }),
    async acquire(domain, version) {
      const row = rows.indexOf(domain)
      if (row < 0) throw new FacetError('unknown_domain', `No domain '${domain}'.`)
      while (free <= 0) await new Promise<void>((resolve) => waiting.push(resolve))
      free--
      const lease: Lease = {
        domain,
        version: version ?? `version-of-${domain}`,
        family: 'f',
        row,
        generation: 1,
        labels: domain === 'd' ? null : ['yes', 'no'],
        activation: 'softmax',
        classes: 2,
        release() {
          if (!held.delete(lease)) return
          free++
          waiting.shift()?.()
        },
      }
      held.add(lease)
      leased.push(domain)
      return lease
    },
    ...(options.warm && { warm: options.warm }),
    clock,
    ...(options.limitRate && { limitRate: options.limitRate }),
    observe: {
      images: (domain, outcome, count) => counted.push([domain, outcome, count]),
      rejected: (reason) => rejected.push(reason),
    },
  })
  return {
    ...{
      predictor,
      held,
      leased,
      counted,
      engine,
      scheduler,
      admission,
      runs,
      signals,
      rejected,
      decoding,
      clock,
    },
  }
}

const item = (domain: string, ...image: number[]): PredictItem => ({ domain, image: Uint8Array.from(image) })

t.test('a run is given up when its client has left, and its leases are given back', async (t) => {
  let end = () => {}
  const until = new Promise<void>((resolve) => {
    end = resolve
  })
  const { predictor, held, signals } = build({ until })
  const client = new AbortController()
  const request = predictor.predict([item('a', 1, 2, 3), item('b', 1, 2, 3)], {
    signal: client.signal,
    needHead: false,
  })
  request.catch(() => {})
  while (signals.length === 0) await settle()
  t.notOk(signals[0]?.aborted)
  client.abort()
  t.ok(signals[0]?.aborted)
  t.equal(held.size, 2, 'the run may still read the rows')
  end()
  await t.rejects(request, { code: 'client_closed' })
  t.equal(held.size, 0)
})

t.test('answers keep the order of a request that mixes domains', async (t) => {
  const { predictor, held, leased, counted } = build()
  const items = [item('b', 1, 2, 3), item('a', 4, 5, 6), item('b', 7, 8, 9), item('c', 1, 1, 1)]
  const { results, timings } = await predictor.predict(items, { needHead: true })
  t.same(
    results.map(({ domain, version, features, logits }) => [domain, version, ...features, ...logits!]),
    [
      ['b', 'version-of-b', 6, 1, 1, -1],
      ['a', 'version-of-a', 15, 0, 0, -0],
      ['b', 'version-of-b', 24, 1, 1, -1],
      ['c', 'version-of-c', 3, 2, 2, -2],
    ],
  )
  t.equal(timings.inferenceMs, 4)
  t.equal(held.size, 0, 'every lease is released')
  t.same(leased, ['b', 'a', 'b', 'c'], 'a lease for each image')
  t.same(counted, [
    ['b', 'ok', 2],
    ['a', 'ok', 1],
    ['c', 'ok', 1],
  ])
})

t.test('pixels go to the run as they are, if they are of the network’s size', async (t) => {
  const { predictor, decoding, leased, held } = build()
  const pixels = { ...item('a', 1, 2, 3), size: { height: 1, width: 1 } }
  const { results } = await predictor.predict([pixels, item('b', 4, 5, 6)], { needHead: true })
  t.same(
    results.map(({ features }) => features[0]),
    [6, 15],
  )
  t.same(decoding, [3], 'only the file was decoded')
  leased.length = 0
  const large = { ...pixels, size: { height: 1, width: 3 } }
  await t.rejects(predictor.predict([large], { needHead: true }), {
    code: 'malformed_request',
    message: /1 x 3, and the network takes 1 x 1/,
  })
  t.same(leased, [])
  t.equal(held.size, 0)
})

t.test(
  'a run that hangs delays no request beyond its deadline, and keeps its leases until it ends',
  async (t) => {
    let end = () => {}
    const until = new Promise<void>((resolve) => {
      end = resolve
    })
    const { predictor, held, counted, clock, scheduler } = build({ until })
    const items = [item('a', 1, 2, 3), item('b', 1, 2, 3)]
    const answer = predictor.predict(items, { needHead: true, deadline: clock.now() + 1000 })
    while (!scheduler.busy) await Promise.resolve()
    clock.advance(1000)
    t.equal(held.size, 2)
    clock.advance(50)
    const error = await answer.catch((error: unknown) => error)
    t.match(error, { code: 'deadline_exceeded', status: 504 })
    t.equal((error as FacetError).index, undefined, 'it is not one image that is late')
    t.equal(held.size, 2, 'their rows are in the run')
    t.same(counted, [
      ['a', 'error', 1],
      ['b', 'error', 1],
    ])
    end()
    while (held.size > 0) await Promise.resolve()
    t.equal(counted.length, 2, 'counted once')
  },
)

t.test('one version asked for by name is leased apart from the active one', async (t) => {
  const { predictor } = build()
  const items = [item('a', 1, 2, 3), { ...item('a', 1, 2, 3), version: 'abcdef' }]
  const { results } = await predictor.predict(items, { needHead: true })
  t.same(
    results.map(({ version }) => version),
    ['version-of-a', 'abcdef'],
  )
})

t.test(
  'a bad image, an unknown domain and a missing head fail the whole request and name the part',
  async (t) => {
    const { predictor, held, counted } = build()
    const good = item('a', 1, 2, 3)
    await t.rejects(predictor.predict([good, item('b', 1)], { needHead: true }), {
      code: 'undecodable_image',
      index: 1,
    })
    await t.rejects(predictor.predict([good, good, item('x', 1, 2, 3)], { needHead: true }), {
      code: 'unknown_domain',
      index: 2,
    })
    await t.rejects(predictor.predict([good, item('d', 1, 2, 3)], { needHead: true }), {
      code: 'no_head',
      index: 1,
    })
    t.equal(held.size, 0)
    t.ok(counted.every(([, outcome]) => outcome === 'rejected'))
    const { results } = await predictor.predict([item('d', 1, 2, 3)], { needHead: false })
    t.same([...results[0]!.features], [6, 3], 'embedding needs no head')
  },
)

t.test('a request of one image carries no index in its error', async (t) => {
  const { predictor } = build()
  const error = await predictor.predict([item('x', 1, 2, 3)], { needHead: true }).catch((error) => error)
  t.equal(error.code, 'unknown_domain')
  t.equal(error.index, undefined)
})

t.test('two requests of more domains than there are rows do not lock each other out', async (t) => {
  const { predictor } = build({ free: 1 })
  const items = ['a', 'b', 'c'].map((domain) => item(domain, 1, 2, 3))
  const answers = await Promise.all([
    predictor.predict(items, { needHead: true }),
    predictor.predict([...items].reverse(), { needHead: true }),
  ])
  t.same(
    answers.map(({ results }) => results.map(({ domain }) => domain)),
    [
      ['a', 'b', 'c'],
      ['c', 'b', 'a'],
    ],
  )
})

t.test(
  'an image for which a pack overflows is told with domain and version, other images are answered',
  async (t) => {
    for (const overflows of [{ features: 1 }, { head: 1 }]) {
      const { predictor, held } = build({ overflows })
      const white = (domain: string) => item(domain, 255, 255, 255)
      const items = [white('a'), item('b', 1, 2, 3), white('b')]
      await t.rejects(predictor.predict(items, { needHead: true }), {
        code: 'inference_failed',
        index: 2,
        message:
          /^The pack of domain b, version version-of-b, gives no finite answer for this image: .*register another/,
      })
      const { results } = await predictor.predict(items.slice(0, 2), { needHead: true })
      t.equal(results.length, 2)
      t.equal(held.size, 0)
    }
  },
)

t.test('samples of an earlier engine generation fail alone', async (t) => {
  const run = batchRunner(
    {
      generation: 2,
      async run({ rows }) {
        return {
          features: Float32Array.from(rows),
          logits: Array.from(rows, () => null),
          inferenceMs: 1,
          runs: 1,
        }
      },
    },
    new ManualClock(),
    { pixels: 1, features: 1 },
  )
  const pixels = Uint8Array.of(0)
  const outcomes = await run([
    { domain: 'a', version: 'one', pixels, row: 5, generation: 1 },
    { domain: 'b', version: 'two', pixels, row: 6, generation: 2 },
  ])
  t.match(outcomes[0], { code: 'engine_restarting', retryAfter: 1 })
  t.same([...(outcomes[1] as SampleResult).features], [6])
})

t.test(
  'of several failures the one with the lowest index is answered, and withdrawn parts do not count as clients that left',
  async (t) => {
    const { predictor, held, rejected } = build()
    const items = [item('a', 1, 2, 3), item('d', 1, 2, 3), item('b', 1, 2, 3), item('x', 1, 2, 3)]
    for (const order of [
      [0, 1, 2, 3],
      [0, 3, 2, 1],
      [3, 0, 1, 2],
    ]) {
      const mixed = order.map((index) => items[index]!)
      const first = Math.min(order.indexOf(1), order.indexOf(3))
      await t.rejects(predictor.predict(mixed, { needHead: true }), {
        code: mixed[first] === items[1] ? 'no_head' : 'unknown_domain',
        index: first,
      })
    }
    await t.rejects(predictor.predict([item('a', 1, 2, 3), item('b', 1), item('c', 2)], { needHead: true }), {
      code: 'undecodable_image',
      index: 1,
    })
    t.equal(held.size, 0)
    t.same(rejected, [], 'no client has left')
  },
)

t.test('a client that leaves is counted as one, whatever parts its request has', async (t) => {
  const { predictor, rejected } = build()
  const client = new AbortController()
  client.abort()
  const items = [item('a', 1, 2, 3), item('a', 1, 2, 3), item('b', 1, 2, 3)]
  const request = predictor.predict(items, { needHead: true, signal: client.signal })
  await t.rejects(request, { code: 'client_closed' })
  t.same(rejected, ['client_closed'])
})

t.test('a request that is not admitted costs no decoding', async (t) => {
  const { predictor, decoding, counted, admission } = build({ maxImages: 2 })
  const three = ['a', 'b', 'c'].map((domain) => item(domain, 1, 2, 3))
  await t.rejects(predictor.predict(three, { needHead: true }), { code: 'too_many_parts' })
  t.same(decoding, [])
  t.same(
    counted.map(([domain, outcome]) => [domain, outcome]),
    [
      ['a', 'rejected'],
      ['b', 'rejected'],
      ['c', 'rejected'],
    ],
  )
  t.equal(admission.images, 0)
})

t.test('a request that its rate limit refuses takes no room and costs no decoding', async (t) => {
  const limited: [string, number][][] = []
  const { predictor, decoding, admission } = build({
    limitRate(images) {
      limited.push([...images])
      throw new FacetError('rate_limited', 'Too fast.', { retryAfter: 3 })
    },
  })
  const items = [item('a', 1, 2, 3), item('b', 1, 2, 3), { ...item('a', 1, 2, 3), version: 'abcdef' }]
  await t.rejects(predictor.predict(items, { needHead: true }), { code: 'rate_limited', retryAfter: 3 })
  t.same(limited, [
    [
      ['a', 2],
      ['b', 1],
    ],
  ])
  t.same(decoding, [])
  t.equal(admission.images, 0)
})

t.test('an image is in the service from its admission to its answer, however that ends', async (t) => {
  let end = () => {}
  const until = new Promise<void>((resolve) => {
    end = resolve
  })
  const { predictor, admission, scheduler } = build({ until })
  const answer = predictor.predict([item('a', 1, 2, 3), item('b', 1, 2, 3)], { needHead: true })
  t.equal(admission.images, 2)
  t.equal(admission.bytes, 6)
  while (!scheduler.busy) await settle()
  const failing = predictor.predict([item('a', 1), item('b', 1, 2, 3)], { needHead: true })
  t.equal(admission.images, 4)
  await t.rejects(failing, { code: 'undecodable_image' })
  t.equal(admission.images, 2)
  end()
  await answer
  t.equal(admission.images, 0)
  t.equal(admission.bytes, 0)
})

t.test('images that are ready together are one run, whatever their domains', async (t) => {
  const rows = [...'abcdefgh']
  const { predictor, runs } = build({ rows })
  const items = rows.map((domain) => item(domain, 1, 2, 3))
  await predictor.predict(items, { needHead: false })
  t.same(runs, [[0, 1, 2, 3, 4, 5, 6, 7]])
})

t.test('an image is queued as soon as it is decoded, and does not wait for the rest', async (t) => {
  let decoded = () => {}
  const slow = new Promise<void>((resolve) => {
    decoded = resolve
  })
  const { predictor, runs, held, leased } = build({
    decoding: async (domain) => {
      if (domain === 'b') await slow
    },
  })
  const items = [item('a', 1, 2, 3), item('b', 1, 2, 3), item('c', 1, 2, 3)]
  const answer = predictor.predict(items, { needHead: true })
  while (held.size > 0 || runs.length === 0) await settle()
  t.same(runs, [[0, 2]])
  t.same(leased, ['a', 'c'], 'no lease is held for an image that is not decoded')
  decoded()
  t.equal((await answer).results.length, 3)
  t.same(runs, [[0, 2], [1]])
})

t.test(
  'a lease is held while an image waits for its run and runs, and not while another is decoded',
  async (t) => {
    const decodes: (() => void)[] = []
    const { predictor, leased, held } = build({
      decoding: () => new Promise((resolve) => decodes.push(resolve)),
    })
    const answer = predictor.predict([item('a', 1, 2, 3), item('a', 4, 5, 6)], { needHead: true })
    await settle()
    decodes[1]!()
    await settle()
    t.same(leased, ['a'])
    t.equal(held.size, 0, 'its run is over')
    decodes[0]!()
    await answer
    t.same(leased, ['a', 'a'])
    t.equal(held.size, 0)
  },
)

t.test('an image that is called off while it is decoded asks for no lease', async (t) => {
  const decodes: (() => void)[] = []
  const { predictor, leased } = build({
    rows: ['a'],
    decoding: () => new Promise((resolve) => decodes.push(resolve)),
  })
  const items = [item('a', 1, 2, 3), item('a', 1), item('gone', 4, 5, 6)]
  const answer = predictor.predict(items, { needHead: true })
  answer.catch(() => {})
  await settle()
  decodes[1]!()
  await settle()
  decodes[2]!()
  await settle()
  t.same(leased, [], 'acquiring would have failed with nobody to hear it')
  decodes[0]!()
  await t.rejects(answer, { code: 'undecodable_image', index: 1 })
})

t.test(
  'a domain that moves to another family while its image is decoded: it is decoded anew for that one',
  async (t) => {
    const clock = new ManualClock()
    let active = 'old'
    const released: string[] = []
    const sizes = { old: 3, new: 12 }
    const decoded: string[] = []
    const familyOf = (name: 'old' | 'new') => ({
      fingerprint: name,
      scheduler: new Scheduler<Sample, SampleResult>({
        run: async (batch) =>
          batch.map(({ pixels }) => ({
            features: Float32Array.of(pixels.length),
            logits: null,
            inferenceMs: 1,
          })),
        clock,
        lanes: () => 1,
        maxBatch: () => 4,
      }),
      input: { height: 1, width: 1 },
      open: async (image: Uint8Array) => ({
        decode: async () => {
          decoded.push(`${name} of ${image.length}`)
          active = 'new'
          return new Uint8Array(sizes[name])
        },
      }),
    })
    const families = { old: familyOf('old'), new: familyOf('new') }
    const predictor = new Predictor({
      admission: new Admission({ maxImages: 64, maxImagesOfDomain: 64, maxBytes: 1000 }),
      familyOf: () => families[active as 'old' | 'new'],
      acquire: async (domain) => {
        const family = active
        const release = () => void released.push(family)
        return {
          domain,
          family,
          version: family,
          row: 0,
          generation: 1,
          labels: null,
          activation: 'softmax',
          classes: 0,
          release,
        }
      },
      clock,
    })
    const { results } = await predictor.predict([item('a', 7)], { needHead: false })
    t.match(results, [{ version: 'new', features: Float32Array.of(12) }])
    t.same(decoded, ['old of 1', 'new of 1'])
    t.same(released, ['new', 'new'], 'the first lease was given back')
  },
)

t.test('decoding and running overlap: 32 images, 20 ms each on two threads and on one lane', async (t) => {
  const clock = new ManualClock()
  const decoding = new Gate({ width: 2, clock })
  const after = (ms: number) => new Promise<void>((resolve) => clock.after(ms, resolve))
  const scheduler = new Scheduler<Sample, SampleResult>({
    async run(batch) {
      await after(20 * batch.length)
      return batch.map(() => ({ features: new Float32Array(1), logits: null, inferenceMs: 20 }))
    },
    clock,
    lanes: () => 1,
    maxBatch: () => 4,
  })
  const lease = {
    version: 'v',
    family: 'f',
    row: 0,
    generation: 1,
    labels: null,
    activation: 'softmax',
    classes: 0,
  } as const
  const predictor = new Predictor({
    admission: new Admission({ maxImages: 64, maxImagesOfDomain: 64, maxBytes: 1000 }),
    familyOf: () => ({
      fingerprint: 'f',
      input: { height: 1, width: 1 },
      scheduler,
      open: async (image) => ({
        decode: (wait) => decoding.run(() => after(20).then(() => image), wait),
      }),
    }),
    acquire: async (domain) => ({ ...lease, domain, release() {} }),
    clock,
  })
  let answered = false
  const items = Array.from({ length: 32 }, () => item('a', 1))
  const answer = predictor.predict(items, { needHead: false }).finally(() => {
    answered = true
  })
  await settle()
  while (!answered) {
    clock.advance(10)
    await settle()
  }
  t.equal((await answer).results.length, 32)
  t.equal(
    clock.now(),
    660,
    '20 ms until the first is decoded, 640 ms of runs; one after the other it was 960',
  )
})

t.test(
  'a cold domain is loaded before its image is decoded, and a resident one is not waited for',
  async (t) => {
    let load = () => {}
    const { predictor, decoding, held } = build({
      warm: (domain) => {
        if (domain === 'a') return undefined
        if (domain === 'c') return Promise.reject(new FacetError('load_timeout', 'Full.'))
        return new Promise((resolve) => {
          load = resolve
        })
      },
    })
    await predictor.predict([item('a', 1, 2, 3)], { needHead: true })
    t.equal(decoding.length, 1)
    await t.rejects(predictor.predict([item('c', 1, 2, 3)], { needHead: true }), { code: 'load_timeout' })
    const answer = predictor.predict([item('b', 1, 2, 3)], { needHead: true })
    await settle()
    t.equal(decoding.length, 1, 'nothing is decoded for a domain that is not resident')
    t.equal(held.size, 0)
    load()
    await answer
    t.equal(decoding.length, 2)
  },
)

t.test('what is no image loads no adapter', async (t) => {
  const loads: string[] = []
  const { predictor } = build({
    warm: async (domain) => {
      loads.push(domain)
    },
  })
  await t.rejects(predictor.predict([item('a')], { needHead: true }), { code: 'undecodable_image' })
  t.same(loads, [])
  await predictor.predict([item('a', 1, 2, 3)], { needHead: true })
  t.same(loads, ['a'])
})
