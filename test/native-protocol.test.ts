/** The engine over an add-on that a test plays: what it is told at which time. Needs no native code. */
import t, { type Test } from 'tap'
import type { NativeEngine, NativeEvent, NativeRuntime } from '../src/native/addon.js'
import { mixedInputs, singleInputs } from '../src/engine/trunk-inputs.js'
import { family, makeEngine, randomPixels, randomRow } from './engine-rig.js'
import { ManualClock, settle } from './manual-clock.js'

interface Sent {
  id: number
  rows: number[]
  features: Float32Array
  lane: number | undefined
}

/** The lanes of one start, played by a test. */
class Played implements NativeEngine {
  readonly sent: Sent[] = []
  readonly cancelled: number[] = []
  finished = false
  released = false
  /** The lanes have ended, and the event is on the way. */
  ending = false
  /** Thrown by the next run. */
  refusal: Error | undefined
  readonly tell: (event: NativeEvent) => void

  constructor(tell: (event: NativeEvent) => void) {
    this.tell = tell
  }

  beginRow(): void {}
  writeRow(): void {}
  writeHead(): void {}
  commitRow(): boolean {
    return false
  }
  clearRow(): void {}

  run(...[id, rows, , features, , , lane]: Parameters<NativeEngine['run']>): boolean {
    if (this.refusal) throw this.refusal
    if (this.ending) return false
    this.sent.push({ id, rows: [...rows], features, lane })
    return true
  }

  openDedicated(): boolean {
    return false
  }

  useDedicated(): boolean {
    return false
  }

  discardDedicated(): void {}
  dropDedicated(): void {}

  release(): void {
    this.released = true
  }

  cancel(id: number): void {
    this.cancelled.push(id)
  }

  finish(): void {
    this.finished = true
  }

  /** Answers all runs that were sent. @param feature each feature */
  answer(feature = 1): void {
    for (const { id, features } of this.sent.splice(0)) {
      features.fill(feature)
      this.tell({ type: 'done', id, ms: 3, runs: 1 })
    }
  }
}

const signatures: [string[], string[]][] = [mixedInputs, singleInputs].map((inputs) => {
  return [inputs(family.layout), ['features']]
})

/** An engine over played lanes, not started. */
function play(t: Test) {
  const starts: Played[] = []
  const native: NativeRuntime = {
    hasOwnOperator: false,
    hasOwnInt8: false,
    hasDeviceBank: false,
    open: (_, onEvent) => {
      const lanes = new Played(onEvent)
      starts.push(lanes)
      return lanes
    },
  }
  const clock = new ManualClock()
  const { engine } = makeEngine(t, { native, clock, lanes: 2 })
  // The engine waits for its lanes to end.
  t.teardown(() => starts.at(-1)?.tell({ type: 'ended' }))
  return { engine, starts, clock }
}

/** Lets the lanes open their graphs and run the base. */
async function ready(lanes: Played): Promise<void> {
  lanes.tell({ type: 'opened', signatures })
  for (let graph = 0; graph < 2; graph++) {
    await settle()
    lanes.answer()
  }
}

async function started(t: Test) {
  const played = play(t)
  const start = played.engine.start()
  await settle()
  await ready(played.starts[0]!)
  await start
  return { ...played, lanes: played.starts[0]! }
}

const base = () => ({ pixels: randomPixels(1, 1), rows: Int32Array.of(0) })
const restarting = { code: 'engine_restarting', status: 503 }

t.test('a start runs the base on each graph in each lane, and all lanes are ready together', async (t) => {
  const { engine, starts } = play(t)
  const start = engine.start()
  await settle()
  starts[0]!.tell({ type: 'opened', signatures })
  for (let graph = 0; graph < 2; graph++) {
    await settle()
    t.same(
      starts[0]!.sent.map(({ lane }) => lane),
      [0, 1],
    )
    t.equal(engine.readyLanes, 0)
    starts[0]!.answer()
  }
  await start
  t.equal(engine.readyLanes, 2)
  t.equal(engine.provider, 'cpu')
  t.equal(engine.runtime, 'native')
})

