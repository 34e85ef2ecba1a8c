/** Schedulers of several families share places for runs: idle ones hold none, and busy ones take turns by time. */
import t from 'tap'
import { Places } from '../src/scheduler/places.js'
import { Scheduler } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'

/** A family whose runs take `ms`, on a clock that the test moves. */
class FamilyOf {
  readonly scheduler: Scheduler<number, number>
  /** Runs that have ended. */
  ended = 0
  /** Runs now, and most at once so far. */
  running = 0
  most = 0
  /** Milliseconds that its runs had a place. */
  ms = 0

  constructor(
    clock: ManualClock,
    places: Places,
    name: string,
    { ms, lanes = 2 }: { ms: number; lanes?: number },
  ) {
    this.scheduler = new Scheduler({
      run: async (batch) => {
        this.running++
        this.most = Math.max(this.most, this.running)
        await new Promise<void>((resolve) => clock.after(ms, resolve))
        this.running--
        this.ended++
        this.ms += ms
        return batch
      },
      clock,
      lanes: () => lanes,
      maxBatch: () => 4,
      places: (offered) => places.join(name, offered),
    })
  }

  /** So many images wait from now on. Resolves when all are answered. */
  submit(images: number): Promise<unknown> {
    return Promise.all(Array.from({ length: images }, (_, index) => this.scheduler.submit('domain', index)))
  }
}

async function pass(clock: ManualClock, ms: number, steps = ms): Promise<void> {
  for (let step = 0; step < steps; step++) {
    await settle()
    clock.advance(ms / steps)
  }
  await settle()
}

t.test('one family alone has all places, and an idle one holds none', async (t) => {
  const clock = new ManualClock()
  const places = new Places(2, clock)
  const busy = new FamilyOf(clock, places, 'busy', { ms: 10 })
  const idle = new FamilyOf(clock, places, 'idle', { ms: 10 })
  await Promise.all([pass(clock, 10), idle.submit(1)])
  void busy.submit(80)
  await pass(clock, 100)
  t.equal(busy.most, 2)
  t.equal(busy.ended, 20)
})

t.test('no more runs at once than there are places, whoever floods', async (t) => {
  const clock = new ManualClock()
  const places = new Places(2, clock)
  const families = ['a', 'b', 'c'].map((name) => new FamilyOf(clock, places, name, { ms: 7 }))
  for (const family of families) void family.submit(100)
  for (let step = 0; step < 300; step++) {
    await pass(clock, 1)
    const running = families.reduce((sum, family) => sum + family.running, 0)
    t.ok(running <= 2, `${running} at once`)
  }
  for (const { ended } of families) t.ok(ended >= 24, `${ended} of 25 batches`)
})

t.test('beside a flood of one family another waits for one run at most', async (t) => {
  const clock = new ManualClock()
  const places = new Places(1, clock)
  const flood = new FamilyOf(clock, places, 'flood', { ms: 50, lanes: 1 })
  const quiet = new FamilyOf(clock, places, 'quiet', { ms: 10, lanes: 1 })
  void flood.submit(4000)
  for (let round = 0; round < 10; round++) {
    await pass(clock, 37)
    const since = clock.now()
    let waited = Infinity
    void quiet.scheduler.submit('domain', round).then(() => {
      waited = clock.now() - since
    })
    await pass(clock, 70)
    t.ok(waited <= 50 + 10 + 1, `${waited} ms`)
  }
  t.ok(flood.ended >= 10, 'and the flood goes on')
})

t.test('two that flood have the same time, however long their runs are', async (t) => {
  const clock = new ManualClock()
  const places = new Places(2, clock)
  const long = new FamilyOf(clock, places, 'long', { ms: 40 })
  const short = new FamilyOf(clock, places, 'short', { ms: 5 })
  void long.submit(1000)
  void short.submit(8000)
  await pass(clock, 2000)
  const ratio = long.ms / short.ms
  t.ok(ratio > 0.9 && ratio < 1.1, `${long.ms} and ${short.ms} ms`)
})

t.test('a run that hangs gives its place up after a while', async (t) => {
  const clock = new ManualClock()
  const places = new Places(1, clock)
  const hangs = new FamilyOf(clock, places, 'hangs', { ms: 1e9, lanes: 1 })
  const other = new FamilyOf(clock, places, 'other', { ms: 10, lanes: 1 })
  void hangs.submit(1)
  await pass(clock, 1)
  const answers = other.submit(3)
  await pass(clock, 4000, 10)
  t.equal(other.ended, 0)
  await pass(clock, 1100, 110)
  await answers
  t.equal(other.ended, 1)
})

t.test('one that gives up while it waits for a place leaves it to the next', async (t) => {
  const clock = new ManualClock()
  const places = new Places(1, clock)
  const [first, second, third] = ['1', '2', '3'].map(
    (name) => new FamilyOf(clock, places, name, { ms: 10, lanes: 1 }),
  )
  void first!.submit(1)
  await pass(clock, 1)
  const controller = new AbortController()
  const left = second!.scheduler.submit('domain', 0, { signal: controller.signal })
  await settle()
  const answer = third!.submit(1)
  await settle()
  controller.abort()
  await t.rejects(left, { code: 'client_closed' })
  await pass(clock, 25)
  await answer
  t.match([first!.ended, second!.ended, third!.ended], [1, 0, 1])
})
