/** Which versions get dedicated networks: the hottest that fit, without changing back and forth. */
import t from 'tap'
import { Choice, type Rated } from '../src/specialise/choice.js'
import { Traffic } from '../src/specialise/traffic.js'
import { ManualClock } from './manual-clock.js'

const rated = (rates: Record<string, number>): Rated[] =>
  Object.entries(rates).map(([version, rate]) => ({ version, rate }))

t.test('while there is room the hottest gets a network, and none that is hardly asked for', async (t) => {
  const choice = new Choice()
  t.same(choice.next(0, [], rated({ a: 2, b: 5, c: 3 }), 2), { promote: 'b' })
  t.same(choice.next(0, rated({ b: 5 }), rated({ a: 2, c: 3 }), 1), { promote: 'c' })
  t.equal(choice.next(0, rated({ b: 5 }), rated({ a: 0.9 }), 1), null)
  t.equal(choice.next(0, [], [], 1), null)
  t.equal(choice.next(0, [], rated({ a: 50 }), 0), null, 'nothing to take the place of')
})

t.test(
  'without room the coldest gives way to one that is clearly hotter, and only after a while',
  async (t) => {
    const choice = new Choice()
    const held = rated({ a: 10, b: 4 })
    t.equal(choice.next(0, held, rated({ c: 5.9 }), 0), null)
    t.equal(choice.next(10_000, held, rated({ c: 5.9 }), 0), null, 'not clearly hotter, however long')
    t.equal(choice.next(10_000, held, rated({ c: 6 }), 0), null)
    t.equal(choice.next(14_000, held, rated({ c: 7, d: 5 }), 0), null)
    t.equal(choice.next(14_500, held, rated({ c: 5 }), 0), null, 'it cools down')
    t.equal(choice.next(15_000, held, rated({ c: 7 }), 0), null, 'and begins anew')
    t.same(choice.next(20_000, held, rated({ c: 7, d: 9 }), 0), { demote: 'b', promote: 'd' })
    t.equal(
      choice.next(20_001, rated({ a: 10, d: 9 }), rated({ b: 40 }), 0),
      null,
      'the next change takes as long',
    )
  },
)

t.test('a network that nobody asks for any more goes, room or not', async (t) => {
  const choice = new Choice()
  t.same(choice.next(0, rated({ a: 10, b: 0.05 }), [], 5), { demote: 'b' })
  t.equal(choice.next(0, rated({ a: 10, b: 0.2 }), [], 5), null)
})

t.test('two of equal traffic do not take turns', async (t) => {
  const choice = new Choice()
  // Rates as random traffic gives them: they vary by a fifth.
  const noise = [0.9, 1.2, 1, 0.8, 1.1, 1.15]
  for (let second = 0; second < 600; second++) {
    const [a, b] = [noise[second % 6]!, noise[(second * 5 + 1) % 6]!]
    t.equal(choice.next(second * 1000, rated({ a: 20 * a }), rated({ b: 20 * b }), 0), null)
  }
})

t.test('a rate follows the traffic and forgets it', async (t) => {
  const clock = new ManualClock()
  const traffic = new Traffic(clock)
  t.equal(traffic.of('a'), 0)
  for (let image = 0; image < 1200; image++) {
    traffic.count('a')
    if (image % 4 === 0) traffic.count('b')
    clock.advance(50)
  }
  t.ok(Math.abs(traffic.of('a') - 20) < 0.5, `${traffic.of('a')} of 20 a second`)
  t.ok(Math.abs(traffic.of('b') - 5) < 0.5)
  clock.advance(10_000)
  t.ok(Math.abs(traffic.of('a') - 20 / Math.E) < 0.5)
  t.same(traffic.versions(), ['a', 'b'])
  clock.advance(120_000)
  t.same(traffic.versions(), [])
  t.equal(traffic.of('a'), 0)
})
