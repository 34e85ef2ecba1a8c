/** A service on the data folder of an earlier one: every domain is back, and no deleted one. */
import t from 'tap'
import { packBytes, pngImage, predict, put, runService } from './service-rig.js'

const image = await pngImage(3)

interface View {
  domain: string
  version: string | null
  pinned: boolean
  seed: boolean
  residency: string
  versions: { version: string; active: boolean }[]
}

const get = async (url: string, domain: string) => {
  const response = await fetch(`${url}/v1/domains/${domain}`)
  return response.status === 200 ? ((await response.json()) as View) : response.status
}

async function change(url: string, method: string, path: string, body?: object): Promise<void> {
  const json = body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await fetch(`${url}/v1/domains/${path}`, { method, ...json })
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  await response.arrayBuffer()
}

/** Everything that a client sees of the domains, except for what is in the bank. */
async function seen(url: string, domains: string[]) {
  const views: unknown[] = []
  for (const domain of domains) {
    const view = (await get(url, domain)) as View
    const { version, versions, pinned, seed } = view
    const pack = await fetch(`${url}/v1/domains/${domain}/pack`)
    const answer = version === null ? null : await predict(url, domain, image, '?top_k=100')
    views.push({
      ...{ domain, version, pinned, seed, answer },
      versions: versions.map(({ version, active }) => ({ version, active })),
      pack: Buffer.from(await pack.arrayBuffer()).toString('base64'),
    })
  }
  return views
}

t.test('a restart brings every registered domain back, and no deleted one (pain 11)', async (t) => {
  const { service, url, data } = await runService(t)
  const seeds = service.registry
    .list({ limit: 1000 })
    .domains.filter(({ seed, domain }) => seed && domain !== 'base')
    .map(({ domain }) => domain)
  const [hidden, replaced, ...untouched] = seeds as [string, string, ...string[]]

  for (const [index, domain] of ['plain', 'staged', 'back', 'pinned', 'gone', 'reborn', replaced].entries())
    await (await put(url, domain, packBytes(10 + index, domain))).arrayBuffer()
  await (await put(url, 'staged', packBytes(30, 'next'), '?activate=false')).arrayBuffer()
  await (await put(url, 'unborn', packBytes(31, 'unborn'), '?activate=false')).arrayBuffer()
  const first = ((await get(url, 'back')) as View).version
  await (await put(url, 'back', packBytes(32, 'other'))).arrayBuffer()
  await change(url, 'POST', 'back/activate', { version: first })
  await change(url, 'PATCH', 'pinned', { pinned: true })
  await change(url, 'DELETE', 'gone')
  await change(url, 'DELETE', 'reborn')
  await (await put(url, 'reborn', packBytes(33, 'again'))).arrayBuffer()
  await change(url, 'DELETE', hidden)

  const kept = ['plain', 'staged', 'back', 'pinned', 'reborn', replaced, untouched[0]!, 'base']
  const before = await seen(url, kept)
  const list = await fetch(`${url}/v1/domains?limit=1000`)
  const ids = ((await list.json()) as { domains: View[] }).domains.map(({ domain }) => domain)
  t.not(ids.includes('gone'), true)
  t.not(ids.includes(hidden), true)
  t.match(await get(url, 'unborn'), { version: null, versions: { length: 1 } })
  await service.stop()

  const { service: next, url: there } = await runService(t, ['--data', data])
  t.match(
    await get(there, 'pinned'),
    { pinned: true, residency: 'resident' },
    'loaded before it is asked for',
  )
  const again = await fetch(`${there}/v1/domains?limit=1000`)
  t.same(
    ((await again.json()) as { domains: View[] }).domains.map(({ domain }) => domain),
    ids,
  )
  const after = await seen(there, kept)
  for (const [index, domain] of kept.entries()) t.same(after[index], before[index], domain)
  t.match(await get(there, 'staged'), { versions: { length: 2 } })
  t.match(await get(there, 'unborn'), { version: null, versions: { length: 1 } })
  for (const domain of ['gone', hidden]) {
    t.equal(await get(there, domain), 404, domain)
    await t.rejects(predict(there, domain, image), /HTTP 404: .*unknown_domain/)
  }
  await next.stop()
})

t.test('a second service on the folder of one that runs does not start, and says why', async (t) => {
  const { service, url, data } = await runService(t)
  await (await put(url, 'shop', packBytes(1, 'shop'))).arrayBuffer()
  await t.rejects(runService(t, ['--data', data]), {
    message: new RegExp(`data folder.*in use by process ${process.pid} on host`),
  })
  t.match(
    await predict(url, 'shop', image),
    { predictions: [{ label: /^shop-/ }] },
    'the first one serves on',
  )
  t.equal((await put(url, 'shop', packBytes(2, 'next'))).status, 200)
  await service.stop()
  const { url: there } = await runService(t, ['--data', data])
  t.match(await predict(there, 'shop', image), { predictions: [{ label: /^next-/ }] })
})
