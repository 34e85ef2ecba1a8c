/** Promotion and demotion by traffic, with an engine that a test answers for. */
import { pino } from 'pino'
import t from 'tap'
import type { EngineBatch, EngineResult } from '../src/engine/batch.js'
import { SharedBudget } from '../src/concurrency/shared-budget.js'
import { engineRestarting } from '../src/errors.js'
import type { Resident } from '../src/residency/rows.js'
import { Specialists } from '../src/specialise/specialists.js'
import { ManualClock, settle } from './manual-clock.js'

const canary = Uint8Array.of(1, 2, 3)

/** Versions are in the rows of their index + 1; a version's feature is its row, as the bank and its network say. */
function rig({ budget = new SharedBudget(30), clock = new ManualClock() } = {}) {
  const rows = new Map(['a', 'b', 'c', 'd'].map((version, index) => [version, index + 1]))
  const dedicated = new Set<number>()
  const log: { msg: string; version: string; err?: { message: string } }[] = []
  const events: string[] = []
  let references = 0
  const rig = {
    clock,
    rows,
    dedicated,
    log,
    events,
    state: 'ready',
    /** What the network of a row answers. */
    answer: (row: number) => row,
    /** What an opening waits for. */
    opening: async (_row: number): Promise<void> => {},
    merge: async (pack: Uint8Array) => pack,
    merged: [] as string[],
    discarded: 0,
    closed: false,
    queueSeconds: (): number => 0,
    references: () => references,
    /** The row holds something else from now on. */
    change(version: string, row?: number) {
      dedicated.delete(rows.get(version)!)
      if (row === undefined) rows.delete(version)
      else rows.set(version, row)
    },
    /** So many images a second of each version, for so many seconds. */
    async traffic(rates: Record<string, number>, seconds: number) {
      for (let step = 0; step < seconds * 10; step++) {
        for (const [version, rate] of Object.entries(rates)) {
          const images = Math.floor(((step + 1) * rate) / 10) - Math.floor((step * rate) / 10)
          for (let image = 0; image < images; image++) specialists.count(version)
        }
        clock.advance(100)
        await settle()
      }
    },
  }
  const specialists = new Specialists({
    engine: {
      get state() {
        return rig.state as 'ready'
      },
      generation: 1,
      hasDedicated: (row) => dedicated.has(row),
      dropDedicated: (row) => void dedicated.delete(row),
      run: async ({ pixels, rows }: EngineBatch): Promise<EngineResult> => {
        t.same(pixels, canary)
        return { features: Float32Array.of(1, rows[0]!), logits: [null], inferenceMs: 1, runs: 1 }
      },
      openDedicated: async (row, network, pixels) => {
        t.same(pixels, canary)
        const version = new TextDecoder().decode(network)
        await rig.opening(row)
        return {
          features: Float32Array.of(1, rig.answer(row)),
          use: () => {
            const there = rows.get(version) === row
            if (there) dedicated.add(row)
            return there
          },
          discard: () => void rig.discarded++,
        }
      },
    },
    residency: {
      rowOf: (version) => rows.get(version),
      hold: (version) => {
        const row = rows.get(version)
        if (row === undefined) return undefined
        references++
        return { version, row } as Resident
      },
      release: () => void references--,
    },
    versions: { read: async (version) => ({ bytes: new TextEncoder().encode(version), tier: 'store' }) },
    merging: {
      merge: (pack) => {
        rig.merged.push(new TextDecoder().decode(pack))
        return rig.merge(pack.slice())
      },
      close: async () => {
        rig.closed = true
      },
    },
    canary,
    networkBytes: 10,
    budget,
    queueSeconds: () => rig.queueSeconds(),
    clock,
    logger: pino({}, { write: (line: string) => log.push(JSON.parse(line)) }),
    observe: { specialist: (event) => events.push(event) },
  })
  return Object.assign(rig, { specialists })
}

t.test('the hottest are promoted one after the other, as far as the memory reaches', async (t) => {
  const { traffic, dedicated, events, references, merged } = rig()
  await traffic({ a: 5, b: 40, c: 10, d: 20 }, 3)
  t.same([...dedicated].sort(), [2, 3, 4])
  t.same(merged, ['b', 'd', 'c'], 'the hottest first')
  t.same(events, ['promoted', 'promoted', 'promoted'])
  t.equal(references(), 0)
})

t.test('a version that is clearly hotter takes the place of the coldest, and no other', async (t) => {
  const { traffic, dedicated, log } = rig({ budget: new SharedBudget(29) })
  await traffic({ a: 5, b: 40 }, 20)
  t.same([...dedicated], [2, 1])
  await traffic({ a: 5, b: 40, c: 6 }, 60)
  t.same([...dedicated], [2, 1], 'six are not clearly more than five')
  await traffic({ a: 5, b: 40, c: 12 }, 60)
  t.same([...dedicated].sort(), [2, 3])
  t.same(
    log.map(({ msg, version }) => [msg, version]),
    [
      ['dedicated network in use', 'b'],
      ['dedicated network in use', 'a'],
      ['dedicated network dropped', 'a'],
      ['dedicated network in use', 'c'],
    ],
  )
})

