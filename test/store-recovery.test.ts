/**
 * Power cuts. Every prefix of the disk operations of 200 random changes is a moment at which the power may
 * fail; the store is recovered from each, with several ideas of what the disk kept.
 */
import fc from 'fast-check'
import t from 'tap'
import { MemoryDisk, type Operation, type Outcome } from './memory-disk.js'
import { MemoryFs, type MemoryFsOptions, PowerCut } from './memory-fs.js'
import { Random } from './random.js'
import { checkCrash, DATA, History, memoryStore, runLane } from './store-history.js'

/** Changes made by three lanes at once to six domains, with a restart of the process now and then. */
async function record(seed: number, changes: number, options: MemoryFsOptions = {}) {
  const random = new Random(seed)
  const fs = new MemoryFs({ chunk: 300, delay: () => 1 + random.below(4), ...options })
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

interface Cut {
  /** Stops after so many complaints. */
  limit: number
  /** Operations that the recovering store forgets. */
  ignore?: MemoryFsOptions['ignore']
}

/** Cuts the power after each operation of `log`: with everything volatile lost, with everything kept, and with
 * some of it kept or only the process gone. */
async function cutEverywhere(log: readonly Operation[], history: History, { limit, ignore }: Cut) {
  const random = new Random(2)
  const disk = new MemoryDisk()
  const wrong: string[] = []
  let cuts = 0
  for (let time = 0; time <= log.length && wrong.length < limit; time++) {
    const outcomes: Outcome[] = ['lost', 'kept', random.pick(['killed', random] as const)]
    for (const outcome of outcomes) {
      const complaints = await checkCrash(disk, outcome, history, time, ignore)
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
  const { wrong, cuts } = await cutEverywhere(log, history, { limit: 5 })
  t.strictSame(wrong, [])
  t.comment(`${log.length} disk operations, ${cuts} power cuts`)
  t.ok(log.length > 1000, 'the changes reached the disk')
})

t.test('the check detects a store that forgets an fsync', async (t) => {
  const folder = (path: string) => (step: string, at: string) => step === 'syncFolder' && at === path
  const forgetful: Record<string, NonNullable<MemoryFsOptions['ignore']>> = {
    'of files': (step) => step === 'sync',
    'of folders': (step) => step === 'syncFolder',
    'of the folder of records': folder(`${DATA}/domains`),
    'of the folders of blobs': (step, path) => step === 'syncFolder' && path.startsWith(`${DATA}/blobs/`),
    'of new parents': folder(`${DATA}/blobs`),
    'of the data folder': folder(DATA),
  }
  for (const [which, ignore] of Object.entries(forgetful)) {
    const { log, history } = await record(1, 60, { ignore })
    const { wrong } = await cutEverywhere(log, history, { limit: 1 })
    t.equal(wrong.length, 1, `${which}: ${wrong[0]}`)
  }
})

t.test('the check detects a store that trusts what it finds at start', async (t) => {
  const { log, history } = await record(1, 60)
  const { wrong } = await cutEverywhere(log, history, { limit: 1, ignore: (step) => step === 'syncFolder' })
  t.match(wrong, [/records that were served are lost/])
})

t.test('property: power cuts at any moment, recoveries included, lose nothing acknowledged', async (t) => {
  const round = fc.record({
    seed: fc.nat(),
    operations: fc.integer({ min: 0, max: 150 }),
    kill: fc.boolean(),
  })
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
          before: () => {
            if (left-- <= 0) throw new PowerCut()
          },
        })
        history = new History(() => fs.log.length, history)
        await runUntilCut(fs, history, random)
        const wrong = await checkCrash(fs.disk, random, history, Number.MAX_SAFE_INTEGER)
        if (wrong.length > 0) throw new Error(wrong.join('\n'))
        disk = fs.disk.crash(kill ? 'killed' : random)
      }
    }),
    { seed: 7, numRuns: 60 },
  )
  t.pass('every run')
})

/**
 * Three clients on a file system that stops while they work; the changes it interrupts stay unacknowledged.
 */
async function runUntilCut(fs: MemoryFs, history: History, random: Random): Promise<void> {
  const store = memoryStore(fs)
  const pool = Array.from({ length: 4 }, () => random.bytes(1 + random.below(150)))
  try {
    await store.open()
  } catch {
    return
  }
  // A store that could not tidy up says so, and promises nothing for what it found.
  if (store.usage().failure !== undefined) return
  await history.settle(store)
  const lanes = [['a'], ['b', 'c'], ['d']].map((domains) =>
    runLane(store, history, { domains, pool, random, more: () => true }),
  )
  await Promise.allSettled(lanes)
}
