/** Who is next: turns by cost, between principals and between the domains of one. */
import t from 'tap'
import { FairQueue } from '../src/concurrency/fair-queue.js'

type Arrival = [owner: string, item: string, cost: number, expected?: number]

function queueOf(...arrivals: Arrival[]) {
  const costs = new Map<string, { cost: number; expected: number }>()
  const queue = new FairQueue<string>((item) => costs.get(item)!.expected)
  const push = ([owner, item, cost, expected = cost]: Arrival) => {
    costs.set(item, { cost, expected })
    return queue.push(owner.split('/'), item)
  }
  arrivals.forEach(push)
  /** Serves so many turns one after another. */
  const serve = (turns: number) =>
    Array.from({ length: turns }, () => {
      const turn = queue.first()!
      queue.give(turn)
      queue.end(turn, costs.get(turn.item)!.cost)
      return turn.item
    }).join(' ')
  return { queue, push, serve }
}

const cases: [name: string, arrivals: Arrival[], order: string][] = [
  [
    'equal costs: one after another, each in order of arrival',
    [
      ['a', 'a1', 1],
      ['a', 'a2', 1],
      ['a', 'a3', 1],
      ['b', 'b1', 1],
      ['b', 'b2', 1],
    ],
    'a1 b1 a2 b2 a3',
  ],
  [
    'no costs at all: the same',
    [
      ['a', 'a1', 0],
      ['a', 'a2', 0],
      ['b', 'b1', 0],
      ['c', 'c1', 0],
      ['b', 'b2', 0],
    ],
    'a1 b1 c1 a2 b2',
  ],
  [
    'cheap turns pass an expensive one, until they have cost as much',
    [
      ['dear', 'd1', 3],
      ['dear', 'd2', 3],
      ['cheap', 'c1', 1],
      ['cheap', 'c2', 1],
      ['cheap', 'c3', 1],
      ['cheap', 'c4', 1],
    ],
    'c1 c2 d1 c3 c4 d2',
  ],
  [
    'an unexpected cost is charged afterwards',
    [
      ['liar', 'l1', 5, 1],
      ['liar', 'l2', 5, 1],
      ['honest', 'h1', 2],
      ['honest', 'h2', 2],
      ['honest', 'h3', 2],
    ],
    'l1 h1 h2 l2 h3',
  ],
  [
    'a principal with many domains has one share, and its domains share that',
    [
      ['many/a', 'a1', 1],
      ['many/a', 'a2', 1],
      ['many/b', 'b1', 1],
      ['many/c', 'c1', 1],
      ['one/x', 'x1', 1],
      ['one/x', 'x2', 1],
      ['one/x', 'x3', 1],
    ],
    'a1 x1 b1 x2 c1 x3 a2',
  ],
]

for (const [name, arrivals, order] of cases) {
  t.test(name, async (t) => {
    const { queue, serve } = queueOf(...arrivals)
    t.equal(queue.length, arrivals.length)
    t.equal(serve(arrivals.length), order)
    t.equal(queue.length, 0)
    t.equal(queue.first(), undefined)
  })
}

t.test('an owner that was idle saved up no turns', async (t) => {
  const { push, serve } = queueOf(...[1, 2, 3, 4, 5, 6].map((n): Arrival => ['busy', `b${n}`, 1]))
  t.equal(serve(4), 'b1 b2 b3 b4')
  for (const n of [1, 2, 3]) push(['new', `n${n}`, 1])
  t.equal(serve(5), 'n1 b5 n2 b6 n3')
})

t.test('an owner that leaves and comes back still owes what it was served', async (t) => {
  const { push, serve } = queueOf(
    ['dear', 'd1', 10],
    ...[1, 2, 3, 4].map((n): Arrival => ['cheap', `c${n}`, 4]),
  )
  t.equal(serve(3), 'c1 c2 d1')
  push(['dear', 'd2', 3])
  t.equal(serve(2), 'c3 d2', 'the cheap one was served 8, the dear one 10')
})

t.test('all debts are forgotten when nothing waits or runs', async (t) => {
  const { push, serve } = queueOf(['a', 'a1', 1], ['b', 'b1', 100])
  t.equal(serve(2), 'a1 b1')
  push(['b', 'b2', 1])
  push(['a', 'a2', 1])
  t.equal(serve(2), 'b2 a2', 'in order of arrival')
})

t.test('an expected cost counts from the beginning of a turn', async (t) => {
  const { queue } = queueOf(['a', 'a1', 5], ['a', 'a2', 5], ['b', 'b1', 5], ['b', 'b2', 5])
  const given: string[] = []
  for (let n = 0; n < 4; n++) {
    const turn = queue.first()!
    queue.give(turn)
    given.push(turn.item)
  }
  t.same(given, ['a1', 'b1', 'a2', 'b2'], 'though none has ended')
})

t.test('of those that are accepted, too, who was served longest ago is next', async (t) => {
  const { queue, push, serve } = queueOf(['a', 'a1', 1], ['b', 'b1', 1], ['c', 'c1', 1.5])
  t.equal(serve(2), 'a1 b1')
  push(['b', 'b2', 1])
  push(['a', 'a2', 1])
  t.equal(queue.firstAccepted((item) => item !== 'c1')?.item, 'a2')
})

t.test('a turn that is not accepted is passed over with those behind it', async (t) => {
  const { queue } = queueOf(['p/a', 'a1', 1], ['p/a', 'a2', 1], ['p/b', 'b1', 9], ['q/c', 'c1', 20])
  t.equal(queue.firstAccepted((item) => item !== 'a1')?.item, 'b1')
  t.equal(queue.firstAccepted((item) => item.startsWith('c'))?.item, 'c1')
  t.equal(
    queue.firstAccepted(() => false),
    undefined,
  )
  t.equal(queue.first()?.item, 'a1')
})

t.test('turns that leave are gone, and take no share', async (t) => {
  const { queue, push, serve } = queueOf(['a', 'a0', 1], ['b', 'b1', 1])
  const gone = push(['a', 'gone', 1])
  queue.remove(gone)
  queue.remove(gone)
  t.equal(queue.length, 2)
  t.equal(serve(2), 'a0 b1')
})

t.test('however many owners come and go, no more than some hundreds are remembered', async (t) => {
  const queue = new FairQueue<string>(() => 1)
  const busy = queue.push(['busy'], 'busy')
  queue.give(busy)
  for (let n = 0; n < 20_000; n++) {
    const turn = queue.push([`owner-${n}`], 'x')
    queue.give(turn)
    queue.end(turn, 1 + n)
  }
  t.ok(queue.owners <= 1100, `${queue.owners}`)
  queue.end(busy, 1)
  t.equal(queue.owners, 0)
})

t.test('the oldest turn is found whoever is next, and is gone when it was given or left', async (t) => {
  const queue = new FairQueue<string>(() => 1)
  const turns = ['a1', 'a2', 'b1'].map((name) => queue.push([name[0]!], name))
  const oldest = () => queue.oldest(() => true)?.item
  queue.give(turns[0]!)
  t.equal(queue.first()?.item, 'b1', 'whose owner was served less')
  t.equal(oldest(), 'a2')
  t.equal(queue.oldest((name) => name !== 'a2')?.item, 'b1')
  queue.remove(turns[1]!)
  t.equal(oldest(), 'b1')
  queue.give(turns[2]!)
  t.equal(oldest(), undefined)
})
