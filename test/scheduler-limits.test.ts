/** Entries whose client left or whose deadline passed are not run, and leave nothing behind. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { Scheduler, type SchedulerOptions } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'

/** Batches of two; each run ends when the test says so and takes no time by itself. */
function harness(options: Partial<SchedulerOptions<string, string>> = {}) {
  const clock = new ManualClock()
  const runs: string[][] = []
  /** Whether each run was given up, and why. */
  const givenUp: unknown[] = []
  let finish = () => {}
  const scheduler = new Scheduler<string, string>({
    run: (batch, signal) => {
      const run = runs.push(batch) - 1
      signal.addEventListener('abort', () => {
        givenUp[run] = signal.reason
      })
      return new Promise((resolve) => {
        finish = () => resolve(batch)
      })
    },
    clock,
    lanes: () => 1,
    maxBatch: () => 2,
    // What is submitted first runs alone, so that a test knows who waits.
    defer: (start) => start(),
    ...options,
  })
  const submit = (
    domain: string,
    items: string[],
    more: { deadline?: number; signal?: AbortSignal } = {},
  ) => {
    const answer = Promise.all(items.map((item) => scheduler.submit(domain, item, more)))
    answer.catch(() => {})
    return answer
  }
  const end = async () => {
    finish()
    await settle()
  }
  const endAll = async () => {
    while (scheduler.busy) await end()
  }
  return { clock, runs, givenUp, scheduler, submit, end, endAll }
}

/** An abort signal that counts its listeners. */
function countingSignal() {
  const controller = new AbortController()
  const { signal } = controller
  let listeners = 0
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++
    add(...args)
  }
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--
    remove(...args)
  }
  return { signal, abort: () => controller.abort(), listeners: () => listeners }
}

t.test('the time that entries will take follows the measured run time', async (t) => {
  const { clock, scheduler, submit, endAll, end } = harness()
  t.equal(scheduler.secondsFor(8), 0, 'nothing is known before the first run')
  const first = submit('x', ['x'])
  clock.advance(2000)
  await end()
  await first
  t.equal(scheduler.secondsFor(8), 16)
  await endAll()
})

t.test('a deadline that passes in the queue is told at once', async (t) => {
  const { clock, runs, scheduler, submit, endAll } = harness()
  const running = submit('x', ['x'], { deadline: 5 })
  t.equal(clock.pending, 0, 'what runs at once needs no timer')
  const late = submit('a', ['late'], { deadline: 30 })
  const early = submit('a', ['early'], { deadline: 10 })
  const patient = submit('a', ['patient'], { deadline: 1000 })
  clock.advance(10)
  await t.rejects(early, { code: 'deadline_exceeded', status: 504 })
  t.equal(scheduler.length, 2)
  clock.advance(20)
  await t.rejects(late, { code: 'deadline_exceeded' })
  await endAll()
  t.same(runs, [['x'], ['patient']])
  await Promise.all([running, patient])
  t.equal(clock.pending, 0)
})

t.test('an entry whose deadline passed is not run, however late its timer', async (t) => {
  const clock = new (class extends ManualClock {
    override after() {
      return () => {}
    }
  })()
  const { runs, submit, endAll } = harness({ clock })
  const running = submit('x', ['x'])
  const late = submit('a', ['late'], { deadline: 10 })
  const stays = submit('a', ['stays'], { deadline: 100 })
  clock.advance(10)
  await endAll()
  await t.rejects(late, { code: 'deadline_exceeded' })
  await Promise.all([running, stays])
  t.same(runs, [['x'], ['stays']])
})

t.test('an entry whose deadline passed is not run in a small batch either', async (t) => {
  const clock = new (class extends ManualClock {
    override after() {
      return () => {}
    }
  })()
  const { runs, submit, endAll } = harness({ clock, runMs: (size) => size, maxBatch: () => 4, few: () => 0 })
  const answers = [submit('x', ['x']), submit('flood', [...'123456'])]
  const late = submit('a', ['late'], { deadline: 10 })
  const lost = t.rejects(late, { code: 'deadline_exceeded' })
  answers.push(submit('b', ['b'], { deadline: 100 }))
  clock.advance(10)
  await endAll()
  await Promise.all([...answers, lost])
  t.same(runs.slice(0, 2), [['x'], ['b']])
})

t.test('a deadline that had passed before the request came', async (t) => {
  const { runs, submit } = harness()
  await t.rejects(submit('a', ['1'], { deadline: 0 }), { code: 'deadline_exceeded' })
  t.same(runs, [])
})

