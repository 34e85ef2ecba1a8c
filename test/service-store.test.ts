/** The data folder of a service: its quota, a copy of it as a backup, and damage found at start. */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { systemClock } from '../src/concurrency/clock.js'
import { writePack } from '../src/pack/write.js'
import { LocalStore } from '../src/store/local.js'
import { tinyFamily, tinyPack } from './families.js'
import { recordOf, versionOf, versionRecord } from './store-history.js'
import { verifyStore } from '../src/store/verify.js'
import { packBytes, pngImage, post, predict, put, runService } from './service-rig.js'

const image = await pngImage(3)

function blobOf(data: string, pack: Uint8Array): string {
  const version = versionOf(pack)
  return join(data, 'blobs', version.slice(0, 2), `${version}.safetensors`)
}

type Packs<Name extends string = string> = Record<Name, Uint8Array<ArrayBuffer>>

async function register(url: string, packs: Packs, query = ''): Promise<void> {
  for (const [domain, pack] of Object.entries(packs)) {
    const response = await put(url, domain, pack, query)
    if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
    await response.arrayBuffer()
  }
}

interface View {
  residency: string
  failure?: string
}

async function view(url: string, domain: string): Promise<View> {
  return (await (await fetch(`${url}/v1/domains/${domain}`)).json()) as View
}

async function pin(url: string, domain: string): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  await fetch(`${url}/v1/domains/${domain}`, { method: 'PATCH', headers, body: '{"pinned": true}' })
}

t.test('damaged packs found at start: the log and their domains say so; the rest serves', async (t) => {
  const first = await runService(t)
  const names = ['corrupt', 'short', 'gone', 'torn', 'sound'] as const
  const packs = Object.fromEntries(names.map((name, index) => [name, packBytes(index + 1, name)])) as Packs<
    (typeof names)[number]
  >
  await register(first.url, packs)
  const answer = await predict(first.url, 'sound', image)
  // A pinned domain is loaded at start, so its blob is read then.
  await pin(first.url, 'corrupt')
  await first.service.stop()
  const { data } = first
  const bytes = await readFile(blobOf(data, packs.corrupt))
  bytes[bytes.length - 100]! ^= 1
  await writeFile(blobOf(data, packs.corrupt), bytes)
  await writeFile(blobOf(data, packs.short), bytes.subarray(0, 5000))
  await rm(blobOf(data, packs.gone))
  await writeFile(join(data, 'domains', 'torn.json'), '{"checksum"')

  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const { url } = await runService(t, ['--data', data], { logger })
  const failures = {
    corrupt: /^The pack of version \w{12} is corrupt on disk: register it again\.$/,
    short: /^The pack of domain short, version \w{12}, has 5000 bytes instead of \d+\. Restore it/,
    gone: /^The pack of domain gone, version \w{12}, is missing\. Restore it/,
    torn: /^The record of domain torn is ignored: it is not JSON .* Restore domains\/torn\.json/,
  }
  for (const [domain, failure] of Object.entries(failures)) {
    const refused = await post(url, `/v1/domains/${domain}/predict`, image)
    t.match(
      { status: refused.status, ...((await refused.json()) as object) },
      { status: 503, code: 'domain_failed' },
      domain,
    )
    t.match(await view(url, domain), { residency: 'failed', failure }, domain)
    const told = lines.find(({ reason, message }) => failure.test(String(reason ?? message)))
    t.match(
      told,
      { level: 50, msg: /^(problem in the store|adapter cannot be loaded)$/ },
      `${domain} in the log`,
    )
  }
  t.same(await predict(url, 'sound', image), answer)
  t.match(await predict(url, 'eurosat', image), { domain: 'eurosat' }, 'and a shipped one')
  t.equal((await fetch(`${url}/readyz`)).status, 200)
  t.match(await (await fetch(`${url}/metrics`)).text(), /^facet_domains\{state="failed"\} 4$/m)

  await register(url, packs)
  for (const domain of names)
    t.match(
      await predict(url, domain, image),
      { predictions: [{ label: new RegExp(`^${domain}-`) }] },
      'repaired',
    )
})

t.test("another family's data folder: one line, a metric, and with --strict-store never ready", async (t) => {
  const other = tinyFamily()
  const alien = (name: string, description = '') =>
    writePack({ ...tinyPack(other), name, description }, other, { dtype: 'f32' })
  const data = t.testdir()
  const store = new LocalStore({ dir: data, clock: systemClock })
  await store.open()
  const add = async (domain: string, bytes: Uint8Array, family?: string) => {
    await store.putBlob(versionOf(bytes), bytes)
    const record = { ...versionRecord(bytes), ...(family !== undefined && { family }) }
    await store.writeRecord(recordOf(domain, [record]), null)
  }
  // Records of before have no family: the packs' headers say it.
  for (let index = 0; index < 6; index++) await add(`old-${index}`, alien(`old ${index}`))
  await add('long-header', alien('long', 'very '.repeat(30_000)))
  await add('new', alien('new'), other.fingerprint)
  await add('ours', packBytes(1, 'ours'))
  await store.close()

  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const { url, service } = await runService(t, ['--data', data], { logger })
  t.match(lines, [
    {
      msg: 'problem in the store',
      kind: 'other_family',
      count: 8,
      message:
        /^8 of 9 domains in the data folder have packs of another family .*long-header, new, old-0.* and 3 more/,
    },
  ])
  t.equal(lines.length, 1)
  t.match(await (await fetch(`${url}/metrics`)).text(), /^facet_store_problems\{kind="other_family"\} 8$/m)
  t.equal((await fetch(`${url}/readyz`)).status, 200)
  t.match(await predict(url, 'ours', image), { domain: 'ours' })
  const { versions } = (await (await fetch(`${url}/v1/domains/new`)).json()) as { versions: object[] }
  t.match(versions, [{ family: null }], 'it is not served')
  await service.stop()

  const strict = await runService(t, ['--data', data, '--strict-store'])
  const refused = await fetch(`${strict.url}/readyz`)
  t.match(
    { status: refused.status, ...((await refused.json()) as object) },
    { status: 503, code: 'store_problems', detail: /other_family 8/ },
  )
  t.match(
    await predict(strict.url, 'ours', image),
    { domain: 'ours' },
    'what is sound is served all the same',
  )
})

