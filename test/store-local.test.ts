/** The store on a real folder: what it keeps, what it refuses, and what it says about damage. */
import { cp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nodeFs } from '../src/store/fs.js'
import { LocalStore } from '../src/store/local.js'
import { ManualClock } from './manual-clock.js'
import { Random } from './random.js'
import { RecordConflict } from '../src/store/store.js'
import { recordOf, recordsOf, versionOf, versionRecord, writeOver } from './store-history.js'

const random = new Random(5)
const small = random.bytes(100)
const other = random.bytes(200)
const large = new Uint8Array(3_000_000).fill(7)

function storeAt(dir: string, options: { quota?: number } = {}): LocalStore {
  return new LocalStore({ dir, clock: new ManualClock(), ...options })
}

async function opened(t: Test, dir: string, options: { quota?: number } = {}): Promise<LocalStore> {
  const store = storeAt(dir, options)
  t.strictSame(await store.open(), [])
  t.teardown(() => store.close())
  return store
}

function blobPath(dir: string, bytes: Uint8Array): string {
  const version = versionOf(bytes)
  return join(dir, 'blobs', version.slice(0, 2), `${version}.safetensors`)
}

async function revisionsOf(store: LocalStore): Promise<Map<string, string>> {
  return new Map((await store.records()).map(({ record, revision }) => [record.domain, revision]))
}

/** A closed store with the domain `one` on `small` and `two` on `other`. */
async function furnished(t: Test): Promise<string> {
  const dir = join(t.testdir(), 'data')
  const store = storeAt(dir)
  await store.open()
  for (const [domain, bytes] of [['one', small] as const, ['two', other] as const]) {
    await store.putBlob(versionOf(bytes), bytes)
    await store.writeRecord(recordOf(domain, [versionRecord(bytes)]), null)
  }
  await store.close()
  return dir
}

t.test('packs and records survive a restart', async (t) => {
  const dir = join(t.testdir(), 'new', 'folders')
  const first = await opened(t, dir)
  for (const bytes of [small, large]) await first.putBlob(versionOf(bytes), bytes)
  const record = recordOf('flowers', [versionRecord(small), { ...versionRecord(large), classes: 0 }])
  await first.writeRecord(record, null)
  await first.writeRecord({ ...recordOf('gone', []), deleted: true }, null)
  const removed = await first.writeRecord(recordOf('removed', []), null)
  await first.removeRecord('removed', removed)
  const before = await revisionsOf(first)
  await first.close()

  const second = await opened(t, dir)
  const found = await recordsOf(second)
  t.equal(found.size, 2)
  t.strictSame(found.get('flowers'), record)
  t.strictSame(found.get('gone'), { ...recordOf('gone', []), deleted: true })
  t.strictSame(await revisionsOf(second), before, 'at the revisions they had')
  t.strictSame(Buffer.from(await second.readBlob(versionOf(large))), Buffer.from(large))
  t.strictSame(second.usage(), { bytes: small.length + large.length, quota: Number.POSITIVE_INFINITY })
})

t.test("later changes of a caller's objects do not reach the store", async (t) => {
  const store = await opened(t, t.testdir())
  await store.putBlob(versionOf(small), small)
  const record = recordOf('one', [versionRecord(small)])
  const write = store.writeRecord(record, null)
  record.active = null
  await write
  ;(await store.records())[0]!.record.versions.length = 0
  t.strictSame((await recordsOf(store)).get('one'), recordOf('one', [versionRecord(small)]))
})

t.test('of writers that saw the same revision one wins, the first', async (t) => {
  const store = await opened(t, t.testdir())
  const base = recordOf('one', [])
  const first = await store.writeRecord(base, null)
  for (const seen of [first, null]) {
    const writes = Array.from({ length: 20 }, (_, index) =>
      store.writeRecord({ ...base, updated: String(index) }, seen),
    )
    const results = await Promise.allSettled(writes)
    t.equal(results.filter(({ status }) => status === 'fulfilled').length, seen === null ? 0 : 1)
    t.match(results[0], { status: seen === null ? 'rejected' : 'fulfilled' })
    const refused = results[19] as PromiseRejectedResult
    t.type(refused.reason, RecordConflict)
    t.match(refused.reason, { domain: 'one' })
  }
  t.equal((await recordsOf(store)).get('one')?.updated, '0')
  t.equal(store.usage().failure, undefined, 'a conflict is no failure of the disk')
})

t.test('a removal of another revision than the one there is refused', async (t) => {
  const dir = t.testdir()
  const store = await opened(t, dir)
  const first = await store.writeRecord(recordOf('one', []), null)
  const second = await store.writeRecord({ ...recordOf('one', []), pinned: true }, first)
  t.not(second, first)
  for (const seen of [first, null]) await t.rejects(store.removeRecord('one', seen), RecordConflict)
  await t.rejects(store.writeRecord(recordOf('two', []), first), RecordConflict, 'there is none to replace')
  await t.rejects(store.removeRecord('two', first), RecordConflict)
  await store.removeRecord('two', null)
  t.equal((await recordsOf(store)).get('one')?.pinned, true)
  await store.close()
  const next = await opened(t, dir)
  await next.removeRecord('one', second)
  t.same(await next.records(), [])
})

