/** When a service gives memory back: after its start, ever more seldom, and no more when it ends. */
import t from 'tap'
import { SpareMemory } from '../src/serve/spare-memory.js'
import { ManualClock } from './manual-clock.js'

/** Times at which memory was given back, ms, while the clock is moved in steps of half a second. */
async function times(spare: (clock: ManualClock, seen: () => Promise<void>) => SpareMemory, until: number) {
  const clock = new ManualClock()
  const found: number[] = []
  const begun = spare(clock, async () => void found.push(clock.now()))
  begun.begin()
  while (clock.now() < until) {
    await new Promise(setImmediate)
    clock.advance(500)
  }
  return { found, begun, clock }
}

t.test('at once, soon again, and at last once a minute', async (t) => {
  const { found } = await times(
    (clock, giveBackMemory) => new SpareMemory({ giveBackMemory }, clock),
    250_000,
  )
  t.same(found, [0, 1000, 3000, 7000, 15_000, 31_000, 63_000, 123_000, 183_000, 243_000])
})

t.test('no more once the service ends, also where it is being done then', async (t) => {
  const { found, begun, clock } = await times(
    (clock, giveBackMemory) => new SpareMemory({ giveBackMemory }, clock),
    2000,
  )
  begun.end()
  t.equal(clock.pending, 0)
  t.same(found, [0, 1000])

  let finish = () => {}
  const slow = new SpareMemory({ giveBackMemory: () => new Promise((resolve) => (finish = resolve)) }, clock)
  slow.begin()
  slow.end()
  finish()
  await new Promise(setImmediate)
  t.equal(clock.pending, 0)
})

t.test('nothing without the add-on', async (t) => {
  const { clock } = await times((clock) => new SpareMemory(undefined, clock), 5000)
  t.equal(clock.pending, 0)
})
