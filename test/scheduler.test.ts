/** Batches leave at once when nothing runs, fill while something does, and are fair between domains. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { Scheduler, type SchedulerOptions } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'

interface Run {
  batch: string[]
  finish(answers?: (string | Error)[]): Promise<void>
  fail(error: Error): Promise<void>
}

/** A scheduler whose runs a test ends by hand. An item is its own answer, in upper case. */
function harness(options: Partial<SchedulerOptions<string, string>> = {}) {
  const clock = new ManualClock()
  const runs: Run[] = []
  const batches: [size: number, domains: number][] = []
  const waits: number[] = []
  const scheduler = new Scheduler<string, string>({
    run: (batch) =>
      new Promise((resolve, reject) => {
        runs.push({
          batch,
          async finish(answers = batch.map((item) => item.toUpperCase())) {
            resolve(answers)
            await settle()
          },
          async fail(error) {
            reject(error)
            await settle()
          },
        })
      }),
    clock,
    lanes: () => 1,
    maxBatch: () => 4,
    // What is submitted first runs alone, so that a test knows who waits.
    defer: (start) => start(),
    observe: {
      batch: (size, domains) => batches.push([size, domains]),
      queued: (ms) => waits.push(ms),
    },
    ...options,
  })
  /** Each item is an entry of the domain. */
  const submit = (domain: string, ...items: string[]) =>
    Promise.all(items.map((item) => scheduler.submit(domain, item)))
  return { clock, runs, batches, waits, scheduler, submit }
}

t.test('an idle scheduler runs an entry at once, alone', async (t) => {
  const { scheduler, runs, submit, batches, waits } = harness()
  const answer = submit('a', 'x')
  t.same(runs[0]?.batch, ['x'])
  t.equal(scheduler.length, 0)
  t.ok(scheduler.busy)
  await runs[0]?.finish()
  t.same(await answer, [{ value: 'X', queueMs: 0 }])
  t.notOk(scheduler.busy)
  t.same([batches, waits], [[[1, 1]], [0]])
})

t.test('what is submitted in one turn to an idle scheduler leaves in one batch', async (t) => {
  const { runs, scheduler, submit } = harness({ defer: queueMicrotask })
  const answers = ['a', 'b', 'c'].map((domain) => Promise.resolve().then(() => submit(domain, domain)))
  await settle()
  t.same(
    runs.map(({ batch }) => batch),
    [['a', 'b', 'c']],
  )
  await runs[0]?.finish()
  await Promise.all(answers)

  const client = new AbortController()
  const gone = scheduler.submit('a', 'gone', { signal: client.signal })
  const stays = submit('a', 'stays')
  const drain = scheduler.drain()
  client.abort()
  await t.rejects(gone, { code: 'client_closed' }, 'who leaves before the start is not run')
  await settle()
  t.same(runs[1]?.batch, ['stays'], 'and drain waits for who came before it')
  await runs[1]?.finish()
  await Promise.all([stays, drain])
})

t.test('quiet domains run in a small batch if it takes at most half the time of a full one', async (t) => {
  const { runs, submit } = harness({ few: () => 0, runMs: (size) => 0.5 + size })
  const answers = [submit('z', 'first'), submit('flood', ...'123456'), submit('a', 'a')]
  await runs[0]?.finish()
  t.same(runs[1]?.batch, ['a'], 'two that came before it are still in the line')
  answers.push(submit('b', 'b'))
  await runs[1]?.finish()
  t.same(runs[2]?.batch, ['1', '2', 'b', '3'], 'never twice in a row')
  answers.push(submit('c', 'c'))
  await runs[2]?.finish()
  t.same(runs[3]?.batch, ['4', '5', 'c', '6'], 'nor where all that waits fits into one batch')
  await runs[3]?.finish()
  await Promise.all(answers)
})

