/** Images per second of each domain. */
import t from 'tap'
import { RateLimit } from '../src/predict/rate-limit.js'
import { ManualClock } from './manual-clock.js'

function harness(rate: number, burst: number) {
  const clock = new ManualClock()
  const refused: string[] = []
  const limit = new RateLimit({ rate, burst, clock, refused: (reason) => void refused.push(reason) })
  const take = (counts: Record<string, number>) => limit.take(new Map(Object.entries(counts)))
  return { clock, limit, refused, take }
}

t.test('a burst passes, then the rate; Retry-After is when it does again', async (t) => {
  const { clock, refused, take } = harness(2, 6)
  take({ a: 4 })
  take({ a: 2 })
  t.throws(() => take({ a: 1 }), {
    code: 'rate_limited',
    status: 429,
    retryAfter: 1,
    message: /'a' is sent more than 2 images a second \(--rate-limit\)/,
  })
  t.throws(() => take({ a: 5 }), { code: 'rate_limited', retryAfter: 3 })
  clock.advance(2500)
  take({ a: 5 })
  t.throws(() => take({ a: 1 }), { code: 'rate_limited' })
  clock.advance(1_000_000)
  take({ a: 6 })
  t.throws(() => take({ a: 1 }), { code: 'rate_limited' }, 'a long pause saves up no more than a burst')
  t.equal(refused.length, 4)
})

t.test('domains do not share a rate, and a mixed request takes all or nothing', async (t) => {
  const { clock, take } = harness(1, 3)
  take({ a: 3 })
  take({ b: 1 })
  t.throws(() => take({ b: 2, a: 1 }), { code: 'rate_limited', message: /'a'/ })
  take({ b: 2 })
  clock.advance(1000)
  take({ a: 1, b: 1 })
})

t.test('as fast as the rate allows is never refused, a little faster is', async (t) => {
  for (const [every, refusals] of [
    [100, 0],
    [90, 10],
  ] as const) {
    const { clock, refused, take } = harness(10, 1)
    for (let i = 0; i < 100; i++) {
      try {
        take({ a: 1 })
      } catch {}
      clock.advance(every)
    }
    t.ok(refused.length >= refusals && refused.length <= refusals * 6, `${every} ms: ${refused.length}`)
  }
})

t.test('a thousand domains that went quiet are forgotten', async (t) => {
  const { clock, limit, take } = harness(1, 2)
  for (let i = 0; i < 1000; i++) take({ [`d${i}`]: 1 })
  t.equal(limit.size, 1000)
  clock.advance(2000)
  take({ next: 1 })
  t.equal(limit.size, 1)
})
