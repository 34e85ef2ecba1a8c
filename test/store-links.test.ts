/** Links, pipes and other files that the store did not make: nothing is read, written or deleted through them. */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalStore } from '../src/store/local.js'
import type { StoreProblem } from '../src/store/store.js'
import { ManualClock } from './manual-clock.js'
import { Random } from './random.js'
import { recordOf, versionOf, versionRecord } from './store-history.js'

const random = new Random(8)
const pack = random.bytes(100)
const version = versionOf(pack)
const prefix = version.slice(0, 2)

function storeAt(dir: string): LocalStore {
  return new LocalStore({ dir, clock: new ManualClock() })
}

/** A closed store with the domain `one`, and a folder beside it that is nobody's business. */
async function furnished(t: Test): Promise<{ data: string; outside: string }> {
  const root = t.testdir({ outside: { letter: 'dear', '1': 'a socket?' } })
  const [data, outside] = [join(root, 'data'), join(root, 'outside')]
  const store = storeAt(data)
  await store.open()
  await store.putBlob(version, pack)
  await store.writeRecord(recordOf('one', [versionRecord(pack)]), null)
  await store.close()
  return { data, outside }
}

async function problemsOf(t: Test, data: string): Promise<StoreProblem[]> {
  const store = storeAt(data)
  t.teardown(() => store.close())
  return store.open()
}

for (const name of ['tmp', 'blobs', 'domains', 'lock'])
  t.test(`a folder ${name} that is a link is refused, and what it leads to is left alone`, async (t) => {
    const { data, outside } = await furnished(t)
    await rm(join(data, name), { recursive: true })
    await symlink(outside, join(data, name))
    await t.rejects(storeAt(data).open(), { code: 'store_failed', message: /link|symbolic/ })
    t.strictSame((await readdir(outside)).sort(), ['1', 'letter'])
  })

t.test('the same for tmp in a folder that is to become a store', async (t) => {
  const { outside } = await furnished(t)
  const fresh = join(outside, '..', 'fresh')
  await mkdir(fresh)
  await writeFile(join(outside, 'FORMAT'), 'not ours')
  await symlink(outside, join(fresh, 'tmp'))
  await t.rejects(storeAt(fresh).open(), { code: 'store_failed' })
  t.equal(await readFile(join(outside, 'FORMAT'), 'utf8'), 'not ours')
})

t.test('links in tmp stay, and what they lead to', async (t) => {
  const { data, outside } = await furnished(t)
  const left = randomUUID()
  await symlink(join(outside, 'letter'), join(data, 'tmp', left))
  t.match(await problemsOf(t, data), [{ kind: 'stray_file', subject: `tmp/${left}` }])
  t.strictSame(await readdir(join(data, 'tmp')), [left])
  t.ok((await readdir(outside)).includes('letter'))
})

t.test('FORMAT as a link', async (t) => {
  const { data, outside } = await furnished(t)
  await rename(join(data, 'FORMAT'), join(outside, 'FORMAT'))
  await symlink(join(outside, 'FORMAT'), join(data, 'FORMAT'))
  await t.rejects(storeAt(data).open(), {
    code: 'store_failed',
    message: /a symbolic link, which is not followed/,
  })
})

t.test('a pack as a link is missing, at start and later', async (t) => {
  const { data, outside } = await furnished(t)
  const blob = join(data, 'blobs', prefix, `${version}.safetensors`)
  const running = storeAt(data)
  await running.open()
  await rename(blob, join(outside, 'pack'))
  await symlink(join(outside, 'pack'), blob)
  const refused = {
    code: 'domain_failed',
    message: /cannot be read \(a symbolic link, which is not followed\)/,
  }
  await t.rejects(running.readBlob(version), refused)
  await t.rejects(running.readStart(version, 10), refused)
  await running.close()
  t.match(await problemsOf(t, data), [{ kind: 'stray_file' }, { kind: 'pack_missing', domain: 'one' }])
})

t.test('a folder of packs as a link: nothing is read or written through it', async (t) => {
  const { data, outside } = await furnished(t)
  await rm(join(data, 'blobs', prefix), { recursive: true })
  await symlink(outside, join(data, 'blobs', prefix))
  const store = storeAt(data)
  t.match(await store.open(), [{ kind: 'stray_file', subject: `blobs/${prefix}` }, { kind: 'pack_missing' }])
  await t.rejects(store.putBlob(version, pack), {
    code: 'store_failed',
    message: /a link or a file where a folder/,
  })
  t.strictSame((await readdir(outside)).sort(), ['1', 'letter'])
  await store.close()
})

t.test('a record as a link, as a pipe, or of many megabytes is not read', async (t) => {
  const { data, outside } = await furnished(t)
  const domains = join(data, 'domains')
  await cp(join(domains, 'one.json'), join(outside, 'two.json'))
  await symlink(join(outside, 'two.json'), join(domains, 'two.json'))
  t.equal(spawnSync('mkfifo', [join(domains, 'three.json')]).status, 0)
  await writeFile(join(domains, 'four.json'), '')
  await truncate(join(domains, 'four.json'), 1e9)
  const problems = await problemsOf(t, data)
  const why = Object.fromEntries(problems.map(({ domain, message }) => [domain, message]))
  t.match(why, { two: /a symbolic link/, three: /not a regular file/, four: /far too large/ })
  t.match(
    problems,
    [...'123'].map(() => ({ kind: 'record_unreadable' })),
  )
})
