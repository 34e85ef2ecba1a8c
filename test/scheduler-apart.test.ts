/** Entries that run faster among their kind: batches of one kind, no wait for company, and turns as ever. */
import t from 'tap'
import { Scheduler, type SchedulerOptions } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'

/**
 * Items begin with their domain. Domains in capitals are apart, each a kind; an item that ends in `*` is of another
 * version of its domain, which is not.
 */
function harness(options: Partial<SchedulerOptions<string, string>> = {}) {
  const clock = new ManualClock()
  const runs: string[] = []
  const ends: (() => void)[] = []
  const scheduler = new Scheduler<string, string>({
    run: (batch) => {
      runs.push(batch.join(' '))
      return new Promise((resolve) => ends.push(() => resolve(batch)))
    },
    apart: (item) => (/^[A-Z][^*]*$/.test(item) ? item[0] : undefined),
    clock,
    lanes: () => 1,
    maxBatch: () => 4,
    defer: (start) => start(),
    ...options,
  })
  const answers: Promise<unknown>[] = []
  const submit = (items: string, options: { principal?: string; deadline?: number } = {}) => {
    for (const item of items.split(' '))
      answers.push(scheduler.submit(item[0]!, item, options).catch((error) => error.code))
  }
  /** Ends the runs there are, one after the other, until none is left. */
  const rest = async () => {
    for (let end = ends.shift(); end; end = ends.shift()) {
      end()
      await settle()
    }
    return runs.slice(1)
  }
  submit('z0')
  return { clock, scheduler, submit, rest, runs, answers }
}

t.test('two or more of a kind make a batch of their own, at the turn of the first', async (t) => {
  const { submit, rest } = harness()
  submit('A1 b1 A2 c1 A3 b2')
  t.same(await rest(), ['A1 A2 A3', 'b1 c1 b2'])
})

t.test('batches of the others pass them over, and are as full', async (t) => {
  const { submit, rest } = harness()
  submit('b1 A1 c1 B1 A2 d1 B2 e1 f1')
  t.same(await rest(), ['b1 c1 d1 e1', 'A1 A2', 'B1 B2', 'f1'])
})

t.test('one without company runs among the others', async (t) => {
  const { submit, rest } = harness()
  submit('A1 b1 B1 c1')
  t.same(await rest(), ['A1 b1 B1 c1'])
})

t.test('a kind takes one batch at a time, and what is left of it has its next turn at the end', async (t) => {
  const { submit, rest } = harness({ few: () => 0 })
  submit('A1 A2 A3 A4 A5 A6 A7 b1 c1 B1 B2')
  t.same(await rest(), ['A1 A2 A3 A4', 'b1 c1', 'B1 B2', 'A5 A6 A7'])
})

t.test('other versions of a domain do not come into its batch', async (t) => {
  const { submit, rest } = harness()
  submit('A1 A2* A3 b1')
  t.same(await rest(), ['A1 A3', 'A2* b1'])
})

t.test('a kind gathers entries of all principals, and each of them has had a turn', async (t) => {
  const { submit, rest } = harness()
  submit('A1 b1', { principal: 'p' })
  submit('A2 c1 c2', { principal: 'q' })
  submit('d1 d2', { principal: 'r' })
  t.same(await rest(), ['A1 A2', 'b1 c1 d1 d2', 'c2'])
})

t.test('what becomes of entries is asked when a batch is formed', async (t) => {
  let apart = true
  const { submit, rest } = harness({ apart: (item) => (apart ? item[0] : undefined) })
  submit('A1 b1 A2 c1')
  apart = false
  t.same(await rest(), ['A1 b1 A2 c1'])
})

t.test('a batch whose deadlines have passed makes room for the next one', async (t) => {
  const late = new ManualClock()
  // Timers that never fire, so that only the look at the clock tells.
  const clock = { now: () => late.now(), date: () => late.date(), after: () => () => {} }
  const { submit, rest, answers, scheduler } = harness({ clock })
  submit('A1 A2', { deadline: 10 })
  submit('b1 c1')
  late.advance(20)
  t.same(await rest(), ['b1 c1'])
  t.same((await Promise.all(answers)).slice(1, 3), ['deadline_exceeded', 'deadline_exceeded'])
  t.equal(scheduler.length, 0)
})