t.test('a pack that was registered says its family in the record', async (t) => {
  const { url, data } = await runService(t)
  await register(url, { shop: packBytes(1, 'shop') })
  const record = JSON.parse(await readFile(join(data, 'domains', 'shop.json'), 'utf8'))
  const { fingerprint } = (await (await fetch(`${url}/v1/family`)).json()) as { fingerprint: string }
  t.equal(record.record.versions[0].family, fingerprint)
})

t.test('over the quota: 507, nothing has changed; a deletion makes room', async (t) => {
  const packs = { one: packBytes(1, 'one'), two: packBytes(2, 'two') }
  const quota = packs.one.length + packs.two.length - 1
  const { url, data } = await runService(t, ['--store-quota', String(quota), '--max-pack', String(quota)])
  await register(url, { one: packs.one })
  const list = async () => (await fetch(`${url}/v1/domains?limit=1000`)).text()
  const before = await list()
  for (const path of ['two', 'two?activate=false', 'one']) {
    const [domain, query] = path.split('?')
    const refused = await put(url, domain!, packs.two, query && `?${query}`)
    t.match(refused.headers.get('content-type'), 'application/problem+json')
    t.match(await refused.json(), {
      status: 507,
      code: 'store_full',
      detail: new RegExp(`does not fit: the store holds ${packs.one.length} of ${quota} bytes`),
    })
    t.equal(await list(), before, path)
  }
  await t.rejects(readFile(blobOf(data, packs.two)), { code: 'ENOENT' })
  t.equal((await put(url, 'one', packs.one)).status, 200, 'bytes it has need no room')
  t.equal((await put(url, 'again', packs.one)).status, 201, 'nor under another name')
  for (const domain of ['one', 'again'])
    t.equal((await fetch(`${url}/v1/domains/${domain}`, { method: 'DELETE' })).status, 204)
  t.equal((await put(url, 'two', packs.two)).status, 201)
  t.match(await predict(url, 'two', image), { predictions: [{ label: /^two-/ }] })
})

t.test(
  'a copy made while the service runs is a backup; verify detects one made in the wrong order',
  async (t) => {
    const { url, data } = await runService(t, ['--keep-versions', '1'])
    const packs = { shop: packBytes(1, 'shop'), staged: packBytes(2, 'staged'), kept: packBytes(3, 'kept') }
    await register(url, packs)
    await register(url, { staged: packBytes(4, 'next') }, '?activate=false')
    await pin(url, 'kept')
    t.equal((await fetch(`${url}/v1/domains/eurosat`, { method: 'DELETE' })).status, 204)
    const answers = await Promise.all(Object.keys(packs).map((domain) => predict(url, domain, image)))

    /** Copies one after the other, as docs/store.md says, or not; a domain is registered in between. */
    const copied = async (order: string[], between: string) => {
      const copy = join(t.testdirName, '..', `copy-${between}`)
      t.teardown(() => rm(copy, { recursive: true, force: true }))
      await mkdir(copy)
      await cp(join(data, 'FORMAT'), join(copy, 'FORMAT'))
      for (const [index, name] of order.entries()) {
        if (index > 0) await register(url, { [between]: packBytes(10 + index, between) })
        await cp(join(data, name), join(copy, name), { recursive: true })
      }
      return copy
    }
    const copy = await copied(['domains', 'blobs'], 'late')
    const wrong = await copied(['blobs', 'domains'], 'later')
    t.match((await verifyStore(wrong)).problems, [{ domain: 'later', message: /missing/ }])
    const { problems, domains } = await verifyStore(copy)
    t.same(problems, [])
    t.equal(domains, 4, 'three and a deleted one')

    // A domain that is lost afterwards is there again.
    await fetch(`${url}/v1/domains/shop`, { method: 'DELETE' })
    await register(url, { kept: packBytes(20, 'worse') })
    const { url: there } = await runService(t, ['--data', copy])
    for (const [index, domain] of Object.keys(packs).entries())
      t.same(await predict(there, domain, image), answers[index], domain)
    const staged = await fetch(`${there}/v1/domains/staged`)
    t.match(await staged.json(), { versions: { length: 2 } })
    t.match(await view(there, 'kept'), { pinned: true, residency: 'resident' })
    for (const domain of ['late', 'eurosat'])
      t.equal((await post(there, `/v1/domains/${domain}/predict`, image)).status, 404, domain)
  },
)
