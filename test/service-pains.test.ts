/**
 * What users of other adapter servers suffer from, tried on the whole service. The pains are numbered as in
 * docs/reliability.md; those that are tested elsewhere are listed there.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { systemClock } from '../src/concurrency/clock.js'
import { nodeFs, type StoreFs } from '../src/store/fs.js'
import { verifyStore } from '../src/store/verify.js'
import { Fault } from './faulty-worker-control.mjs'
import { open } from './service-process.js'
import {
  metric,
  metricsOf,
  type Prediction,
  packBytes,
  pngImage,
  post,
  predict,
  put,
  runService,
} from './service-rig.js'
import { until } from './until.js'

const image = await pngImage(1)

async function register(url: string, domain: string, seed: number): Promise<string> {
  const response = await put(url, domain, packBytes(seed, domain))
  return ((await response.json()) as { version: string }).version
}

t.test('pains 1 and 2: loads stall nobody else, run side by side, and are shared', async (t) => {
  const first = await runService(t)
  const slow = [await register(first.url, 'slow-1', 1), await register(first.url, 'slow-2', 2)]
  await first.service.stop()

  const reading: string[] = []
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const fs: StoreFs = {
    ...nodeFs,
    async read(path, most) {
      const version = slow.find((version) => path.includes(version))
      if (version !== undefined) {
        reading.push(version)
        await released
      }
      return nodeFs.read(path, most)
    },
  }
  const patient = ['--load-timeout', '60s', '--request-timeout', '60s']
  const { url } = await runService(t, ['--data', first.data, ...patient], { fs })
  const waiting = ['slow-1', 'slow-2', 'slow-1', 'slow-2', 'slow-1'].map((domain) => {
    return predict(url, domain, image)
  })
  await until(() => reading.length >= 2)
  t.match(await predict(url, 'base', image), { domain: 'base' }, 'a resident domain')
  t.match(await predict(url, 'eurosat', image), { domain: 'eurosat' }, 'a cold one')
  t.equal((await put(url, 'new', packBytes(3, 'new'))).status, 201, 'a registration')
  t.match(await predict(url, 'new', image), { predictions: [{ label: /^new-/ }] })
  t.equal((await fetch(`${url}/readyz`)).status, 200)
  t.same([...reading].sort(), [...slow].sort(), 'both are being read, each once')
  release()
  for (const [index, { version }] of (await Promise.all(waiting)).entries()) t.equal(version, slow[index % 2])
})

t.test('pain 3: twice as many hot domains as rows are all answered, and the metrics say so', async (t) => {
  const flags = ['--bank-memory', '3MiB', '--min-residency', '5ms', '--load-timeout', '60s']
  const { url } = await runService(t, [...flags, '--request-timeout', '60s'])
  const versions = new Map<string, string>()
  const registerNext = async () => {
    const domain = `hot-${versions.size}`
    versions.set(domain, await register(url, domain, 10 + versions.size))
  }
  const used = () => metric(url, 'facet_bank_rows_used')
  // The bank is full once a further domain takes the row of another. One row is the base's.
  let [rows, now] = [0, await used()]
  while (now > rows) {
    rows = now
    await registerNext()
    now = await used()
  }
  while (versions.size < 2 * (rows - 1)) await registerNext()
  const hot = [...versions.keys()]
  const counts = async () => ({
    misses: await metric(url, 'facet_adapter_misses_total'),
    loads: await metric(url, 'facet_adapter_loads_total{outcome="ok"}'),
    evictions: await metric(url, 'facet_adapter_evictions_total'),
    ages: await metric(url, 'facet_adapter_eviction_age_seconds_count'),
  })
  const before = await counts()
  t.equal(await used(), rows, 'the bank is full')
  const client = async (domain: string) => {
    const answers: Prediction[] = []
    for (let turn = 0; turn < 5; turn++) answers.push(await predict(url, domain, image))
    return answers
  }
  const isRight = ({ domain, version, predictions }: Prediction) => {
    return version === versions.get(domain) && predictions[0]!.label.startsWith(`${domain}-`)
  }
  const answers = (await Promise.all(hot.map(client))).flat()
  t.equal(answers.filter(isRight).length, 5 * hot.length, 'each by its own pack')
  const after = await counts()
  const misses = after.misses - before.misses
  // Only `rows - 1` of the domains were resident before, and each of the others was asked for.
  t.ok(misses >= hot.length - (rows - 1), `${misses} requests found their adapter cold`)
  t.equal(after.loads - before.loads, misses, 'each is one load')
  t.equal(after.evictions - before.evictions, misses, 'and one eviction, since the bank is full')
  t.equal(after.ages, after.evictions, 'each eviction tells the age')
  t.equal(await metric(url, 'facet_adapter_loads_total{outcome="error"}'), 0)
  t.equal(await used(), rows, 'it is full again')

  const pin = (domain: string) =>
    fetch(`${url}/v1/domains/${domain}`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: '{"pinned": true}',
    })
  const statuses: number[] = []
  for (const domain of hot.slice(0, rows)) statuses.push((await pin(domain)).status)
  // Room is kept for the largest head there is, a shipped one's, so fewer than `rows - 2` fit.
  const fit = statuses.indexOf(409)
  t.ok(fit >= 1 && fit < rows - 2, `${fit} domains are pinned`)
  const expected = statuses.map((_, index) => (index < fit ? 200 : 409))
  t.same(statuses, expected, 'once a pin would exceed the memory, all of that size would')
  t.equal(await metric(url, 'facet_domains_pinned'), fit)
  const others = (await Promise.all(hot.slice(-2).map(client))).flat()
  t.equal(others.filter(isRight).length, 10, 'the others still come and go')
  for (const domain of hot.slice(0, fit)) {
    const view = await (await fetch(`${url}/v1/domains/${domain}`)).json()
    t.match(view, { pinned: true, residency: 'resident' }, 'a pinned domain stays')
  }
})

t.test('pains 4 and 12: what is deleted is freed, and reloads swap tensors, not sessions', async (t) => {
  const { url, data, control } = await runService(t, ['--keep-versions', '1', '--lanes', '1'])
  const figures = async () => ({
    adapters: await metric(url, 'facet_adapter_bytes{tier="resident"}'),
    store: await metric(url, 'facet_adapter_bytes{tier="store"}'),
    rows: await metric(url, 'facet_bank_rows_used'),
    blobs: (await readdir(join(data, 'blobs'), { recursive: true })).filter((name) =>
      name.endsWith('.safetensors'),
    ),
    records: await readdir(join(data, 'domains')),
  })
  const before = await figures()
  const { sessions } = control
  t.equal(sessions, 3, 'the two graphs of the trunk, and the heads')
  for (let round = 0; round < 4; round++)
    for (const domain of ['one', 'two']) {
      await register(url, domain, 10 * round + domain.length)
      await predict(url, domain, image)
    }
  t.equal((await figures()).blobs.length, 2, 'one version each is kept')
  for (const domain of ['one', 'two'])
    t.equal((await fetch(`${url}/v1/domains/${domain}`, { method: 'DELETE' })).status, 204)
  t.same(await figures(), before)
  t.equal(control.sessions, sessions)
})

t.test(
  'pains 6 and 8: a domain deleted under its requests answers them, and nobody after them',
  async (t) => {
    const { service, url, control } = await runService(t, ['--max-batch', '1'])
    const old = await register(url, 'shop', 1)
    const alone = await predict(url, 'shop', image)
    control.nextRun(Fault.waits)
    const inRun = predict(url, 'shop', image)
    await control.inRun()
    const queued = predict(url, 'shop', image)
    await until(() => service.runtimes[0].scheduler.length === 1)
    t.equal((await fetch(`${url}/v1/domains/shop`, { method: 'DELETE' })).status, 204)
    const after = await post(url, '/v1/domains/shop/predict', image)
    t.equal(after.status, 404, 'not the base')
    t.match(await after.json(), { code: 'unknown_domain' })
    const again = put(url, 'shop', packBytes(2, 'other'))
    control.release()
    t.same([await inRun, await queued], [alone, alone], 'by the pack they were admitted with')
    t.equal((await again).status, 201)
    const next = await predict(url, 'shop', image)
    t.not(next.version, old)
    t.match(next.predictions[0]!.label, /^other-/)
  },
)

t.test('pain 10: no change and no domain without a token, whatever the route', async (t) => {
  const document = parse(await readFile('openapi.yaml', 'utf8')) as { paths: Record<string, object> }
  const variables = {
    FACET_ADMIN_TOKEN: 'admin-token-of-the-test',
    FACET_PREDICT_TOKEN: 'predict-token-of-the-test',
  }
  Object.assign(process.env, variables)
  const { url } = await runService(t).finally(() => {
    for (const name of Object.keys(variables)) delete process.env[name]
  })
  const routes = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item)
      .filter((method) => ['get', 'put', 'post', 'delete', 'patch'].includes(method))
      .map((method) => ({ method: method.toUpperCase(), path: path.replace(/\{(\w+)\}/g, 'eurosat') })),
  )
  const guarded = routes.filter(({ method, path }) => method !== 'GET' || path.startsWith('/v1/'))
  const names = guarded.map(({ method, path }) => `${method} ${path}`)
  for (const name of ['POST /v1/predict', 'GET /v1/domains', 'PUT /v1/domains/eurosat'])
    t.ok(names.includes(name), `${name} is one of the routes`)
  for (const { method, path } of guarded) {
    for (const authorization of [undefined, 'Bearer wrong', 'Basic YWRtaW46']) {
      const headers = authorization === undefined ? {} : { authorization }
      const { status } = await fetch(`${url}${path}`, { method, headers })
      t.equal(status, 401, `${method} ${path}, ${authorization}`)
    }
  }
  const listed = await fetch(`${url}/v1/domains?limit=1000`, {
    headers: { authorization: `Bearer ${variables.FACET_PREDICT_TOKEN}` },
  })
  const { domains } = (await listed.json()) as { domains: { domain: string }[] }
  t.ok(
    domains.some(({ domain }) => domain === 'eurosat'),
    'its own token opens it',
  )
})

t.test('pain 14: names that clients make up never become series', async (t) => {
  const { url } = await runService(t)
  await predict(url, 'base', image)
  const series = async () => {
    return (await metricsOf(url)).split('\n').filter((line) => line.startsWith('facet_')).length
  }
  const invent = async (name: string) => {
    t.equal((await post(url, `/v1/domains/${name}/predict`, image)).status, 404)
    t.equal((await fetch(`${url}/made/${name}`)).status, 404)
  }
  await invent('first')
  await series()
  const before = await series()
  for (let index = 0; index < 20; index++) await invent(`made-up-${index}`)
  t.equal(await series(), before)
})

t.test('pain 15: ready means that a real forward pass succeeds', async (t) => {
  let skew = 0
  const clock = { ...systemClock, now: () => systemClock.now() + skew }
  const { url, control } = await runService(t, [], { clock })
  const ready = async () => (await fetch(`${url}/readyz`)).status
  t.equal(await ready(), 200)
  // Longer than the last success is valid.
  skew += 60_000
  const { runs } = control
  t.equal(await ready(), 200)
  t.equal(control.runs, runs + 1, 'it was asked')
  skew += 60_000
  control.nextRun(Fault.throws)
  t.equal(await ready(), 503)
  t.equal((await fetch(`${url}/livez`)).status, 200)
  t.equal(await ready(), 200, 'and tries again')
})

for (const back of [true, false]) {
  const what = back ? 'that comes back' : 'that stays away'
  t.test(
    `a stop during a restart of an engine ${what}: every request is answered, then it ends`,
    async (t) => {
      const { service, url, data, control } = await runService(t, [
        ...['--request-timeout', '60s', '--load-timeout', back ? '60s' : '200ms'],
      ])
      const status = async (answer: Promise<Response>) => (await answer).status
      control.dieAtStart = true
      control.nextRun(Fault.exits)
      t.equal(await status(post(url, '/v1/domains/base/predict', image)), 503)
      const cold = post(url, '/v1/domains/eurosat/predict?top_k=1', image)
      await until(() => service.registry.get('eurosat').residency === 'loading')
      const pack = packBytes(5, 'late')
      const upload = open(url, 'PUT', '/v1/domains/late', 'application/octet-stream', pack.length)
      await upload.admitted
      upload.end(pack)
      const stopped = service.stop()
      if (back) control.dieAtStart = false
      t.equal(await status(cold), back ? 200 : 503)
      const uploaded = await upload.answer
      // An engine that comes back may do so in time for the upload or not.
      if (!(back && uploaded.status === 201)) t.equal(uploaded.status, 503, uploaded.body)
      await stopped
      await t.rejects(fetch(`${url}/livez`))
      const { domains, problems } = await verifyStore(data)
      t.equal(domains, uploaded.status === 201 ? 1 : 0, 'what was acknowledged is stored, and no more')
      t.same(problems, [])
    },
  )
}