t.test('a family uses what the others do not want, and gives it back, the coldest first', async (t) => {
  const [budget, clock] = [new SharedBudget(40, 2), new ManualClock()]
  const [one, other] = [rig({ budget, clock }), rig({ budget, clock })]
  await one.traffic({ a: 40, b: 10, c: 20, d: 30 }, 5)
  t.same([...one.dedicated].sort(), [1, 2, 3, 4], 'all of it')
  const both = async (seconds: number, rates: Record<string, number>) => {
    for (let step = 0; step < seconds * 10; step++) {
      for (let image = 0; image < 3; image++)
        for (const version of ['a', 'b', 'c', 'd'])
          if (image < 1 || version !== 'b') one.specialists.count(version)
      await other.traffic(rates, 0.1)
    }
  }
  await both(5, { a: 20 })
  t.same([...other.dedicated], [1])
  t.same([...one.dedicated].sort(), [1, 3, 4], 'the coldest gave way')
  await both(10, { a: 20, b: 20, c: 20 })
  t.equal(other.dedicated.size, 2, 'no more than its share')
  t.equal(one.dedicated.size, 2)
  await both(120, {})
  t.equal(other.dedicated.size, 0)
  t.equal(one.dedicated.size, 4, 'and takes it again')
})

t.test('without traffic they go, and nothing looks any more', async (t) => {
  const { traffic, dedicated, clock } = rig()
  await traffic({ a: 40, b: 40 }, 5)
  t.equal(dedicated.size, 2)
  clock.advance(300_000)
  t.equal(dedicated.size, 0)
  t.equal(clock.pending, 0)
})

t.test('nothing is promoted while the queue is long, or while the engine is down', async (t) => {
  const it = rig()
  it.queueSeconds = () => 1.5
  await it.traffic({ a: 40 }, 5)
  t.same(it.merged, [])
  it.queueSeconds = () => 0.5
  it.state = 'restarting'
  await it.traffic({ a: 40 }, 5)
  t.same(it.merged, [])
  it.state = 'ready'
  await it.traffic({ a: 40 }, 2)
  t.same([...it.dedicated], [1])
})

t.test(
  'a version that leaves its row is answered by the bank, and promoted anew where it comes back',
  async (t) => {
    const it = rig()
    await it.traffic({ a: 40 }, 3)
    t.same([...it.dedicated], [1])
    it.change('a')
    await it.traffic({ a: 40 }, 3)
    t.same([...it.dedicated], [])
    it.rows.set('a', 3)
    await it.traffic({ a: 40 }, 3)
    t.same([...it.dedicated], [3])
    t.same(it.events, ['promoted', 'demoted', 'promoted'])
    it.dedicated.clear()
    await it.traffic({ a: 40 }, 3)
    t.same([...it.dedicated], [3], 'after a restart of the engine too')
  },
)

t.test('a version that leaves its row while its network is opened does not get it', async (t) => {
  const it = rig()
  let opened = () => {}
  it.opening = () =>
    new Promise((resolve) => {
      opened = resolve
    })
  await it.traffic({ a: 40 }, 3)
  t.equal(it.references(), 0, 'its row is not held meanwhile')
  it.change('a', 4)
  opened()
  await it.traffic({}, 1)
  t.same([...it.dedicated], [])
  t.same(it.log, [])
})

t.test('one whose answer differs is not used, and is said and tried once', async (t) => {
  const it = rig()
  it.answer = (row) => (row === 1 ? 1.0002 : row * 1.00005)
  await it.traffic({ a: 40, b: 30 }, 10)
  t.same([...it.dedicated], [2])
  t.same(it.merged, ['a', 'b'])
  t.equal(it.discarded, 1)
  t.match(it.log[0], { msg: /the bank goes on/, version: 'a', err: { message: /differs by 2.0e-4/ } })
  t.equal(it.log.filter(({ version }) => version === 'a').length, 1)
  it.answer = () => Number.NaN
  await it.traffic({ c: 40 }, 10)
  t.same([...it.dedicated], [2], 'nor one that answers no number')
})

t.test('one that cannot be made or opened is said and tried once, and others go on', async (t) => {
  const it = rig()
  it.merge = async (pack) => {
    if (new TextDecoder().decode(pack) === 'a') throw new Error('slot x cannot be merged')
    return pack
  }
  let restarts = 1
  it.opening = async (row) => {
    if (row === 2) throw new Error('no memory')
    if (row === 3 && restarts-- > 0) throw engineRestarting()
  }
  await it.traffic({ a: 40, b: 30, c: 20, d: 10 }, 8)
  t.same([...it.dedicated], [3, 4], 'a restart says nothing of a version')
  t.same(
    it.log.slice(0, 2).map(({ version, err }) => [version, err?.message]),
    [
      ['a', 'slot x cannot be merged'],
      ['b', 'no memory'],
    ],
  )
  t.equal(it.log.length, 4)
  t.same(
    it.merged.filter((version) => version < 'c'),
    ['a', 'b'],
  )
})

t.test('once closed nothing changes any more', async (t) => {
  const it = rig()
  let opened = () => {}
  it.opening = () =>
    new Promise((resolve) => {
      opened = resolve
    })
  await it.traffic({ a: 40 }, 2)
  await it.specialists.close()
  t.ok(it.closed)
  opened()
  await it.traffic({ a: 40, b: 40 }, 3)
  t.same([...it.dedicated], [])
  t.equal(it.clock.pending, 0)
})