t.test('a write that is refused as a conflict names no blob', async (t) => {
  const store = await opened(t, t.testdir())
  await store.putBlob(versionOf(small), small)
  await store.writeRecord(recordOf('one', []), null)
  await t.rejects(store.writeRecord(recordOf('one', [versionRecord(small)]), null), RecordConflict)
  t.equal(await store.collect(), 1)
})

t.test(
  'the quota refuses what does not fit, counts uploads under way and frees what is collected',
  async (t) => {
    const store = await opened(t, t.testdir(), { quota: 250 })
    const results = await Promise.allSettled([
      store.putBlob(versionOf(small), small),
      store.putBlob(versionOf(other), other),
    ])
    t.match(results, [
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'store_full', status: 507 } },
    ])
    t.notOk(await store.hasBlob(versionOf(other)))
    await store.putBlob(versionOf(small), small)
    t.equal(store.usage().bytes, small.length, 'the same pack again takes no room')
    t.equal(await store.collect(), 1)
    await store.putBlob(versionOf(other), other)
    t.equal(store.usage().bytes, other.length)
  },
)

t.test('collecting spares blobs that are named, kept, on their way, or put meanwhile', async (t) => {
  const dir = t.testdir()
  const store = await opened(t, dir)
  const packs = Array.from({ length: 5 }, (_, index) => random.bytes(50 + index))
  const [named, kept, orphan, uploading, meanwhile] = packs as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ]
  for (const bytes of [named, kept, orphan, meanwhile]) await store.putBlob(versionOf(bytes), bytes)
  await store.writeRecord(recordOf('one', [versionRecord(named)]), null)
  const upload = store.putBlob(versionOf(uploading), uploading)
  const collecting = store.collect(new Set([versionOf(kept)]))
  const again = store.putBlob(versionOf(meanwhile), meanwhile)
  t.equal(await collecting, 1)
  await Promise.all([upload, again])
  t.strictSame(await Promise.all(packs.map((bytes) => store.hasBlob(versionOf(bytes)))), [
    true,
    true,
    false,
    true,
    true,
  ])
  for (const bytes of [named, kept, uploading, meanwhile]) await store.readBlob(versionOf(bytes))
  await t.rejects(store.readBlob(versionOf(orphan)), { code: 'domain_failed', message: /missing/ })
})

t.test('a record cannot newly name a pack that is not there', async (t) => {
  const store = await opened(t, t.testdir())
  await t.rejects(store.writeRecord(recordOf('one', [versionRecord(small)]), null), { code: 'internal' })
  await store.writeRecord(recordOf('one', [{ ...versionRecord(small), seed: true }]), null)
  const { active } = (await recordsOf(store)).get('one')!
  t.equal(active, versionOf(small), 'a shipped seed is not in the store')
})

t.test('nothing but domain ids and versions becomes a path (pain 9)', async (t) => {
  const dir = t.testdir({ data: {}, 'outside.json': 'untouched' })
  const store = await opened(t, join(dir, 'data'))
  for (const domain of ['../outside', '..', '.', '', 'A', 'a/b', 'a\0', 'a'.repeat(64), '-a', 'ä']) {
    await t.rejects(
      store.writeRecord(recordOf(domain, []), null),
      { code: 'bad_domain_id' },
      JSON.stringify(domain),
    )
    await t.rejects(store.removeRecord(domain, null), { code: 'bad_domain_id' })
  }
  for (const version of ['../../outside', 'abc', versionOf(small).toUpperCase(), `${versionOf(small)}0`]) {
    await t.rejects(store.putBlob(version, small), { code: 'internal' })
    await t.rejects(store.readBlob(version), { code: 'internal' })
  }
  await t.rejects(store.putBlob(versionOf(other), small), { code: 'internal' }, 'bytes of another version')
  t.strictSame((await readdir(dir)).sort(), ['data', 'outside.json'])
})

t.test('a corrupt blob fails its domain alone, and putting the pack again repairs it', async (t) => {
  const dir = await furnished(t)
  const flipped = Uint8Array.from(small, (byte, index) => (index === 40 ? byte ^ 1 : byte))
  await writeFile(blobPath(dir, small), flipped)
  const store = await opened(t, dir)
  await t.rejects(store.readBlob(versionOf(small)), { code: 'domain_failed', message: /corrupt/ })
  t.strictSame(Uint8Array.from(await store.readBlob(versionOf(other))), other)
  await store.putBlob(versionOf(small), small)
  t.strictSame(Uint8Array.from(await store.readBlob(versionOf(small))), small)
  t.equal(store.usage().bytes, small.length + other.length)
})

