/** Which versions leave the bank when another needs room: cold ones, and hot ones only where there is no other way. */
import t from 'tap'
import { Demand } from '../src/residency/demand.js'
import { HIGH_DEMAND, HOT_DEMAND, leaving, type Occupant } from '../src/residency/eviction.js'
import { ManualClock } from './manual-clock.js'

interface Named extends Occupant {
  name: string
}

const occupant = (name: string, more: Partial<Occupant> = {}): Named => ({
  ...{ name, standing: 'active', demand: 0, youthMs: 0, rowsOfPrincipal: 1, since: 0, used: 0, bytes: 1 },
  ...more,
})
const hot = { demand: HOT_DEMAND }
const high = { demand: HIGH_DEMAND }
const young = { youthMs: 1 }
const none = { rows: 0, bytes: 0 }

const cases: [
  name: string,
  occupants: Named[],
  leave: string,
  options?: { newcomer?: object; coming?: object },
][] = [
  ['nobody is there', [], ''],
  [
    'the least recently asked for first, after those that are not active',
    [
      occupant('b', { used: 2 }),
      occupant('a', { used: 1 }),
      occupant('idle', { standing: 'idle', used: 3, ...young, ...high }),
    ],
    'idle a b',
  ],
  ['pinned versions and young ones stay', [occupant('p', { standing: 'pinned' }), occupant('y', young)], ''],
  ['hot ones stay while cold ones can leave', [occupant('hot', hot), occupant('cold', { used: 9 })], 'cold'],
  ['or soon can', [occupant('hot', hot), occupant('soon', young)], ''],
  ['or while a row is being filled', [occupant('hot', hot)], '', { coming: { rows: 1, bytes: 1 } }],
  [
    'where all are hot, the one least in demand leaves',
    [occupant('more', { demand: 2.5 }), occupant('less', hot), occupant('most', high)],
    'less',
  ],
  [
    'even if it still has to stay for a while',
    [occupant('less', { ...hot, ...young }), occupant('more', high)],
    '',
  ],
  [
    'a newcomer in high demand does not wait for it',
    [occupant('less', { ...hot, ...young }), occupant('cold', young), occupant('more', high)],
    'more',
    { newcomer: high },
  ],
  ['but takes what is cold', [occupant('cold'), occupant('more', high)], 'cold', { newcomer: high }],
  [
    'in equal demand, one of the principal with most rows leaves, the first loaded',
    [
      occupant('own', { ...high, since: 0 }),
      occupant('second', { demand: 9, rowsOfPrincipal: 2, since: 2 }),
      occupant('first', { demand: 99, rowsOfPrincipal: 2, since: 1 }),
    ],
    'first',
  ],
  [
    'as many as make room for a large newcomer',
    [
      occupant('h1', { ...hot, since: 1 }),
      occupant('h2', { ...hot, since: 2 }),
      occupant('cold'),
      occupant('h3', high),
    ],
    'cold h1 h2',
    { newcomer: { bytes: 3 } },
  ],
]

for (const [name, occupants, leave, { newcomer, coming } = {}] of cases) {
  t.test(name, async (t) => {
    const found = leaving(occupants, { demand: 0, bytes: 1, ...newcomer }, none, { ...none, ...coming })
    t.equal([...found.cold, ...found.hot].map((seat) => seat.name).join(' '), leave)
  })
}

t.test('demand follows the rate of requests and forgets', async (t) => {
  const clock = new ManualClock()
  const demand = new Demand(clock, 2_000)
  t.equal(demand.of('x'), 0)
  for (let n = 0; n < 5; n++) demand.ask('x')
  t.equal(demand.of('x'), 1, 'requests at once count once')
  for (const least of [1.4, 2, 2.4, 2.8, 3.1, 3.4, 3.6]) {
    clock.advance(1_000)
    demand.ask('x')
    clock.advance(1)
    t.ok(demand.of('x') > least, `${demand.of('x')}`)
    t.ok(demand.of('x') >= HOT_DEMAND)
  }
  for (let n = 0; n < 20; n++) {
    clock.advance(1_000)
    demand.ask('x')
  }
  clock.advance(1_000)
  t.ok(demand.of('x') >= HIGH_DEMAND, 'once a second is high demand')
  for (let n = 0; n < 60; n++) {
    demand.ask('y')
    clock.advance(5_000)
  }
  t.ok(demand.of('y') < HOT_DEMAND, 'once in five seconds is not hot')
  clock.advance(60_000)
  t.ok(demand.of('x') < 0.01)
})

t.test('demand remembers no more versions than are asked for', async (t) => {
  const clock = new ManualClock()
  const demand = new Demand(clock, 100)
  for (let n = 0; n < 10_000; n++) {
    demand.ask(`version-${n}`)
    clock.advance(10)
  }
  t.ok(demand.size < 2_000, `${demand.size}`)
  demand.delete('version-9999')
  t.equal(demand.of('version-9999'), 0)
  const off = new Demand(clock, 0)
  off.ask('x')
  t.equal(off.of('x') + off.size, 0, 'without a minimum residency nothing is counted')
})
