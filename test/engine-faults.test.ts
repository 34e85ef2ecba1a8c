import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { Fault } from './faulty-worker-control.js'
import { family, makeEngine, randomPixels, randomRow, startEngine } from './engine-rig.js'
import { ManualClock } from './manual-clock.js'

const base = () => ({ pixels: randomPixels(1, 1), rows: Int32Array.of(0) })
const restarting = { code: 'engine_restarting', status: 503, retryAfter: 1 }
const draining = { code: 'draining', status: 503 }

for (const [how, fault, reason] of [
  ['exits', Fault.exits, /exit code 9/],
  ['throws outside of any request', Fault.crashes, /thrown outside of any request/],
] as const) {
  t.test(`a worker that ${how} in a run fails what is pending with 503 and is replaced`, async (t) => {
    const clock = new ManualClock()
    const { engine, control } = await startEngine(t, { clock })
    await engine.stage(1, randomRow(1, 4))
    const down = new Promise<Error>((resolve) => engine.once('down', resolve))
    const up = new Promise<number>((resolve) => engine.once('up', resolve))

    control.nextRun(fault)
    const pending = [engine.run(base(), 1), engine.run(base(), 1), engine.stage(2, randomRow(2, 4))]
    for (const outcome of await Promise.allSettled(pending)) {
      t.match(outcome, { status: 'rejected', reason: restarting })
    }
    t.match((await down).message, reason)
    t.equal(engine.state, 'restarting')
    await t.rejects(engine.run(base(), 1), restarting, 'while it is down')
    await t.rejects(engine.stage(1, randomRow(1, 4)), restarting)
    await t.rejects(engine.probe(), restarting)
    engine.clear(1)

    clock.advance(100)
    t.equal(await up, 2)
    t.equal(engine.state, 'ready')
    t.equal(engine.generation, 2)
    await engine.probe()
    await t.rejects(engine.run(base(), 1), restarting, 'rows of an older generation')
    await t.rejects(engine.run({ ...base(), rows: Int32Array.of(1) }, 2), { code: 'inference_failed' })
    await engine.stage(1, randomRow(1, 4))
    t.equal((await engine.run({ ...base(), rows: Int32Array.of(1) }, 2)).logits[0]!.length, 4)
  })
}

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
  const timerSet = async () => {
    while (clock.pending === 0) await new Promise(setImmediate)
  }
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

t.test('a first start that fails says why and leaves nothing running', async (t) => {
  const broken = { ...family, trunk: { f32: family.trunk.f16, f16: 'no/such/trunk.onnx' } }
  const cases = [
    {
      options: { family: broken, bankDtype: 'f16' },
      message: /trunk cannot be loaded: .*no\/such\/trunk\.onnx/,
    },
    { options: { family: broken }, message: /tensor\(float16\)/ },
    {
      options: {
        family: { ...family, layout: { ...family.layout, matrices: family.layout.matrices.slice(1) } },
      },
      message: /does not fit its manifest: .*unknown \[matrix\./,
    },
    {
      options: { device: { kind: 'cuda', id: 0 } },
      message: /^cuda:0 cannot be used: .*(npm run cuda:install|nvidia-smi|linux\/x64 only)/s,
    },
  ] as const
  for (const { options, message } of cases) {
    const { engine } = makeEngine(t, options)
    await t.rejects(engine.start(), { message })
    t.equal(engine.state, 'stopped')
    await t.rejects(engine.run(base(), 0), draining)
  }
})

t.test('stop answers the runs that were sent, then the worker ends by itself', async (t) => {
  const { engine, control } = await startEngine(t)
  control.nextRun(Fault.waits)
  const runs = [engine.run(base(), 1), engine.run(base(), 1)]
  await control.inRun()
  let stopped = false
  const stops = [engine.stop(), engine.stop()]
  void stops[0]!.then(() => {
    stopped = true
  })
  t.equal(engine.state, 'stopping')
  await t.rejects(engine.run(base(), 1), draining)
  await t.rejects(engine.stage(1, randomRow(1, 4)), draining)
  t.equal(stopped, false, 'it waits for the run in flight')
  control.release()
  for (const outcome of await Promise.allSettled(runs)) t.equal(outcome.status, 'fulfilled')
  await Promise.all(stops)
  t.equal(engine.state, 'stopped')
  await engine.stop()
})

t.test('stop in the middle of a start, of a restart, and before any start', async (t) => {
  const { engine: fresh } = makeEngine(t)
  await fresh.stop()
  await t.rejects(fresh.start(), draining)

  const { engine: starting } = makeEngine(t)
  const start = starting.start()
  const stop = starting.stop()
  await t.rejects(start, draining)
  await stop
  t.equal(starting.state, 'stopped')

  const clock = new ManualClock()
  const { engine: waiting, control } = await startEngine(t, { clock })
  control.nextRun(Fault.exits)
  await t.rejects(waiting.run(base(), 1), restarting)
  await waiting.stop()
  t.equal(clock.pending, 0, 'no restart is left behind')
  t.equal(waiting.state, 'stopped')

  const { engine: back, control: its } = await startEngine(t, { clock })
  its.nextRun(Fault.exits)
  await t.rejects(back.run(base(), 1), restarting)
  back.on('up', () => t.fail('a stopped engine came up'))
  clock.advance(100)
  await back.stop()
  t.equal(back.state, 'stopped')
})

t.test('a process that stops its engine in the middle of a run exits with 0', async (t) => {
  const child = fileURLToPath(new URL('./engine-process.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, child])
  t.equal(stdout, 'answered 32\nstopped\n')
})
