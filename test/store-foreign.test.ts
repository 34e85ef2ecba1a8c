/** Files that no store made: none is deleted, and a folder that holds some does not become a store. */
import { randomUUID } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { LocalStore } from '../src/store/local.js'
import { lockFolder } from '../src/store/lock.js'
import { ManualClock } from './manual-clock.js'

function storeAt(dir: string): LocalStore {
  return new LocalStore({ dir, clock: new ManualClock() })
}

/** All paths below a folder, in order. */
async function contents(dir: string): Promise<string[]> {
  return (await readdir(dir, { recursive: true })).sort()
}

async function makeStore(dir: string): Promise<void> {
  const store = storeAt(dir)
  await store.open()
  await store.close()
}

t.test('temporary files of interrupted writes go at start; foreign ones are reported and stay', async (t) => {
  const dir = t.testdir()
  await makeStore(dir)
  const folder = randomUUID()
  await mkdir(join(dir, 'blobs', 'ff'))
  await mkdir(join(dir, 'tmp', folder))
  const foreign = [
    'blobs/ff/x.safetensors',
    'blobs/notes',
    'domains/NOTES.txt',
    'lock/7',
    'lock/key',
    'tmp/letter',
  ]
  for (const path of foreign) await writeFile(join(dir, path), 'precious')
  for (const name of [randomUUID(), 'FORMAT']) await writeFile(join(dir, 'tmp', name), 'half')
  const store = storeAt(dir)
  t.teardown(() => store.close())
  const problems = await store.open()
  t.strictSame(problems.map(({ subject }) => subject).sort(), [...foreign, `tmp/${folder}`].sort())
  t.ok(problems.every(({ kind }) => kind === 'stray_file'))
  for (const path of foreign) t.equal(await readFile(join(dir, path), 'utf8'), 'precious', path)
  t.strictSame((await readdir(join(dir, 'tmp'))).sort(), [folder, 'letter'].sort())
})

t.test('a folder that holds something else does not become a store, and stays as it is', async (t) => {
  const folders = {
    'a file': { dir: { 'thesis.txt': 'x' }, named: ['thesis.txt'] },
    'a folder tmp of somebody': { dir: { tmp: { 'precious.txt': 'x' } }, named: ['tmp/precious.txt'] },
    'a folder lock of somebody': { dir: { lock: { '3': 'x', key: 'x' } }, named: ['lock/3', 'lock/key'] },
    'names that would break a line': { dir: { 'a\nb': 'x' }, named: ['a\nb'] },
  }
  for (const [what, { dir: entries, named }] of Object.entries(folders)) {
    const dir = t.testdir(entries)
    const before = await contents(dir)
    const list = named.map((name) => JSON.stringify(name)).join(', ')
    const error = await storeAt(dir)
      .open()
      .then(
        () => null,
        (reason: Error) => reason,
      )
    t.match(error, { code: 'store_failed' }, what)
    t.ok(error?.message.includes(`${dir} is no store and holds what a store does not make: ${list}.`), what)
    t.ok(error?.message.includes(`a new or empty folder only: name one, such as ${join(dir, 'store')}.`))
    t.strictSame(await contents(dir), before, what)
  }
})

t.test('of many foreign entries the first are named and the others counted', async (t) => {
  const dir = t.testdir(Object.fromEntries([...'gfedcba'].map((name) => [name, 'x'])))
  await t.rejects(storeAt(dir).open(), { message: /"a", "b", "c", "d", "e" and 2 more\. / })
})

t.test('a folder whose FORMAT is not ours stays as it is', async (t) => {
  for (const text of ['facet-store/2', 'PDF']) {
    const dir = t.testdir({ FORMAT: text, lock: { key: 'x' } })
    const before = await contents(dir)
    await t.rejects(storeAt(dir).open(), { code: 'store_failed' })
    t.strictSame(await contents(dir), before)
  }
})

t.test('an empty file system, and what an interrupted first start left, become a store', async (t) => {
  const dir = t.testdir({ 'lost+found': {}, tmp: { FORMAT: '', [randomUUID()]: 'x' } })
  await (await lockFolder(join(dir, 'lock')))()
  const store = storeAt(dir)
  t.strictSame(await store.open(), [])
  await store.close()
  t.strictSame((await readdir(dir)).sort(), ['FORMAT', 'blobs', 'domains', 'lock', 'lost+found', 'tmp'])
  t.strictSame(await readdir(join(dir, 'tmp')), [])
})

t.test('a service that starts while another makes the store is told who has it', async (t) => {
  const dir = t.testdir()
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => storeAt(dir).open()))
  const refused = results.filter((result) => result.status === 'rejected')
  t.equal(refused.length, 7)
  for (const { reason } of refused) t.match(reason, { code: 'store_failed', message: /in use by process/ })
})

t.test('a backup beside other files opens: it has a FORMAT', async (t) => {
  const dir = t.testdir({ made: {} })
  await makeStore(join(dir, 'made'))
  for (const name of ['FORMAT', 'blobs', 'domains']) {
    await cp(join(dir, 'made', name), join(dir, 'copy', name), { recursive: true })
  }
  await writeFile(join(dir, 'copy', 'README'), 'ours')
  await rm(join(dir, 'made'), { recursive: true })
  const store = storeAt(join(dir, 'copy'))
  t.strictSame(await store.open(), [])
  await store.close()
  t.equal(await readFile(join(dir, 'copy', 'README'), 'utf8'), 'ours')
})