t.test('missing and truncated blobs are reported when the store opens; the rest serves', async (t) => {
  const dir = await furnished(t)
  await rm(blobPath(dir, small))
  await truncate(blobPath(dir, other), 10)
  const store = storeAt(dir)
  t.teardown(() => store.close())
  t.match(await store.open(), [
    { domain: 'one', version: versionOf(small), message: /missing/ },
    { domain: 'two', version: versionOf(other), message: /has 10 bytes instead of 200/ },
  ])
  const records = await recordsOf(store)
  t.equal(records.size, 2)
  await writeOver(store, { ...records.get('one')!, pinned: true })
  await store.putBlob(versionOf(small), small)
  t.strictSame(Uint8Array.from(await store.readBlob(versionOf(small))), small)
})

t.test('a torn record is reported and ignored, and stays until the domain is written again', async (t) => {
  const damages: Record<string, (text: string) => string> = {
    empty: () => '',
    torn: (text) => text.slice(0, text.length / 2),
    'edited by hand': (text) => text.replace('"pinned": false', '"pinned": true'),
    'of another domain': (text) => text.replaceAll('"one"', '"two"'),
    'not a record': () => '[]',
  }
  for (const [what, damage] of Object.entries(damages)) {
    const dir = await furnished(t)
    const path = join(dir, 'domains', 'one.json')
    const damaged = damage(await readFile(path, 'utf8'))
    await writeFile(path, damaged)
    const store = storeAt(dir)
    t.match(await store.open(), [{ domain: 'one', subject: 'one', message: /ignored/ }], what)
    t.strictSame([...(await recordsOf(store)).keys()], ['two'])
    t.equal(await readFile(path, 'utf8'), damaged, 'left as evidence')
    await store.putBlob(versionOf(small), small)
    await store.writeRecord(recordOf('one', [versionRecord(small)]), null)
    await store.close()
    await (await opened(t, dir)).close()
    await writeFile(path, damaged)
    const third = storeAt(dir)
    await third.open()
    await third.removeRecord('one', null)
    await third.close()
    t.notOk((await readdir(join(dir, 'domains'))).includes('one.json'), 'or until it is removed')
  }
})

t.test('formats: a newer one, a damaged one and a folder that is no store are refused', async (t) => {
  const dir = await furnished(t)
  await writeFile(join(dir, 'FORMAT'), 'facet-store/2\n')
  await t.rejects(storeAt(dir).open(), { code: 'store_failed', message: /facet-store\/2.*newer one/ })
  await writeFile(join(dir, 'FORMAT'), '')
  await t.rejects(storeAt(dir).open(), { code: 'store_failed', message: /damaged/ })
  await rm(join(dir, 'FORMAT'))
  await t.rejects(storeAt(dir).open(), { code: 'store_failed', message: /no FORMAT file/ })
  await writeFile(join(dir, 'FORMAT'), 'facet-store/1')
  await (await opened(t, dir)).close()
  const file = join(dir, 'FORMAT')
  await t.rejects(storeAt(join(file, 'x')).open(), { code: 'store_failed', message: /cannot be used/ })
  await t.rejects(storeAt(file).open(), { code: 'store_failed' })
})

t.test('a copy of the folder is a backup', async (t) => {
  const dir = await furnished(t)
  const copy = join(dir, '..', 'copy')
  await cp(join(dir, 'domains'), join(copy, 'domains'), { recursive: true })
  await cp(join(dir, 'blobs'), join(copy, 'blobs'), { recursive: true })
  await cp(join(dir, 'FORMAT'), join(copy, 'FORMAT'))
  const store = await opened(t, copy)
  t.equal((await store.records()).length, 2)
  t.strictSame(Uint8Array.from(await store.readBlob(versionOf(other))), other)
})

t.test('a closed store refuses changes, and closes only once they are done', async (t) => {
  const dir = t.testdir()
  const store = await opened(t, dir)
  const put = store.putBlob(versionOf(small), small)
  await store.close()
  await store.close()
  await put
  await t.rejects(store.putBlob(versionOf(other), other), { code: 'store_failed', message: /not open/ })
  t.ok(await (await opened(t, dir)).hasBlob(versionOf(small)))
})

t.test('the real file system reports what the store relies on', async (t) => {
  const dir = t.testdir({ file: 'abc', folder: {} })
  await symlink('nowhere', join(dir, 'dangling'))
  await t.rejects(nodeFs.create(join(dir, 'file')), { code: 'EEXIST' })
  await t.rejects(nodeFs.mkdir(join(dir, 'folder')), { code: 'EEXIST' })
  await t.rejects(nodeFs.read(join(dir, 'none'), 10), { code: 'ENOENT' })
  await t.rejects(nodeFs.create(join(dir, 'dangling')), { code: 'EEXIST' }, 'links are not followed')
  t.strictSame(await nodeFs.stat(join(dir, 'file')), { bytes: 3, kind: 'file' })
  t.match(await nodeFs.stat(join(dir, 'folder')), { kind: 'folder' })
})