t.test('many deadlines, in any order, are told in time and leave no timer', async (t) => {
  const { clock, scheduler, submit, endAll } = harness()
  const running = submit('x', ['x'])
  const ended: number[] = []
  const answers = Array.from({ length: 3000 }, (_, i) => {
    const deadline = 1 + ((i * 7919) % 3000)
    return submit(`d${i % 7}`, [String(i)], { deadline }).catch(() => {
      ended.push(deadline)
    })
  })
  for (let ms = 0; ms < 1500; ms += 100) {
    clock.advance(100)
    await settle()
    t.equal(scheduler.length, 3000 - ms - 100)
  }
  t.same(
    ended,
    ended.toSorted((a, b) => a - b),
    'earliest first',
  )
  await endAll()
  await Promise.all([running, ...answers])
  t.equal(clock.pending, 0)
})

t.test('a client that leaves takes its entries with it, and its listener goes', async (t) => {
  const { runs, scheduler, submit, endAll } = harness()
  const running = submit('x', ['x'])
  const { signal, abort, listeners } = countingSignal()
  const gone = submit('a', ['a1', 'a2'], { signal })
  const stays = submit('a', ['stays'])
  t.equal(listeners(), 2, 'one listener an entry')
  abort()
  await t.rejects(gone, { code: 'client_closed' })
  t.equal(listeners(), 0)
  t.equal(scheduler.length, 1)
  await endAll()
  t.same(runs, [['x'], ['stays']])
  await Promise.all([running, stays])
})

t.test('no listener outlives its entry, however that ends', async (t) => {
  const { clock, scheduler, submit, endAll } = harness()
  const { signal, listeners } = countingSignal()
  const running = submit('x', ['x'], { signal })
  t.equal(listeners(), 1, 'the run is given up when nobody waits for it')
  const answered = submit('a', ['1'], { signal })
  const expired = submit('b', ['1'], { signal, deadline: 5 })
  t.equal(listeners(), 3)
  clock.advance(5)
  await t.rejects(expired)
  t.equal(listeners(), 2)
  await endAll()
  await Promise.all([running, answered])
  t.equal(listeners(), 0)

  const again = submit('x', ['x'])
  const rejected = submit('a', ['1'], { signal })
  scheduler.rejectAll(new FacetError('engine_restarting', 'Down.'))
  await t.rejects(rejected)
  t.equal(listeners(), 0)
  await endAll()
  await again
})

t.test('a batch is given up when the last of its clients has left, and answered when it ends', async (t) => {
  const { givenUp, submit, end } = harness({ defer: queueMicrotask })
  const [one, other] = [new AbortController(), new AbortController()]
  const answers = [submit('a', ['1'], { signal: one.signal }), submit('b', ['2'], { signal: other.signal })]
  await settle()
  one.abort()
  t.same(givenUp, [], 'somebody waits for it')
  other.abort()
  t.match(givenUp, [{ code: 'client_closed' }])
  await end()
  for (const answer of answers) await answer
})

t.test('a batch with an entry that cannot be left is not given up', async (t) => {
  const { givenUp, submit, endAll } = harness({ defer: queueMicrotask })
  const client = new AbortController()
  const answers = [submit('a', ['1'], { signal: client.signal }), submit('b', ['2'])]
  await settle()
  client.abort()
  t.same(givenUp, [])
  await endAll()
  for (const answer of answers) await answer
})

t.test('abandon fails what waits and gives up what runs, with one reason', async (t) => {
  const { givenUp, scheduler, submit, endAll } = harness()
  const running = submit('a', ['1'])
  const waiting = submit('a', ['2'])
  const reason = new FacetError('draining', 'The service ends.')
  scheduler.abandon(reason)
  await t.rejects(waiting, reason)
  t.same(givenUp, [reason])
  await endAll()
  t.equal((await running)[0]?.value, '1', 'the run decides what it answers')
})

t.test('a client that has left already is not admitted', async (t) => {
  const { runs, submit } = harness()
  await t.rejects(submit('a', ['1'], { signal: AbortSignal.abort() }), { code: 'client_closed' })
  t.same(runs, [])
})

t.test('an entry that runs is answered when its run ends, whatever its deadline', async (t) => {
  const { clock, scheduler, submit, end } = harness()
  let settled = false
  const running = submit('a', ['1'], { deadline: 10 }).finally(() => {
    settled = true
  })
  clock.advance(10)
  await settle()
  t.notOk(settled, 'the run may still read what it was given')
  await end()
  t.equal((await running)[0]?.value, '1')
  t.notOk(scheduler.busy)
})