t.test('a start that fails says why', async (t) => {
  const failures: [(lanes: Played) => void | Promise<void>, RegExp][] = [
    [
      (lanes) => lanes.tell({ type: 'unopened', message: 'no such file' }),
      /^the trunk cannot be loaded: no such file$/,
    ],
    [
      (lanes) =>
        lanes.tell({
          type: 'unopened',
          message: 'Available memory of 3 is smaller than requested bytes of 5',
        }),
      /^the trunk cannot be loaded: Available memory of 3 .*--gpu-memory/,
    ],
    [
      (lanes) => lanes.tell({ type: 'opened', signatures: [[['pixels'], ['features']], signatures[1]!] }),
      /does not fit its manifest: inputs missing \[row, /,
    ],
    [
      (lanes) => lanes.tell({ type: 'opened', signatures: [[signatures[0]![0], ['other']], signatures[1]!] }),
      /has no output 'features'/,
    ],
    [
      async (lanes) => {
        lanes.tell({ type: 'opened', signatures })
        await settle()
        lanes.answer(Number.NaN)
      },
      /on the base is not finite/,
    ],
    [(lanes) => lanes.tell({ type: 'lost', message: 'no thread' }), /a native lane ended: no thread/],
  ]
  for (const [fail, message] of failures) {
    const { engine, starts } = play(t)
    const start = engine.start()
    start.catch(() => {})
    await settle()
    await fail(starts[0]!)
    await settle()
    t.ok(starts[0]!.finished)
    starts[0]!.tell({ type: 'ended' })
    await t.rejects(start, { message })
    t.equal(engine.state, 'stopped')
  }
})

t.test('a lane that is lost fails its own run; the others answer, then all start anew', async (t) => {
  const { engine, lanes, starts, clock } = await started(t)
  const [own, other, left] = [engine.run(base(), 1), engine.run(base(), 1), engine.run(base(), 1)]
  for (const run of [own, other, left]) run.catch(() => {})
  const [first, second] = lanes.sent.splice(0)
  lanes.tell({ type: 'lost', id: first!.id, message: 'gone' })
  await t.rejects(own, restarting)
  t.equal(engine.state, 'restarting')
  t.ok(lanes.finished)
  await t.rejects(engine.run(base(), 1), restarting)
  lanes.tell({ type: 'done', id: second!.id, ms: 1, runs: 1 })
  t.equal((await other).inferenceMs, 1)
  clock.advance(100)
  await settle()
  t.equal(starts.length, 1, 'not before all lanes have ended')
  t.notOk(lanes.released)
  lanes.tell({ type: 'ended' })
  t.ok(lanes.released, 'not before nobody reads its rows')
  await t.rejects(left, restarting, 'nobody runs it any more')
  // The engine looks at the family's files first.
  while (starts.length === 1) await settle()
  const up = new Promise((resolve) => engine.once('up', resolve))
  await ready(starts[1]!)
  t.equal(await up, 2)
})

t.test('a run that the add-on refuses, and one that it fails, are failures of the model alone', async (t) => {
  const { engine, lanes } = await started(t)
  lanes.refusal = new Error('pixels have a wrong length')
  const failed = { code: 'inference_failed', message: 'The model run failed.' }
  await t.rejects(engine.run(base(), 1), { ...failed, cause: { message: 'pixels have a wrong length' } })
  lanes.refusal = undefined
  const run = engine.run(base(), 1)
  lanes.tell({ type: 'failed', id: lanes.sent[0]!.id, message: 'no memory' })
  await t.rejects(run, { ...failed, cause: { message: 'no memory' } })
  t.equal(engine.state, 'ready')
})

t.test('a run that is sent while the end of the lanes is on its way gets 503', async (t) => {
  const { engine, lanes } = await started(t)
  lanes.ending = true
  await t.rejects(engine.run(base(), 1), restarting)
})

t.test('arrays of a run are kept, and its pixels taken, until it is answered', async (t) => {
  const { engine, lanes } = await started(t)
  const batch = base()
  const run = engine.run(batch, 1)
  t.equal(batch.pixels.length, 0, 'nobody else can free them')
  lanes.answer(7)
  const { features, logits } = await run
  t.ok(features.every((value) => value === 7))
  t.equal(logits[0]!.length, family.base.head!.classes)
})

t.test('a row that was begun and never finished cannot be run, and can be begun again', async (t) => {
  const { engine, lanes } = await started(t)
  const empty = { code: 'inference_failed', cause: { message: 'bank row 1 is empty' } }
  lanes.commitRow = () => {
    throw new Error('not yet')
  }
  await t.rejects(engine.writeRow(1, randomRow(1, 4)), { message: 'not yet' })
  await t.rejects(engine.run({ ...base(), rows: Int32Array.of(1) }, 1), empty)
  lanes.commitRow = () => false
  await engine.writeRow(1, randomRow(1, 4))
  const run = engine.run({ ...base(), rows: Int32Array.of(1) }, 1)
  lanes.answer()
  t.equal((await run).logits[0]!.length, 4)
})
