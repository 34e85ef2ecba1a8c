/** The queue is bounded; entries whose client left or whose deadline passed are not run. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { Scheduler, type SchedulerOptions } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'

/** Batches of two; each run ends when the test says so and takes no time by itself. */
function harness(options: Partial<SchedulerOptions<string, string>> = {}) {
  const clock = new ManualClock()
  const runs: string[][] = []
  const rejected: string[] = []
  let finish = () => {}
  const scheduler = new Scheduler<string, string>({
    run: (batch) => {
      runs.push(batch)
      return new Promise((resolve) => {
        finish = () => resolve(batch)
      })
    },
    clock,
    lanes: () => 1,
    maxBatch: () => 2,
    maxQueue: 10,
    maxQueuePerDomain: 6,
    // What is submitted first runs alone, so that a test knows who waits.
    defer: (start) => start(),
    observe: { rejected: (reason) => rejected.push(reason) },
    ...options,
  })
  const submit = (
    domain: string,
    items: string[],
    more: { deadline?: number; signal?: AbortSignal } = {},
  ) => {
    const answer = scheduler.submit(
      items.map((item) => ({ domain, item })),
      more,
    )
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
  return { clock, runs, rejected, scheduler, submit, end, endAll }
}

/** An abort signal that tells how many listen to it. */
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

t.test('a full queue refuses, and the refusal changes nothing', async (t) => {
  const { scheduler, submit, rejected, endAll } = harness()
  const admitted = [
    submit('x', ['x']),
    ...['a', 'b'].map((domain) => submit(domain, ['1', '2', '3', '4', '5'])),
  ]
  t.equal(scheduler.length, 10)
  await t.rejects(submit('c', ['1']), {
    code: 'queue_full',
    status: 429,
    retryAfter: 1,
    message: /10 images/,
  })
  t.equal(scheduler.length, 10)
  t.equal(scheduler.lengthOf('c'), 0)
  t.same(rejected, ['queue_full'])
  await endAll()
  t.equal((await Promise.all(admitted)).flat().length, 11)
})

t.test('a full queue of one domain leaves the others in', async (t) => {
  const { submit, rejected, endAll } = harness()
  const admitted = [submit('x', ['x']), submit('a', ['1', '2', '3', '4', '5', '6'])]
  await t.rejects(submit('a', ['7']), { code: 'queue_full', message: /domain a .*is full: 6/ })
  admitted.push(submit('b', ['1']))
  t.same(rejected, ['domain_queue_full'])
  await endAll()
  await Promise.all(admitted)
})

t.test('a request is admitted whole or not at all', async (t) => {
  const { scheduler, submit, endAll } = harness()
  const admitted = [submit('x', ['x']), submit('a', ['1', '2', '3', '4'])]
  const mixed = [
    { domain: 'b', item: 'b' },
    { domain: 'a', item: '5' },
    { domain: 'a', item: '6' },
    { domain: 'a', item: '7' },
  ]
  await t.rejects(scheduler.submit(mixed), { code: 'queue_full' })
  t.equal(scheduler.lengthOf('b'), 0)
  t.equal(scheduler.length, 4)
  await endAll()
  await Promise.all(admitted)
})

t.test('a request that could never be queued is told so, not to come back', async (t) => {
  const { submit } = harness()
  const eleven = Array.from({ length: 11 }, String)
  await t.rejects(submit('a', eleven), { code: 'too_many_parts', status: 413, retryAfter: undefined })
  await t.rejects(submit('a', eleven.slice(0, 7)), {
    code: 'too_many_parts',
    message: /domain a at once; 6 fit/,
  })
})

t.test('Retry-After follows the measured run time', async (t) => {
  const { clock, submit, end, endAll } = harness()
  const admitted = [submit('x', ['x', 'x'])]
  clock.advance(4000)
  await end()
  admitted.push(submit('x', ['x']), submit('a', ['1', '2', '3', '4', '5', '6']), submit('b', ['1', '2']))
  // 2 s an entry, 8 wait. While one of a leaves, one of b does.
  await t.rejects(submit('b', ['3', '4', '5']), { code: 'queue_full', retryAfter: 16 })
  await t.rejects(submit('a', ['7']), { retryAfter: 16, message: /domain a/ })
  await endAll()
  await Promise.all(admitted)
})

t.test('a deadline that passes in the queue is told at once, by one timer', async (t) => {
  const { clock, runs, rejected, scheduler, submit, endAll } = harness()
  const running = submit('x', ['x'], { deadline: 5 })
  t.equal(clock.pending, 0, 'what runs at once needs no timer')
  const late = submit('a', ['late'], { deadline: 30 })
  const early = submit('a', ['early'], { deadline: 10 })
  const patient = submit('a', ['patient'], { deadline: 1000 })
  t.ok(clock.pending <= 2)
  clock.advance(10)
  await t.rejects(early, { code: 'deadline_exceeded', status: 504 })
  t.equal(scheduler.length, 2)
  clock.advance(20)
  await t.rejects(late, { code: 'deadline_exceeded' })
  await endAll()
  t.same(runs, [['x'], ['patient']])
  await Promise.all([running, patient])
  t.equal(clock.pending, 0)
  t.same(rejected, ['deadline_exceeded', 'deadline_exceeded'])
})

t.test('an entry whose deadline passed is not run, however late its timer', async (t) => {
  const clock = new (class extends ManualClock {
    override after() {
      return () => {}
    }
  })()
  const { runs, rejected, submit, endAll } = harness({ clock })
  const running = submit('x', ['x'])
  const late = submit('a', ['late'], { deadline: 10 })
  const stays = submit('a', ['stays'], { deadline: 100 })
  clock.advance(10)
  await endAll()
  await t.rejects(late, { code: 'deadline_exceeded' })
  await Promise.all([running, stays])
  t.same(runs, [['x'], ['stays']])
  t.same(rejected, ['deadline_exceeded'])
})

t.test('nor in a small batch of those that flood nobody', async (t) => {
  const clock = new (class extends ManualClock {
    override after() {
      return () => {}
    }
  })()
  const { runs, rejected, submit, endAll } = harness({ clock, runMs: (size) => size, maxBatch: () => 4 })
  const answers = [submit('x', ['x']), submit('flood', [...'123456'])]
  const late = submit('a', ['late'], { deadline: 10 })
  const lost = t.rejects(late, { code: 'deadline_exceeded' })
  answers.push(submit('b', ['b'], { deadline: 100 }))
  clock.advance(10)
  await endAll()
  await Promise.all([...answers, lost])
  t.same(runs.slice(0, 2), [['x'], ['b']])
  t.same(rejected, ['deadline_exceeded'])
})

t.test('a deadline that had passed before the request came', async (t) => {
  const { runs, submit } = harness()
  await t.rejects(submit('a', ['1'], { deadline: 0 }), { code: 'deadline_exceeded' })
  t.same(runs, [])
})

t.test('many deadlines, in any order, cost one timer and leave none', async (t) => {
  const { clock, scheduler, submit, endAll } = harness({ maxQueue: 5000, maxQueuePerDomain: 5000 })
  const running = submit('x', ['x'])
  const ended: number[] = []
  const answers = Array.from({ length: 3000 }, (_, i) => {
    const deadline = 1 + ((i * 7919) % 3000)
    return submit(`d${i % 7}`, [String(i)], { deadline }).catch(() => {
      ended.push(deadline)
    })
  })
  let timers = 0
  for (let ms = 0; ms < 1500; ms += 100) {
    timers = Math.max(timers, clock.pending)
    clock.advance(100)
    await settle()
    t.equal(scheduler.length, 3000 - ms - 100)
  }
  t.equal(timers, 1)
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
  const { runs, rejected, scheduler, submit, endAll } = harness()
  const running = submit('x', ['x'])
  const { signal, abort, listeners } = countingSignal()
  const gone = submit('a', ['a1', 'a2'], { signal })
  const stays = submit('a', ['stays'])
  t.equal(listeners(), 1, 'one listener a request')
  abort()
  await t.rejects(gone, { code: 'client_closed' })
  t.equal(listeners(), 0)
  t.equal(scheduler.length, 1)
  await endAll()
  t.same(runs, [['x'], ['stays']])
  await Promise.all([running, stays])
  t.same(rejected, ['client_closed'])
})

t.test('no listener outlives its request, however that ends', async (t) => {
  const { clock, scheduler, submit, endAll } = harness()
  const { signal, listeners } = countingSignal()
  const running = submit('x', ['x'], { signal })
  t.equal(listeners(), 0, 'what runs at once listens to nothing')
  const answered = submit('a', ['1'], { signal })
  const expired = submit('b', ['1'], { signal, deadline: 5 })
  t.equal(listeners(), 2)
  clock.advance(5)
  await t.rejects(expired)
  t.equal(listeners(), 1)
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

t.test('a client that has left already is not admitted', async (t) => {
  const { runs, submit } = harness()
  await t.rejects(submit('a', ['1'], { signal: AbortSignal.abort() }), { code: 'client_closed' })
  t.same(runs, [])
})

t.test('a request settles only when none of its entries runs any more', async (t) => {
  const { clock, scheduler, submit, end } = harness()
  let settled = false
  const request = submit('a', ['1', '2', '3', '4'], { deadline: 10 })
  request.catch(() => {
    settled = true
  })
  clock.advance(10)
  await settle()
  t.equal(scheduler.length, 0, 'what waited is gone')
  t.notOk(settled, 'what runs may still read what it was given')
  await end()
  await t.rejects(request, { code: 'deadline_exceeded' })
  t.notOk(scheduler.busy)
})
