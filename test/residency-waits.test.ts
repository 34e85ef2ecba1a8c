import t from 'tap'
import { type WaitLimit, within } from '../src/residency/waits.js'
import { ManualClock, settle } from './manual-clock.js'
import { track } from './registry-rig.js'

/** A task that ends when told to, and what became of its late value. */
function start(limit: Partial<WaitLimit> = {}) {
  const clock = new ManualClock()
  const undone: string[] = []
  let signal!: AbortSignal
  const task = { resolve(_: string): void {}, reject(_: Error): void {} }
  const wait = track(
    within(
      { clock, ms: 100, expired: () => new Error('too late'), client: undefined, ...limit },
      (given) => {
        signal = given
        return new Promise<string>((resolve, reject) => {
          Object.assign(task, { resolve, reject })
        })
      },
      (late) => void undone.push(late),
    ),
  )
  return { clock, undone, signal, task, wait }
}

t.test('a wait answers as its task does, and leaves no timer behind', async (t) => {
  const kept = start()
  kept.task.resolve('row')
  await settle()
  t.match(kept.wait, { state: 'done', value: 'row' })
  const failed = start()
  failed.task.reject(new Error('disk'))
  await settle()
  t.match(failed.wait, { state: 'failed', error: { message: 'disk' } })
  t.equal(kept.clock.pending + failed.clock.pending, 0)
  t.same([kept.undone, failed.undone], [[], []])
  t.notOk(kept.signal.aborted)
})

t.test('past its time a wait fails at once, its task is told, and a late value is undone', async (t) => {
  const { clock, undone, signal, task, wait } = start()
  clock.advance(99)
  await settle()
  t.equal(wait.state, 'pending')
  clock.advance(1)
  t.ok(signal.aborted)
  t.match(signal.reason, { message: 'too late' })
  await settle()
  t.match(wait.error, { message: 'too late' })
  task.resolve('row')
  await settle()
  t.same(undone, ['row'])
  t.match(wait, { state: 'failed' })
})

t.test(
  'a client that leaves ends its wait, also in the moment when the task has just answered',
  async (t) => {
    const client = new AbortController()
    const { clock, undone, task, wait } = start({ client: client.signal })
    task.resolve('row')
    client.abort()
    await settle()
    t.match(wait.error, { code: 'client_closed', status: 499 })
    t.same(undone, ['row'], 'a reference is not lost')
    t.equal(clock.pending, 0)
  },
)

t.test('a wait without any time left fails with the next turn of the timers', async (t) => {
  const { clock, wait } = start({ ms: -5 })
  clock.advance(0)
  await settle()
  t.match(wait.error, { message: 'too late' })
})
