/** Long work in slices, with a clock and an event loop that the test moves on. */
import t from 'tap'
import { finish, type Steps, Turns } from '../src/concurrency/turns.js'

/** Work of so many milliseconds, a millisecond a step. */
function rig(sliceMs = 3) {
  let now = 0
  const deferred: (() => void)[] = []
  const turns = new Turns({ sliceMs, now: () => now, defer: (next) => void deferred.push(next) })
  const log: string[] = []
  function* work(name: string, ms: number): Steps<string> {
    try {
      for (let i = 0; i < ms; i++) {
        now++
        log.push(name)
        yield
      }
      return name
    } finally {
      log.push(`${name} ended`)
    }
  }
  /** The event loop turns once; returns what ran. */
  const turn = async () => {
    log.length = 0
    for (const next of deferred.splice(0)) next()
    await new Promise(setImmediate)
    return log.join(' ')
  }
  return { turns, work, log, turn, waits: () => deferred.length > 0 }
}

t.test('short work ends at once', async (t) => {
  const { turns, work, log } = rig()
  const done = turns.run(work('a', 2))
  t.equal(log.join(' '), 'a a a ended')
  t.equal(await done, 'a')
})

t.test('long work is interrupted, and works take turns', async (t) => {
  const { turns, work, log, turn } = rig()
  const results = Promise.all([turns.run(work('a', 5)), turns.run(work('b', 4)), turns.run(work('c', 1))])
  t.equal(log.join(' '), 'a a a', 'nothing more runs in the turn in which a request came')
  t.equal(await turn(), 'a a a ended b')
  t.equal(await turn(), 'c c ended b b')
  t.equal(await turn(), 'b b ended')
  t.same(await results, ['a', 'b', 'c'])
})

t.test('the owner of much work does not delay the work of another', async (t) => {
  const { turns, work, turn } = rig()
  const flood = Array.from({ length: 20 }, () => turns.run(work('a', 4), { owner: 'flood' }))
  await turn()
  const quiet = turns.run(work('b', 4), { owner: 'quiet' })
  t.equal(await turn(), 'b b b', 'who had less time is next')
  t.equal(await turn(), 'a a a')
  t.equal(await turn(), 'b b ended a a')
  t.equal(await quiet, 'b')
  for (let left = 30; left > 0; left--) await turn()
  t.equal((await Promise.all(flood)).length, 20)
})

t.test('many short works of one turn share its time', async (t) => {
  const { turns, work, log, turn, waits } = rig()
  const results = ['a', 'b', 'c', 'd'].map((name) => turns.run(work(name, 1)))
  t.equal(log.join(' '), 'a a ended b b ended c')
  t.equal(await turn(), 'c ended d d ended')
  t.same(await Promise.all(results), ['a', 'b', 'c', 'd'])
  await turn()
  t.notOk(waits(), 'an idle thread is left alone')
})

t.test(
  'work that is not wanted any more ends before its next slice, and puts away what it has',
  async (t) => {
    const { turns, work, turn } = rig()
    let left = false
    const check = () => {
      if (left) throw new Error('left')
    }
    const result = turns.run(work('a', 9), { check })
    t.equal(await turn(), 'a a a')
    left = true
    const failed = t.rejects(result, { message: 'left' })
    t.equal(await turn(), 'a ended')
    await failed
  },
)

t.test('an error ends the work alone', async (t) => {
  const { turns, work, turn } = rig()
  function* broken(): Steps<never> {
    yield
    throw new Error('broken')
  }
  const long = turns.run(work('a', 4))
  const failed = t.rejects(turns.run(broken()), { message: 'broken' })
  await turn()
  await failed
  t.equal(await long, 'a')
})

t.test('work at once, to its end', (t) => {
  const { work } = rig()
  t.equal(finish(work('a', 100)), 'a')
  t.end()
})
