/** A store whose records are gone while its packs are there. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalStore } from '../src/store/local.js'
import { ManualClock } from './manual-clock.js'
import { Random } from './random.js'
import { recordOf, versionOf, versionRecord } from './store-history.js'

const random = new Random(9)

function storeAt(dir: string): LocalStore {
  return new LocalStore({ dir, clock: new ManualClock() })
}

/** A closed store with so many domains. */
async function furnished(t: Test, domains: number): Promise<{ data: string; packs: Uint8Array[] }> {
  const data = join(t.testdir(), 'data')
  const packs = Array.from({ length: domains }, () => random.bytes(100))
  const store = storeAt(data)
  await store.open()
  for (const [index, pack] of packs.entries()) {
    await store.putBlob(versionOf(pack), pack)
    await store.writeRecord(recordOf(`domain-${index}`, [versionRecord(pack)]), null)
  }
  await store.close()
  return { data, packs }
}

t.test('domains/ is gone: one line, at every start, and the packs are kept', async (t) => {
  const { data, packs } = await furnished(t, 3)
  await rm(join(data, 'domains'), { recursive: true })
  for (const start of ['first', 'second']) {
    const store = storeAt(data)
    const problems = await store.open()
    t.match(
      problems,
      [
        {
          kind: 'records_missing',
          count: 3,
          message: /^domains\/ is gone, and blobs\/ has 3 packs \(300 bytes\)/,
        },
      ],
      start,
    )
    t.equal(problems.length, 1)
    t.equal(await store.collect(), 0)
    await store.close()
    t.notOk((await readdir(data)).includes('domains'), 'so that the next start tells it again')
  }

  const store = storeAt(data)
  await store.open()
  const fresh = random.bytes(50)
  await store.putBlob(versionOf(fresh), fresh)
  await store.writeRecord(recordOf('fresh', [versionRecord(fresh)]), null)
  t.equal(await store.collect(), 0, 'a restore is still possible')
  await store.close()
  const next = storeAt(data)
  t.strictSame(await next.open(), [])
  t.strictSame(
    (await next.records()).map(({ record }) => record.domain),
    ['fresh'],
  )
  for (const pack of packs) t.ok(await next.hasBlob(versionOf(pack)))
  await next.close()
})

t.test('domains/ is empty: told too, where more packs are there than uploads under way leave', async (t) => {
  const { data, packs } = await furnished(t, 12)
  for (const name of await readdir(join(data, 'domains'))) await rm(join(data, 'domains', name))
  const store = storeAt(data)
  t.match(await store.open(), [{ kind: 'records_missing', count: 12, message: /^domains\/ is empty, and/ }])
  t.equal(await store.collect(), 0)
  for (const pack of packs) t.ok(await store.hasBlob(versionOf(pack)))
  await store.close()
})

t.test('what a kill during changes leaves behind is no loss, and is collected', async (t) => {
  const { data } = await furnished(t, 3)
  await rm(join(data, 'domains'), { recursive: true })
  await mkdir(join(data, 'domains'))
  const store = storeAt(data)
  t.strictSame(await store.open(), [])
  t.equal(await store.collect(), 3)
  await store.close()
})