t.test('quiet domains share a full batch if a small one takes as long, or if no time is known', async (t) => {
  const times: ((size: number) => number | null)[] = [(size) => 20 + size, () => null]
  for (const runMs of times) {
    const { runs, submit } = harness({ few: () => 0, runMs })
    const answers = [submit('a', 'first'), submit('flood', ...'123456'), submit('b', 'b')]
    await runs[0]?.finish()
    t.same(runs[1]?.batch, ['1', '2', 'b', '3'])
    await runs[1]?.finish()
    await runs[2]?.finish()
    await Promise.all(answers)
  }
})

t.test(
  'quiet domains share a full batch if an image in a small one costs much more, as on a GPU',
  async (t) => {
    const { runs, submit } = harness({ few: () => 0, maxBatch: () => 8, runMs: (size) => 1 + size / 4 })
    const answers = [submit('a', 'first'), submit('flood', ...'123456789ABCDEF'), submit('b', 'b')]
    await runs[0]?.finish()
    t.same(
      runs[1]?.batch,
      ['1', '2', 'b', '3', '4', '5', '6', '7'],
      '1.25 of 3 ms, for an eighth of the images',
    )
    for (const run of [1, 2]) await runs[run]?.finish()
    await Promise.all(answers)
  },
)

t.test('of many quiet domains, as many run as half the time of a full batch allows', async (t) => {
  const { runs, submit } = harness({ few: () => 0, runMs: (size) => 0.3 + size })
  const answers = [submit('a', 'first'), submit('flood', ...'123456')]
  for (const domain of ['b', 'c', 'd']) answers.push(submit(domain, domain))
  await runs[0]?.finish()
  t.same(runs[1]?.batch, ['b'], 'two would take 2.3 of 4.3 ms')
  await runs[1]?.finish()
  t.same(runs[2]?.batch, ['1', '2', 'c', 'd'])
  for (const run of [2, 3]) await runs[run]?.finish()
  await Promise.all(answers)
})

t.test('without a flood, the entries that have waited longest are in the next batch', async (t) => {
  const { runs, submit } = harness({ runMs: (size) => size })
  const answers = [...'abcdefg'].map((domain) => submit(domain, domain))
  await runs[0]?.finish()
  t.same(runs[1]?.batch, ['b', 'c', 'd', 'e'])
  for (const run of [1, 2]) await runs[run]?.finish()
  await Promise.all(answers)
})

t.test('while a batch runs the next one fills, up to maxBatch, and leaves when it ends', async (t) => {
  const { scheduler, clock, runs, submit } = harness()
  const first = submit('a', 'first')
  const rest = ['b', 'c', 'd', 'e', 'f'].map((item) => submit('a', item))
  t.equal(runs.length, 1)
  t.equal(scheduler.length, 5)
  clock.advance(7)
  await runs[0]?.finish()
  await first
  t.same(runs[1]?.batch, ['b', 'c', 'd', 'e'])
  clock.advance(3)
  await runs[1]?.finish()
  t.same(runs[2]?.batch, ['f'])
  await runs[2]?.finish()
  const outcomes = (await Promise.all(rest)).flat()
  t.same(
    outcomes.map(({ queueMs }) => queueMs),
    [7, 7, 7, 7, 10],
  )
  t.equal(scheduler.length, 0)
})

t.test('maxBatch is asked before each batch, and is at least one', async (t) => {
  let size = 1
  const { runs, submit } = harness({ maxBatch: () => size })
  const answers = ['x', 'a', 'b', 'c', 'd'].map((item) => submit('a', item))
  size = 3
  await runs[0]?.finish()
  t.same(runs[1]?.batch, ['a', 'b', 'c'])
  size = 0
  await runs[1]?.finish()
  t.same(runs[2]?.batch, ['d'])
  await runs[2]?.finish()
  await Promise.all(answers)
})

