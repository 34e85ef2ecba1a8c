/** The rows of several families in one memory: each can have its share, and may use what the others do not. */
import fc from 'fast-check'
import t from 'tap'
import { SharedBudget } from '../src/concurrency/shared-budget.js'
import { type Resident, Rows } from '../src/residency/rows.js'
import type { Standing } from '../src/residency/versions.js'
import { ManualClock, settle } from './manual-clock.js'

const about = {
  design: 'bn',
  labels: null,
  activation: 'softmax',
  classes: 0,
  adapter: 'whole',
  halfHead: false,
} as const

/** Rows of one byte each, the base's among them. */
class Bank {
  readonly rows: Rows
  readonly pinned = new Set<string>()
  evicted = 0
  readonly #name: string

  constructor(name: string, budget: SharedBudget, clock: ManualClock, minResidencyMs = 0) {
    this.#name = name
    this.rows = new Rows({
      capacity: 100,
      budget,
      bytes: () => 1,
      base: { version: `${name}-base`, about },
      clock,
      minResidencyMs,
      standing: (version): Standing => (this.pinned.has(version) ? 'pinned' : 'active'),
      evicted: () => void this.evicted++,
      cleared: () => {},
    })
  }

  get used(): number {
    return [...this.rows.residents()].length
  }

  /** Loads a version, and keeps a reference. */
  async hold(version: number | string, signal = new AbortController().signal): Promise<Resident | undefined> {
    const name = `${this.#name}-${version}`
    const here = this.rows.use(name, '')
    if (here) return here
    const reservation = await this.rows.reserve({ version: name, extent: about, principal: '' }, signal)
    return reservation === null ? undefined : this.rows.fill(reservation, name, about)
  }

  async load(...versions: (number | string)[]): Promise<void> {
    for (const version of versions) this.rows.release((await this.hold(version))!)
  }
}

function banks(names: string[], total: number, minResidencyMs = 0) {
  const clock = new ManualClock()
  const budget = new SharedBudget(total, names.length)
  return { clock, all: names.map((name) => new Bank(name, budget, clock, minResidencyMs)) }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

t.test('one busy family has all that the others do not hold, and evicts its own beyond', async (t) => {
  const { all } = banks(['a', 'b'], 20)
  const [a, b] = all as [Bank, Bank]
  await a.load(...numbers(30))
  t.equal(a.used, 19, "all but the other's base")
  t.equal(a.evicted, 30 - 18)
  t.equal(b.used, 1)
})

t.test(
  'another family gets its share at once, for which the busy one evicts what was asked for least lately',
  async (t) => {
    const { all } = banks(['a', 'b'], 20)
    const [a, b] = all as [Bank, Bank]
    await a.load(...numbers(18))
    await b.load(...numbers(9))
    t.same([a.used, b.used], [10, 10])
    t.equal(b.evicted, 0, 'it evicts nothing of its own')
    t.notOk(a.rows.find('a-0'))
    t.ok(a.rows.find('a-17'))
    await b.load(9)
    t.same([a.used, b.used, b.evicted], [10, 10, 1], 'beyond its share it evicts its own')
    await a.load(30)
    t.same([a.used, b.used], [10, 10])
  },
)

t.test('rows that requests hold are waited for, and take no new requests meanwhile', async (t) => {
  const { all } = banks(['a', 'b'], 20)
  const [a, b] = all as [Bank, Bank]
  const held: Resident[] = []
  for (const version of numbers(18)) held.push((await a.hold(version))!)
  let got: Resident | undefined
  void b.hold(0).then((resident) => {
    got = resident
  })
  await settle()
  t.equal(got, undefined)
  t.equal(a.rows.use('a-0', ''), undefined, 'it is to leave')
  a.rows.release(held[0]!)
  await settle()
  t.equal(got?.version, 'b-0')
  t.same([a.used, b.used], [18, 2])
})

t.test('when the one that waits gives up, nothing more has to leave', async (t) => {
  const { all } = banks(['a', 'b'], 20)
  const [a, b] = all as [Bank, Bank]
  const held: Resident[] = []
  for (const version of numbers(18)) held.push((await a.hold(version))!)
  const patience = new AbortController()
  const waits = b.hold(0, patience.signal)
  await settle()
  patience.abort()
  t.equal(await waits, undefined)
  t.ok(a.rows.use('a-0', ''), 'it may stay')
  for (const resident of held) a.rows.release(resident)
  t.equal(a.used, 19)
})

t.test('a version that has just been loaded has its minimum residency for others too', async (t) => {
  const { clock, all } = banks(['a', 'b'], 6, 1000)
  const [a, b] = all as [Bank, Bank]
  await a.load(0, 1, 2, 3)
  let loaded = false
  void b.load(0).then(() => {
    loaded = true
  })
  await settle()
  t.notOk(loaded)
  clock.advance(1000)
  await settle()
  t.ok(loaded)
  t.same([a.used, b.used], [4, 2])
})

t.test('pinned versions within the share never leave for another family', async (t) => {
  const { all } = banks(['a', 'b'], 20)
  const [a, b] = all as [Bank, Bank]
  for (const version of numbers(8)) a.pinned.add(`a-${version}`)
  await a.load(...numbers(18))
  await b.load(...numbers(15))
  t.ok(numbers(8).every((version) => a.rows.find(`a-${version}`)))
  t.same([a.used, b.used], [10, 10])
})

t.test(
  'whatever happens: never more than there is, and nobody waits for its share once leases end',
  async () => {
    const names = ['a', 'b', 'c']
    const step = fc.record({
      bank: fc.nat(2),
      version: fc.nat(12),
      keep: fc.boolean(),
      release: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        const { all } = banks(names, 18)
        const held: [Bank, Resident][] = []
        let waiting = 0
        for (const { bank, version, keep, release } of steps) {
          const own = all[bank]!
          waiting++
          void own.hold(version).then((resident) => {
            waiting--
            if (keep) held.push([own, resident!])
            else own.rows.release(resident!)
          })
          await settle()
          const first = release ? held.shift() : undefined
          first?.[0].rows.release(first[1])
          await settle()
          const used = all.reduce((sum, each) => sum + each.used, 0)
          if (used > 18) throw new Error(`${used} of 18`)
        }
        for (const [own, resident] of held.splice(0)) own.rows.release(resident)
        await settle()
        while (held.length > 0 || waiting > 0) {
          if (held.length === 0) throw new Error(`${waiting} wait for ever`)
          for (const [own, resident] of held.splice(0)) own.rows.release(resident)
          await settle()
        }
      }),
      { numRuns: 150 },
    )
  },
)
