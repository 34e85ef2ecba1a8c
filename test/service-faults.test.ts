/**
 * Faults of the engine, the disk and the clients, injected into the whole service: which requests fail, and
 * which do not.
 */
import t, { type Test } from 'tap'
import { nodeFs, type StoreFs } from '../src/store/fs.js'
import { Fault } from './faulty-worker-control.mjs'
import { fsError } from './memory-disk.js'
import { metric, packBytes, pngImage, post, predict, put, runService } from './service-rig.js'
import { until } from './until.js'

const image = await pngImage(1)
/** The error of the store's operations; null if they work. */
let diskError: string | null = null

function failing<Args extends [string, ...unknown[]], T>(act: (...args: Args) => Promise<T>) {
  return async (...args: Args) => {
    if (diskError !== null) throw fsError(diskError, args[0])
    return act(...args)
  }
}

const disk: StoreFs = {
  ...nodeFs,
  mkdir: failing(nodeFs.mkdir),
  read: failing(nodeFs.read),
  create: failing(nodeFs.create),
  rename: failing(nodeFs.rename),
  remove: failing(nodeFs.remove),
}

// Long enough for a restart of the engine on a busy machine.
const patient = ['--load-timeout', '60s', '--request-timeout', '60s']
const { service, url, control } = await runService(t, ['--max-batch', '4', ...patient], { fs: disk })
await put(url, 'shop', packBytes(1, 'shop'))
await put(url, 'bakery', packBytes(2, 'bakery'))

const ask = (domain: string) => post(url, `/v1/domains/${domain}/predict`, image)
const queued = (count: number) => until(() => service.runtimes[0].scheduler.length >= count)

/** Puts `fault` into the next run. Returns the request in that run once the run has begun. */
async function inRun(fault: Fault, domain = 'shop'): Promise<{ answer: Promise<Response> }> {
  control.nextRun(fault)
  const answer = ask(domain)
  await control.inRun()
  return { answer }
}

async function problem(t: Test, response: Response, status: number, code: string): Promise<string> {
  const body = (await response.json()) as { code: string; detail: string }
  t.equal(response.status, status, body.detail)
  t.equal(body.code, code)
  return body.detail
}

t.test('a batch whose run throws fails alone', async (t) => {
  const held = await inRun(Fault.waits)
  // One after the other, since the order of arrival decides the turns of the domains and so the batches.
  const asked: Promise<Response>[] = []
  for (const domain of ['shop', 'bakery', 'base', 'shop', 'shop', 'bakery']) {
    asked.push(ask(domain))
    await queued(asked.length)
  }
  const [batch, next] = [asked.slice(0, 4), asked.slice(4)]
  const before = control.runs
  // The held run has met its fault already; this one is for the four.
  control.nextRun(Fault.throws)
  control.release()
  t.equal((await held.answer).status, 200)
  for (const response of await Promise.all(batch)) {
    const detail = await problem(t, response, 500, 'inference_failed')
    t.notMatch(detail, '/srv', 'no path of the server')
  }
  for (const response of await Promise.all(next)) t.equal(response.status, 200)
  t.equal(control.runs - before, 2)
  t.equal((await fetch(`${url}/readyz`)).status, 200)
})

const deaths = [
  ['exits', Fault.exits],
  ['throws outside of any request', Fault.crashes],
] as const
for (const [index, [what, fault]] of deaths.entries()) {
  t.test(`a worker that ${what} in a run: what waits gets 503, then all domains are back`, async (t) => {
    const own = ['eurosat', 'sign_digits'][index]!
    const answers = [await predict(url, 'shop', image), await predict(url, 'bakery', image)]
    const held = await inRun(Fault.waits)
    const waiting = ['bakery', 'shop', 'base', 'shop', 'bakery'].map(ask)
    await queued(5)
    const up = new Promise((resolve) => service.runtimes[0].engine.once('up', resolve))
    const down = new Promise((resolve) => service.runtimes[0].engine.once('down', resolve))
    control.nextRun(fault)
    // The engine stays down until everything about that state is checked.
    control.dieAtStart = true
    control.release()
    t.equal((await held.answer).status, 200)
    await down
    for (const response of await Promise.all(waiting)) {
      t.equal(response.headers.get('retry-after'), '1')
      await problem(t, response, 503, 'engine_restarting')
    }
    await problem(t, await fetch(`${url}/readyz`), 503, 'engine_restarting')
    t.equal((await fetch(`${url}/livez`)).status, 200)
    const cold = ask(own)
    await until(() => service.registry.get(own).residency === 'loading')
    control.dieAtStart = false
    await up
    t.equal((await fetch(`${url}/readyz`)).status, 200)
    t.same([await predict(url, 'shop', image), await predict(url, 'bakery', image)], answers)
    t.equal((await cold).status, 200, 'who waits for a cold domain waits for the engine')
  })
}

t.test('nothing is computed for a client that left', async (t) => {
  const dropped = await metric(url, 'facet_rejected_total{reason="client_closed"}')
  const held = await inRun(Fault.waits)
  const { runs } = control
  const leaving = new AbortController()
  const left = fetch(`${url}/v1/domains/bakery/predict`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: image,
    signal: leaving.signal,
  })
  await queued(1)
  leaving.abort()
  await t.rejects(left)
  await until(() => service.runtimes[0].scheduler.length === 0)
  control.release()
  t.equal((await held.answer).status, 200)
  t.equal((await ask('shop')).status, 200)
  t.equal(control.runs, runs + 1, 'the run of the request after it')
  t.equal(await metric(url, 'facet_rejected_total{reason="client_closed"}'), dropped + 1)
})

t.test('a store that cannot be written: changes fail with the cause, predictions go on', async (t) => {
  const change = (method: string, path: string, body?: object) =>
    fetch(`${url}/v1/domains/${path}`, {
      method,
      ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
  const listing = async () => (await fetch(`${url}/v1/domains?limit=1000`)).text()
  const answer = await predict(url, 'shop', image)
  await predict(url, 'bakery', image)
  const before = await listing()
  for (const [code, detail] of [
    ['EROFS', /cannot be written \(EROFS\): its folder is read-only/],
    ['EMFILE', /out of file descriptors: try again, or raise its limit/],
    ['EIO', /could not be written \(EIO\)/],
  ] as const) {
    diskError = code
    const changes = [
      put(url, 'fresh', packBytes(3, 'fresh')),
      put(url, 'shop', packBytes(3, 'fresh')),
      change('PATCH', 'shop', { pinned: true }),
      change('DELETE', 'bakery'),
    ]
    for (const response of await Promise.all(changes)) {
      t.equal(response.headers.get('retry-after'), code === 'EMFILE' ? '1' : null)
      t.match(await problem(t, response, 500, 'store_failed'), detail)
    }
    t.equal(await listing(), before, `${code}: the domains are as they were`)
    t.same(await predict(url, 'shop', image), answer, `${code}: and the answers`)
    t.equal((await fetch(`${url}/readyz`)).status, 200)
  }
  diskError = 'EMFILE'
  const read = await fetch(`${url}/v1/domains/shop/pack`)
  t.match(await problem(t, read, 500, 'store_failed'), /out of file descriptors/)
  diskError = null
  t.equal((await fetch(`${url}/v1/domains/shop/pack`)).status, 200)
  t.equal((await put(url, 'fresh', packBytes(3, 'fresh'))).status, 201)
  t.match(await predict(url, 'fresh', image), { predictions: [{ label: /^fresh-/ }] })
})