t.test('a batch mixes domains, two entries of each in turn', async (t) => {
  const { runs, submit, batches } = harness({ few: () => 0 })
  const answers = [
    submit('x', 'x'),
    submit('a', 'a1', 'a2', 'a3', 'a4'),
    submit('b', 'b1', 'b2'),
    submit('c', 'c1'),
  ]
  await runs[0]?.finish()
  t.same(runs[1]?.batch, ['a1', 'a2', 'b1', 'b2'])
  await runs[1]?.finish()
  t.same(runs[2]?.batch, ['c1', 'a3', 'a4'])
  await runs[2]?.finish()
  await Promise.all(answers)
  t.same(batches, [
    [1, 1],
    [4, 2],
    [3, 2],
  ])
})

t.test('a second entry of a domain keeps the place it came to, a third waits for one', async (t) => {
  const { runs, scheduler, submit } = harness({ few: () => 0, maxBatch: () => 2 })
  const answers = ['x', 'a1', 'b1', 'a2', 'a3', 'c1', 'd1'].map((item) => submit(item[0]!, item))
  for (let i = 0; scheduler.busy; i++) await runs[i]?.finish()
  t.same(
    runs.map(({ batch }) => batch),
    [['x'], ['a1', 'b1'], ['a2', 'c1'], ['d1', 'a3']],
  )
  await Promise.all(answers)
})

t.test('where entries run one by one, each domain has one place', async (t) => {
  const { runs, scheduler, submit } = harness({ few: () => 0, maxBatch: () => 1 })
  const answers = ['x', 'a1', 'a2', 'b1'].map((item) => submit(item[0]!, item))
  for (let i = 0; scheduler.busy; i++) await runs[i]?.finish()
  t.same(
    runs.flatMap(({ batch }) => batch),
    ['x', 'a1', 'b1', 'a2'],
  )
  await Promise.all(answers)
})

t.test('an entry that leaves gives its place to the next one of its domain', async (t) => {
  const { runs, scheduler, submit } = harness({ few: () => 0, maxBatch: () => 2 })
  const client = new AbortController()
  const answers = [submit('x', 'x'), submit('a', 'a1')]
  const gone = scheduler.submit('a', 'gone', { signal: client.signal })
  answers.push(submit('a', 'a3'), submit('b', 'b1'))
  client.abort()
  await t.rejects(gone, { code: 'client_closed' })
  t.equal(scheduler.length, 3)
  for (let i = 0; scheduler.busy; i++) await runs[i]?.finish()
  t.same(
    runs.map(({ batch }) => batch),
    [['x'], ['a1', 'b1'], ['a3']],
  )
  await Promise.all(answers)
})

t.test('a domain that floods delays another by the running batch only (pain 13)', async (t) => {
  const { runs, scheduler, submit } = harness({ few: () => 0 })
  const flood = Array.from({ length: 400 }, (_, i) => submit('flood', `f${i}`))
  for (let round = 0; round < 20; round++) {
    const quiet = submit('quiet', `q${round}`)
    await runs.at(-1)?.finish()
    t.ok(runs.at(-1)?.batch.includes(`q${round}`), `round ${round}: in the very next batch`)
    await runs.at(-1)?.finish()
    t.same((await quiet)[0]?.value, `Q${round}`)
  }
  while (scheduler.busy) await runs.at(-1)?.finish()
  t.equal((await Promise.all(flood)).length, 400)
})

t.test('few entries run in order of arrival, whatever their domains', async (t) => {
  const { runs, scheduler, submit } = harness({ maxBatch: () => 2, few: () => 4 })
  const answers = ['x', 'a1', 'a2', 'a3', 'b1'].map((item) => submit(item[0]!, item))
  await runs[0]?.finish()
  t.same(runs[1]?.batch, ['a1', 'a2'])
  answers.push(...['a4', 'a5', 'c1'].map((item) => submit(item[0]!, item)))
  await runs[1]?.finish()
  t.same(runs[2]?.batch, ['b1', 'a3'], 'of more than four, two of a domain are in the line')
  for (let i = 2; scheduler.busy; i++) await runs[i]?.finish()
  t.same(
    runs.slice(3).map(({ batch }) => batch),
    [['a4', 'a5'], ['c1']],
    'and then few again',
  )
  await Promise.all(answers)
})

