import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { GraphNeed } from '../src/manifest/graphs.js'
import { Fault } from './faulty-worker-control.mjs'
import {
  family,
  makeEngine,
  randomPixels,
  randomRow,
  relativeError,
  runtime,
  sessionsOf,
  startEngine,
} from './engine-rig.js'
import { flagsFor } from './loader/flags.mjs'
import { ManualClock } from './manual-clock.js'
import { until } from './until.js'

const base = () => ({ pixels: randomPixels(1, 1), rows: Int32Array.of(0) })
const restarting = { code: 'engine_restarting', status: 503 }
const draining = { code: 'draining', status: 503 }

t.test('a first start that fails says why and leaves nothing running', async (t) => {
  const broken = {
    ...family,
    graph: ({ serves, bank }: GraphNeed) =>
      bank === 'f16' ? 'no/such/trunk.onnx' : family.graph({ serves, bank: 'f16' }),
    findGraph: () => undefined,
  }
  const cases = [
    {
      options: { family: broken, bankDtype: 'f16' },
      message: /trunk cannot be loaded: .*no\/such\/trunk\.onnx/,
    },
    { options: { family: broken }, message: /tensor\(float16\)/ },
    {
      options: {
        family: { ...family, layout: { ...family.layout, tensors: family.layout.tensors.slice(0, -1) } },
      },
      message: /does not fit its manifest: .*unknown \[matrix\./,
    },
    {
      options: { device: { kind: 'cuda', id: 0 }, bankMode: runtime === 'native' ? 'device' : 'compact' },
      message: /cuda:0 cannot be used: .*(npm run cuda:install|nvidia-smi|linux\/x64 only)/s,
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
  await t.rejects(engine.writeRow(1, randomRow(1, 4)), draining)
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
  const child = fileURLToPath(new URL('./engine-process.js', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...flagsFor(import.meta.url),
    child,
    'stops',
  ])
  t.equal(stdout, 'answered 32\nstopped\n')
})

t.test(
  'the second lane follows while the first serves, and knows the rows that were written meanwhile',
  async (t) => {
    const { engine, control } = makeEngine(t, { bankMode: 'shared', lanes: 2 })
    await engine.start()
    t.equal(control.sessions, sessionsOf(1), 'no more than the first lane needs')
    await engine.writeRow(1, randomRow(1, 4))
    const runs = () =>
      Array.from({ length: 2 }, () => engine.run({ pixels: randomPixels(1, 1), rows: Int32Array.of(1) }, 1))
    const [alone] = await Promise.all(runs())
    await engine.allLanesReady()
    t.equal(control.sessions, sessionsOf(2))
    for (const { features, logits } of await Promise.all(runs())) {
      t.strictSame(features, alone!.features)
      t.strictSame(logits, alone!.logits)
    }
  },
)

t.test(
  'rows beyond the first segment of shared memory are right in every lane, before it follows and after a restart',
  async (t) => {
    const { engine, control } = makeEngine(t, { lanes: 2, bankMode: 'shared', rows: 4 })
    const { engine: alone } = await startEngine(t, { rows: 4 })
    await alone.writeRow(2, randomRow(7, 5))
    const pixels = randomPixels(1, 3)
    const batch = () => ({ pixels: pixels.slice(), rows: Int32Array.of(2) })
    const expected = (await alone.run(batch(), 1)).logits[0]!
    const filled = async () => {
      // This row is larger than the rest of a segment, so it lies in two.
      const head = {
        classes: 140_000,
        weight: new Float32Array(140_000 * family.manifest.features),
        bias: new Float32Array(140_000),
      }
      head.bias.fill(3, -1)
      await engine.writeRow(1, { ...randomRow(5, 0), head })
      await engine.writeRow(2, randomRow(7, 5))
    }
    const right = async (generation: number) => {
      await engine.allLanesReady()
      const answers = await Promise.all([engine.run(batch(), generation), engine.run(batch(), generation)])
      for (const { logits } of answers) t.ok(relativeError(logits[0]!, expected) < 1e-5)
      const large = await engine.run({ pixels: pixels.slice(), rows: Int32Array.of(1) }, generation)
      t.same([large.logits[0]!.length, large.logits[0]!.at(0), large.logits[0]!.at(-1)], [140_000, 0, 3])
    }
    await engine.start()
    t.equal(engine.readyLanes, runtime === 'native' ? 2 : 1)
    await filled()
    await right(1)

    const up = new Promise((resolve) => engine.once('up', resolve))
    control.nextRun(Fault.exits)
    await engine.run(batch(), 1).catch(() => {})
    await up
    await filled()
    await right(2)
  },
)

t.test('stop before the second lane has followed', async (t) => {
  const { engine } = makeEngine(t, { bankMode: 'shared', lanes: 2 })
  await engine.start()
  await engine.stop()
  t.equal(engine.state, 'stopped')
})

const workersOnly = { skip: runtime === 'native' && 'native lanes are no workers' }
t.test(
  'a thread that cannot be started counts as lost: the engine tries again and says why',
  workersOnly,
  async (t) => {
    const clock = new ManualClock()
    const { control, engine } = makeEngine(t, {
      bankMode: 'shared',
      lanes: 2,
      clock,
      createWorker: () => {
        if (++made === 2) throw new Error('EAGAIN')
        return control.createWorker()
      },
    })
    let made = 0
    const down = new Promise<Error>((resolve) => engine.once('down', resolve))
    await engine.start()
    t.match((await down).cause, { message: 'EAGAIN' })
    const up = new Promise<number>((resolve) => engine.once('up', resolve))
    await until(() => clock.pending > 0)
    clock.advance(100)
    t.equal(await up, 2)
    await engine.allLanesReady()
    t.equal(engine.readyLanes, 2)
  },
)
