import t from 'tap'
import { Fault } from './faulty-worker-control.mjs'
import {
  family,
  randomPixels,
  randomRow,
  runtime,
  sessionsOf,
  startEngine,
  wholeRowBytes,
} from './engine-rig.js'
import { ManualClock } from './manual-clock.js'
import { until } from './until.js'

const base = () => ({ pixels: randomPixels(1, 1), rows: Int32Array.of(0) })
const restarting = { code: 'engine_restarting', status: 503, retryAfter: 1 }

for (const [how, fault, reason] of [
  ['exits', Fault.exits, /exit code 9/],
  ['throws outside of any request', Fault.crashes, /thrown outside of any request/],
] as const) {
  t.test(`a worker that ${how} in a run fails what is pending with 503 and is replaced`, async (t) => {
    const clock = new ManualClock()
    const { engine, control } = await startEngine(t, { clock })
    await engine.writeRow(1, randomRow(1, 4))
    const down = new Promise<Error>((resolve) => engine.once('down', resolve))
    const up = new Promise<number>((resolve) => engine.once('up', resolve))

    control.nextRun(fault)
    // Native rows are written without a lane.
    const write = () => (runtime === 'native' ? [] : [engine.writeRow(2, randomRow(2, 4))])
    const pending = [engine.run(base(), 1), engine.run(base(), 1), ...write()]
    for (const outcome of await Promise.allSettled(pending)) {
      t.match(outcome, { status: 'rejected', reason: restarting })
    }
    t.match((await down).message, reason)
    t.equal(engine.state, 'restarting')
    await t.rejects(engine.run(base(), 1), restarting, 'while it is down')
    await t.rejects(engine.writeRow(1, randomRow(1, 4)), restarting)
    await t.rejects(engine.probe(), restarting)
    engine.clear(1)

    clock.advance(100)
    t.equal(await up, 2)
    t.equal(engine.state, 'ready')
    t.equal(engine.generation, 2)
    await engine.probe()
    await t.rejects(engine.run(base(), 1), restarting, 'rows of an older generation')
    await t.rejects(engine.run({ ...base(), rows: Int32Array.of(1) }, 2), { code: 'inference_failed' })
    await engine.writeRow(1, randomRow(1, 4))
    t.equal((await engine.run({ ...base(), rows: Int32Array.of(1) }, 2)).logits[0]!.length, 4)
  })
}

t.test('memory that the rows of a lost engine took is available to the next engine', async (t) => {
  const memory = wholeRowBytes(family.base.head!.classes) + 2 * wholeRowBytes(4)
  const clock = new ManualClock()
  const { engine, control } = await startEngine(t, { clock, bankMode: 'shared', memory })
  for (const row of [1, 2]) await engine.writeRow(row, randomRow(row, 4))
  const up = new Promise<number>((resolve) => engine.once('up', resolve))
  const down = new Promise((resolve) => engine.once('down', resolve))
  control.nextRun(Fault.exits)
  await t.rejects(engine.run(base(), 1), restarting)
  await down
  clock.advance(100)
  await up
  for (const row of [3, 4]) await engine.writeRow(row, randomRow(row, 4))
  t.equal((await engine.run({ ...base(), rows: Int32Array.of(4) }, 2)).logits[0]!.length, 4)
})

t.test('a lane that dies takes no run of another with it, and both are replaced', async (t) => {
  const clock = new ManualClock()
  const { engine, control } = await startEngine(t, { clock, bankMode: 'shared', lanes: 2 })
  await engine.writeRow(1, randomRow(1, 4))
  const up = new Promise<number>((resolve) => engine.once('up', resolve))
  control.nextRun(Fault.waits)
  const other = engine.run({ ...base(), rows: Int32Array.of(1) }, 1)
  await control.inRun()
  const down = new Promise((resolve) => engine.once('down', resolve))
  // `nextRun` would let the held run go on.
  control.addFault(Fault.exits)
  await t.rejects(engine.run(base(), 1), restarting)
  await down
  clock.advance(100)
  t.equal(engine.state, 'restarting', 'not before the other lane has answered')
  control.release()
  t.equal((await other).logits[0]!.length, 4)
  t.equal(await up, 2)
  await engine.allLanesReady()
  t.equal(control.sessions, 2 * sessionsOf(2), 'everything anew')
  await t.rejects(engine.run({ ...base(), rows: Int32Array.of(1) }, 2), { code: 'inference_failed' })
  await engine.writeRow(1, randomRow(1, 4))
  t.equal((await engine.run({ ...base(), rows: Int32Array.of(1) }, 2)).logits[0]!.length, 4)
})

t.test('a run that throws fails its own batch and tells a client nothing of the server', async (t) => {
  const { engine, control } = await startEngine(t)
  control.nextRun(Fault.throws)
  const [failed, next] = await Promise.allSettled([engine.run(base(), 1), engine.run(base(), 1)])
  t.match(failed, {
    status: 'rejected',
    reason: { code: 'inference_failed', status: 500, message: 'The model run failed.' },
  })
  t.equal(next.status, 'fulfilled')
  t.equal(engine.generation, 1)
  t.equal(engine.state, 'ready')
})

t.test('a worker that keeps dying at its start is tried again, ever later, until it lives', async (t) => {
  const clock = new ManualClock()
  const { engine, control } = await startEngine(t, { clock })
  let downs = 0
  engine.on('down', () => downs++)
  const timerSet = () => until(() => clock.pending > 0)
  control.dieAtStart = true
  control.nextRun(Fault.exits)
  await t.rejects(engine.run(base(), 1), restarting)
  for (const ms of [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]) {
    await timerSet()
    clock.advance(ms - 1)
    t.equal(clock.pending, 1, `waits ${ms} ms`)
    clock.advance(1)
    t.equal(clock.pending, 0)
    t.equal(engine.state, 'restarting')
  }
  await timerSet()
  control.dieAtStart = false
  const up = new Promise<number>((resolve) => engine.once('up', resolve))
  clock.advance(30_000)
  t.equal(await up, 2)
  t.equal(downs, 1, 'it was up only once')
  await engine.probe()

  clock.advance(30_001)
  control.nextRun(Fault.exits)
  await t.rejects(engine.run(base(), 2), restarting)
  await timerSet()
  const again = new Promise<number>((resolve) => engine.once('up', resolve))
  clock.advance(100)
  t.equal(await again, 3, 'an engine that ran well for long comes back at once')
})