t.test('with more domains than a batch holds every one gets the same share', async (t) => {
  const { runs, submit } = harness({ few: () => 0 })
  const answers = [submit('first', 'first')]
  for (let d = 0; d < 10; d++) answers.push(submit(`d${d}`, ...Array.from({ length: 4 }, () => `d${d}`)))
  const served = new Map<string, number>()
  await runs[0]?.finish()
  for (let i = 1; i <= 5; i++) {
    for (const item of runs[i]!.batch) served.set(item, (served.get(item) ?? 0) + 1)
    await runs[i]?.finish()
  }
  t.same([...served.values()], Array(10).fill(2))
  for (let i = 6; i < runs.length; i++) await runs[i]?.finish()
  await Promise.all(answers)
})

t.test('a run that throws fails its batch alone', async (t) => {
  const { runs, submit } = harness()
  const first = submit('a', 'x')
  const second = submit('b', 'y')
  await Promise.all([
    t.rejects(first, { code: 'inference_failed', status: 500, cause: { message: 'boom' } }),
    runs[0]?.fail(new Error('boom')),
  ])
  await runs[1]?.finish()
  t.equal((await second)[0]?.value, 'Y')
})

t.test('a FacetError of the run is passed on, with its Retry-After', async (t) => {
  const { runs, submit } = harness()
  const down = new FacetError('engine_restarting', 'The engine is restarting.', { retryAfter: 1 })
  await Promise.all([
    t.rejects(submit('a', 'x'), { code: 'engine_restarting', retryAfter: 1 }),
    runs[0]?.fail(down),
  ])
})

t.test('a wrong number of answers fails the batch', async (t) => {
  const { runs, submit } = harness()
  await Promise.all([t.rejects(submit('a', 'x'), { code: 'inference_failed' }), runs[0]?.finish(['X', 'Y'])])
})

t.test('an observer that throws does not stop the scheduler', async (t) => {
  let broken = true
  const { runs, submit } = harness({
    observe: {
      batch() {
        if (broken) throw new Error('metrics')
      },
    },
  })
  await t.rejects(submit('a', 'x'), { code: 'inference_failed' })
  broken = false
  const answer = submit('a', 'y')
  await runs[0]?.finish()
  t.equal((await answer)[0]?.value, 'Y')
})

t.test('an entry that fails fails alone', async (t) => {
  const { runs, submit } = harness({ maxBatch: () => 3, defer: queueMicrotask })
  const [first, bad, last] = ['a0', 'a1', 'a2'].map((item) => submit('a', item))
  await settle()
  t.same(runs[0]?.batch, ['a0', 'a1', 'a2'])
  const error = new FacetError('inference_failed', 'Not finite.')
  await Promise.all([t.rejects(bad!, error), runs[0]?.finish(['A0', error, 'A2'])])
  t.equal((await first)![0]?.value, 'A0')
  t.equal((await last)![0]?.value, 'A2')
})

t.test('drain: what is queued is answered, what comes is refused', async (t) => {
  const { runs, scheduler, submit } = harness()
  const answers = [submit('a', 'x'), submit('a', 'y')]
  let drained = false
  const drain = scheduler.drain().then(() => {
    drained = true
  })
  await t.rejects(submit('a', 'z'), { code: 'draining', status: 503, retryAfter: 1 })
  await runs[0]?.finish()
  t.notOk(drained)
  await runs[1]?.finish()
  await drain
  t.equal((await Promise.all(answers)).length, 2)
  await scheduler.drain()
})

t.test('drain of an idle scheduler resolves at once', async (t) => {
  const { scheduler } = harness()
  await scheduler.drain()
  t.notOk(scheduler.busy)
})

