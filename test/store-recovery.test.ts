/**
 * Power cuts. Every prefix of the disk operations of 200 random changes is a moment at which the power may
 * fail; the store is recovered from each, with several ideas of what the disk kept.
 */
import fc from 'fast-check'
import t from 'tap'
import { MemoryDisk, type Operation } from './memory-disk.js'
import { fsError } from './memory-disk.js'
import { MemoryFs, type MemoryFsOptions } from './memory-fs.js'
import { Random } from './random.js'
import { checkCrash, DATA, History, memoryStore, runLane } from './store-history.js'

/** Changes made by three lanes at once to six domains, with a restart of the process now and then. */
async function record(seed: number, changes: number, options: MemoryFsOptions = {}) {
  const random = new Random(seed)
  const fs = new MemoryFs({ chunk: 90, delay: () => 1 + random.below(4), ...options })
  const history = new History(() => fs.log.length)
  const pool = Array.from({ length: 8 }, () => random.bytes(1 + random.below(200)))
  let left = changes
  while (left > 0) {
    const store = memoryStore(fs)
    await store.open()
    const stop = Math.max(0, left - 50)
    const more = (): boolean => left > stop && left-- > 0
    const lanes = [
      ['a', 'b.1'],
      ['c', 'd-2'],
      ['e', 'f_3'],
    ]
    await Promise.all(lanes.map((domains) => runLane(store, history, { domains, pool, random, more })))
    await store.close()
  }
  return { log: fs.log, history }
}

/** Cuts the power after each operation of `log`; at most `limit` complaints. */
async function cutEverywhere(log: readonly Operation[], history: History, seed: number, limit: number) {
  const random = new Random(seed)
  const disk = new MemoryDisk()
  const wrong: string[] = []
  let cuts = 0
  for (let time = 0; time <= log.length && wrong.length < limit; time++) {
    for (const outcome of ['lost', 'kept', 'killed', random, random] as const) {
      const complaints = await checkCrash(disk, outcome, history, time)
      const kind = typeof outcome === 'string' ? outcome : 'random'
      wrong.push(...complaints.map((complaint) => `after ${time} operations, ${kind}: ${complaint}`))
      cuts += 1
    }
    const next = log[time]
    if (next !== undefined) disk.apply(next)
  }
  return { wrong: wrong.slice(0, limit), cuts }
}

t.test('every prefix of 200 random changes recovers to what was acknowledged', async (t) => {
  const { log, history } = await record(1, 200)
  const { wrong, cuts } = await cutEverywhere(log, history, 2, 5)
  t.strictSame(wrong, [])
  t.comment(`${log.length} disk operations, ${cuts} power cuts`)
  t.ok(log.length > 1000, 'the changes reached the disk')
})

t.test('a store that forgets an fsync is found out', async (t) => {
  const forgetful: Record<string, MemoryFsOptions['ignore']> = {
    'of files': (step) => step === 'sync',
    'of folders': (step) => step === 'syncFolder',
    'of the folder of records': (step, path) => step === 'syncFolder' && path === `${DATA}/domains`,
    'of the folders of blobs': (step, path) => step === 'syncFolder' && path.startsWith(`${DATA}/blobs/`),
    'of new parents': (step, path) => step === 'syncFolder' && path === `${DATA}/blobs`,
    'of the data folder': (step, path) => step === 'syncFolder' && path === DATA,
  }
  for (const [which, ignore] of Object.entries(forgetful)) {
    const { log, history } = await record(1, 60, { ignore: ignore! })
    const { wrong } = await cutEverywhere(log, history, 2, 1)
    t.equal(wrong.length, 1, `without the fsync ${which}: ${wrong[0]}`)
  }
})

t.test('a store that trusts what it finds at start is found out', async (t) => {
  const fs = new MemoryFs()
  const history = new History(() => fs.log.length)
  const store = memoryStore(fs)
  await store.open()
  const release = await history.put(store, new Random(3).bytes(50))
  release()
  await store.close()
  // A process killed between a rename and the fsync of the folder, and a successor that only looks.
  const disk = fs.disk.crash('killed')
  disk.apply({ name: 'mkdir', path: `${DATA}/blobs/zz` })
  t.notOk(disk.crash('lost').list(`${DATA}/blobs`).includes('zz'), 'still volatile after the process is gone')
  t.ok(disk.crash('kept').list(`${DATA}/blobs`).includes('zz'))
})

t.test('property: power cuts at any moment, recoveries included, lose nothing acknowledged', async (t) => {
  const round = fc.record({ seed: fc.nat(), operations: fc.integer({ min: 0, max: 150 }), kill: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 5 }), async (rounds) => {
      let disk = new MemoryDisk()
      let history = new History(() => 0)
      for (const { seed, operations, kill } of rounds) {
        const random = new Random(seed)
        let left = operations
        const fs: MemoryFs = new MemoryFs({
          disk,
          chunk: 70,
          delay: () => 1 + random.below(3),
          before: (_, path) => {
            if (left-- <= 0) throw fsError('EIO', path)
          },
        })
        history = new History(() => fs.log.length, (await recordsOn(disk)) ?? [])
        await runUntilCut(fs, history, random)
        const wrong = await checkCrash(fs.disk, random, history, Number.MAX_SAFE_INTEGER)
        if (wrong.length > 0) throw new Error(wrong.join('\n'))
        disk = fs.disk.crash(kill ? 'killed' : random)
      }
    }),
    { seed: 7, numRuns: 150 },
  )
  t.pass('every run')
})

async function recordsOn(disk: MemoryDisk) {
  const store = memoryStore(new MemoryFs({ disk: disk.crash('kept') }))
  await store.open()
  return store.records()
}

/** Three lanes on a file system that dies in their midst; the changes it interrupts stay unacknowledged. */
async function runUntilCut(fs: MemoryFs, history: History, random: Random): Promise<void> {
  const store = memoryStore(fs)
  const pool = Array.from({ length: 4 }, () => random.bytes(1 + random.below(150)))
  try {
    await store.open()
  } catch {
    return
  }
  const lanes = [['a'], ['b', 'c'], ['d']].map((domains) =>
    runLane(store, history, { domains, pool, random, more: () => true }),
  )
  await Promise.allSettled(lanes)
}
