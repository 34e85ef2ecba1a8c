/** Every operation on the disk fails once, with each kind of error: the change fails, and nothing else. */
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { FacetError } from '../src/errors.js'
import type { LocalStore } from '../src/store/local.js'
import { fsError, type MemoryDisk } from './memory-disk.js'
import { failNth, MemoryFs, type MemoryFsOptions } from './memory-fs.js'
import { Random } from './random.js'
import {
  memoryStore,
  recordOf,
  recordsOf,
  removeCurrent,
  sortedRecords,
  versionOf,
  versionRecord,
  writeOver,
} from './store-history.js'

const random = new Random(11)
const [first, second, third] = [random.bytes(80), random.bytes(120), random.bytes(150)]

/** A store with a domain `one` of two versions, a domain `two`, and a blob that no record names. */
async function furnish(): Promise<MemoryDisk> {
  const fs = new MemoryFs()
  const store = memoryStore(fs)
  await store.open()
  for (const bytes of [first, second]) await store.putBlob(versionOf(bytes), bytes)
  await writeOver(store, recordOf('one', [versionRecord(first)]))
  await writeOver(store, recordOf('two', [versionRecord(first)]))
  await store.close()
  return fs.disk
}

const changes: Record<string, (store: LocalStore) => Promise<unknown>> = {
  'put a blob': (store) => store.putBlob(versionOf(third), third),
  'write a record': (store) =>
    writeOver(store, recordOf('one', [versionRecord(first), versionRecord(second)])),
  'write a new record': (store) => writeOver(store, recordOf('three', [versionRecord(second)])),
  'remove a record': (store) => removeCurrent(store, 'two'),
  collect: (store) => store.collect(),
}

async function picture(store: LocalStore): Promise<string> {
  const blobs = await Promise.all([first, second, third].map((bytes) => store.hasBlob(versionOf(bytes))))
  return JSON.stringify([await sortedRecords(store), blobs, store.usage().bytes])
}

async function reopened(t: Test, disk: MemoryDisk): Promise<LocalStore> {
  const store = memoryStore(new MemoryFs({ disk }))
  t.strictSame(await store.open(), [], 'nothing is wrong after a restart')
  return store
}

function expectedCode(code: string, step: string): string {
  return ['ENOSPC', 'EDQUOT'].includes(code) && step !== 'syncFolder' ? 'store_full' : 'store_failed'
}

/** Runs `change` with its `n`th operation failing. @returns false when it has fewer operations. */
async function failOnce(t: Test, change: (store: LocalStore) => Promise<unknown>, n: number, code: string) {
  let fault = failNth(0, code)
  const before: MemoryFsOptions['before'] = (...step) => fault.before(...step)
  const fs = new MemoryFs({ disk: (await furnish()).crash('kept'), chunk: 100, before })
  const store = memoryStore(fs)
  await store.open()
  const start = await picture(store)
  fault = failNth(n, code)
  const error = await change(store).then(
    () => null,
    (reason: unknown) => reason,
  )
  const { hit } = fault
  if (hit === null) {
    t.equal(error, null)
    return false
  }
  const where = `${code} at operation ${n}, ${hit.step}`
  if (!(error instanceof FacetError)) throw new Error(`${where}: ${String(error)}`)
  t.equal(error.code, expectedCode(code, hit.step), where)
  t.notMatch(error.message, /data/, 'no path for the client')
  t.equal(error.retryAfter, code === 'EMFILE' && hit.step !== 'syncFolder' ? 1 : undefined)
  t.equal(await picture(store), start, `${where}: nothing has changed`)
  t.strictSame(hit.step === 'syncFolder' ? [] : await fs.list('/data/tmp'), [], `${where}: no temporary file`)
  t.strictSame(await store.readBlob(versionOf(first)), first, 'reading goes on')
  if (hit.step === 'syncFolder') {
    await checkFinal(t, store, fs, change, start)
  } else {
    t.equal(await picture(await reopened(t, fs.disk.crash('lost'))), start, `${where}: nor on the disk`)
    await change(store)
    t.not(await picture(store), start, `${where}: the next try works`)
    t.equal(await sortedRecords(await reopened(t, fs.disk.crash('lost'))), await sortedRecords(store))
  }
  return true
}