t.test('rejectAll fails what waits and leaves the running batch alone', async (t) => {
  const { runs, scheduler, submit } = harness({ maxBatch: () => 1 })
  const running = submit('a', 'x')
  const error = new FacetError('engine_restarting', 'The engine is restarting.', { retryAfter: 1 })
  const waiting = [submit('a', 'y', 'z'), submit('b', 'y')].map((answer) => t.rejects(answer, error))
  scheduler.rejectAll(error)
  await Promise.all(waiting)
  t.equal(scheduler.length, 0)
  await runs[0]?.finish()
  t.equal((await running)[0]?.value, 'X')
  t.equal(runs.length, 1)
})

t.test('if fewer images make a shorter run, a free lane leaves the busy lanes their share', async (t) => {
  const rest = async (runMs: (size: number) => number | null) => {
    const { submit, runs } = harness({ lanes: () => 2, defer: queueMicrotask, runMs })
    const all = [submit('a', 'a1'), submit('b', 'b1')]
    await settle()
    all.push(submit('c', 'c1', 'c2'), submit('d', 'd1', 'd2'))
    await settle()
    await runs[0]!.finish()
    const { batch } = runs[2]!
    for (let next = 1; next < runs.length; next++) await runs[next]!.finish()
    await Promise.all(all)
    return batch
  }
  t.same(await rest((size) => 10 * size), ['c1', 'c2'], 'a CPU')
  t.same(await rest((size) => 10 + size), ['c1', 'c2', 'd1', 'd2'], 'a GPU')
  t.same(await rest(() => null), ['c1', 'c2', 'd1', 'd2'], 'not known yet')
})

t.test('no free lane stays idle beside batches of several', async (t) => {
  const { submit, runs } = harness({ lanes: () => 4, defer: queueMicrotask, runMs: (size) => size })
  const five = submit('a', 'a1', 'a2', 'a3', 'a4', 'a5')
  await settle()
  t.same(
    runs.map(({ batch }) => batch.length),
    [2, 1, 1, 1],
  )
  for (const run of runs) await run.finish()
  await five
})

t.test('free lanes share what waits, and a batch leaves for each that gets free', async (t) => {
  const { scheduler, submit, runs } = harness({ few: () => 0, lanes: () => 2, defer: queueMicrotask })
  const first = submit('a', 'a1', 'a2', 'a3')
  const second = submit('b', 'b1')
  await settle()
  t.same(
    runs.map(({ batch }) => batch),
    [
      ['a1', 'a2'],
      ['b1', 'a3'],
    ],
    'half each, although one batch would hold all',
  )
  const third = submit('c', 'c1', 'c2')
  const ended = scheduler.drain()
  await settle()
  t.equal(runs.length, 2, 'no lane is free')
  await runs[1]!.finish()
  t.same(runs[2]?.batch, ['c1', 'c2'], 'the first that is takes what waits')
  await runs[2]!.finish()
  t.equal((await third)[1]?.value, 'C2', 'answered while the first batch still runs')
  t.ok(scheduler.busy)
  await runs[0]!.finish()
  t.same(
    (await first).map(({ value }) => value),
    ['A1', 'A2', 'A3'],
  )
  await Promise.all([second, ended])
  t.notOk(scheduler.busy)
})

t.test('a hundred thousand entries of a thousand domains pass, and nothing stays behind', async (t) => {
  let largest = 0
  const scheduler = new Scheduler<number, number>({
    run: async (batch) => {
      largest = Math.max(largest, batch.length)
      return batch
    },
    clock: new ManualClock(),
    lanes: () => 3,
    maxBatch: () => 32,
  })
  const answers = Array.from({ length: 100_000 }, (_, item) => {
    return scheduler.submit(`d${item % 1000}`, item)
  })
  const values = (await Promise.all(answers)).map((outcome) => outcome.value)
  t.ok(values.every((value, i) => value === i))
  t.equal(largest, 32)
  t.equal(scheduler.length, 0)
})
