/** Pieces of work come one a turn; what finds no place is told so. */
import t from 'tap'
import { Turns } from '../src/turns.js'

/** Turns that go on when the test says so. */
function manual(most: number) {
  const deferred: (() => void)[] = []
  const turns = new Turns(most, (next) => deferred.push(next))
  const pass = async () => {
    deferred.shift()?.()
    await Promise.resolve()
  }
  return { turns, pass, deferred }
}

t.test('the first piece of a turn is done at once, the next ones in their own turns, in order', async (t) => {
  const { turns, pass } = manual(8)
  const done: string[] = []
  t.equal(turns.take(), 'now')
  for (const name of ['a', 'b']) void (turns.take() as Promise<void>).then(() => done.push(name))
  await Promise.resolve()
  t.same(done, [])
  await pass()
  t.same(done, ['a'])
  await pass()
  t.same(done, ['a', 'b'])
  t.not(turns.take(), 'now', 'the turn of b is taken')
})

t.test(
  'after a turn without work the next piece is done at once again, and nothing is left behind',
  async (t) => {
    const { turns, pass, deferred } = manual(8)
    t.equal(turns.take(), 'now')
    await pass()
    t.equal(deferred.length, 0)
    t.equal(turns.take(), 'now')
  },
)

t.test('no more wait than may', async (t) => {
  const { turns, pass } = manual(2)
  t.equal(turns.take(), 'now')
  t.type(turns.take(), Promise)
  t.type(turns.take(), Promise)
  t.equal(turns.take(), null)
  await pass()
  t.type(turns.take(), Promise, 'a place has come free')
})

t.test('turns are those of the event loop unless told otherwise', async (t) => {
  const turns = new Turns(1)
  t.equal(turns.take(), 'now')
  await turns.take()
  await new Promise(setImmediate)
  t.equal(turns.take(), 'now')
})