/** After a failed fsync of a folder: writes are refused until a restart, and the outcome is either state. */
async function checkFinal(
  t: Test,
  store: LocalStore,
  fs: MemoryFs,
  change: (store: LocalStore) => Promise<unknown>,
  before: string,
) {
  t.match(store.usage().failure, /refuses changes until the service is restarted/)
  await t.rejects(change(store), { code: 'store_failed', message: /refuses changes/ })
  await t.rejects(writeOver(store, recordOf('four', [])), { code: 'store_failed' })
  await store.close()
  const lost = await reopened(t, fs.disk.crash('lost'))
  const wanted = memoryStore(new MemoryFs({ disk: (await furnish()).crash('kept') }))
  await wanted.open()
  await change(wanted)
  t.ok([before, await picture(wanted)].includes(await picture(lost)), 'wholly there or wholly not')
  t.equal(lost.usage().failure, undefined)
  await change(lost)
  t.equal(await picture(lost), await picture(wanted), 'a restarted store works again')
}

for (const [name, change] of Object.entries(changes)) {
  t.test(`${name}: each operation fails once`, async (t) => {
    for (const code of ['EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'EMFILE']) {
      let n = 1
      while (await failOnce(t, change, n, code)) n += 1
      t.ok(n > 1, `${code}: ${n - 1} operations failed`)
    }
  })
}

t.test('a rename that reports a failure but happened is not taken for a failure', async (t) => {
  let armed = false
  const fs = new MemoryFs({
    disk: (await furnish()).crash('kept'),
    after: (step, path) => {
      if (armed && step === 'rename') throw fsError('EIO', path)
    },
  })
  const store = memoryStore(fs)
  await store.open()
  armed = true
  await t.rejects(writeOver(store, recordOf('one', [versionRecord(second)])), {
    code: 'store_failed',
    message: /may be lost/,
  })
  t.match(store.usage().failure, /refuses changes/)
})

t.test('a failed fsync of a folder also fails the change beside it', async (t) => {
  let failing = false
  const fs = new MemoryFs({
    disk: (await furnish()).crash('kept'),
    before: (step, path) => {
      if (!failing || step !== 'syncFolder') return
      failing = false
      throw fsError('EIO', path)
    },
  })
  const store = memoryStore(fs)
  await store.open()
  failing = true
  // The second fsync succeeds, but the kernel has already forgotten what the first one could not write.
  const results = await Promise.allSettled([
    writeOver(store, recordOf('one', [versionRecord(second)])),
    writeOver(store, recordOf('two', [versionRecord(second)])),
  ])
  t.strictSame(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  t.match(
    [...(await recordsOf(store)).values()].map(({ active }) => active),
    [versionOf(first), versionOf(first)],
  )
})

t.test('a store that cannot be made durable at start serves, and refuses changes', async (t) => {
  const fs = new MemoryFs({
    disk: (await furnish()).crash('kept'),
    before: (step, path) => {
      if (step === 'syncFolder' && path !== '/') throw fsError('EIO', path)
    },
  })
  const store = memoryStore(fs)
  t.match(await store.open(), [{ subject: 'store', message: /EIO/ }])
  t.strictSame(await store.readBlob(versionOf(first)), first)
  await t.rejects(removeCurrent(store, 'one'), { code: 'store_failed' })
})

t.test('a read-only folder is served without changes', async (t) => {
  const disk = (await furnish()).crash('kept')
  disk.apply({ name: 'create', path: `/data/tmp/${randomUUID()}`, file: 0 })
  const reading = ['list', 'stat', 'read']
  const fs = new MemoryFs({
    disk,
    before: (step, path) => {
      if (!reading.includes(step)) throw fsError('EROFS', path)
    },
  })
  const store = memoryStore(fs)
  t.match(await store.open(), [{ subject: 'store', message: /read-only/ }])
  t.strictSame(await store.readBlob(versionOf(first)), first)
  await t.rejects(store.putBlob(versionOf(third), third), { code: 'store_failed', message: /read-only/ })
  t.strictSame(fs.log, [], 'nothing was changed')
})

t.test('an empty folder that is read-only is no store', async (t) => {
  const fs = new MemoryFs({
    before: (step, path) => {
      if (step === 'mkdir') throw fsError('EROFS', path)
    },
  })
  await t.rejects(memoryStore(fs).open(), { code: 'store_failed', message: /cannot be written/ })
})

t.test('a blob that cannot be read now is distinguished from one that is lost', async (t) => {
  let code = 'EMFILE'
  const fs = new MemoryFs({
    disk: (await furnish()).crash('kept'),
    before: (step, path) => {
      if (step === 'read' && path.includes('/blobs/')) throw fsError(code, path)
    },
  })
  const store = memoryStore(fs)
  await store.open()
  await t.rejects(store.readBlob(versionOf(first)), { code: 'store_failed', retryAfter: 1 })
  for (code of ['EIO', 'ENOENT']) await t.rejects(store.readBlob(versionOf(first)), { code: 'domain_failed' })
})
