/** The native runtime beside the stock one, and what only it does: runs that are given up, memory that is given back. */
import { existsSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Engine, EngineOptions } from '../src/engine/engine.js'
import { loadNative } from '../src/native/addon.js'
import { Fault } from './faulty-worker-control.mjs'
import {
  Control,
  family,
  imageBytes,
  makeEngine,
  nativeWithFaults,
  randomPixels,
  randomRow,
  relativeError,
  split,
} from './engine-rig.js'

const skip = !existsSync(nativeWithFaults) && 'it is not built: npm run native:build -- --faults'
const control = new Control()

type Options = Partial<EngineOptions>

async function native(t: Test, options: Options = {}): Promise<Engine> {
  const { engine } = makeEngine(t, { native: loadNative(nativeWithFaults, control.array), ...options })
  await engine.start()
  return engine
}

const one = (row: number, seed = 1) => ({ pixels: randomPixels(1, seed), rows: Int32Array.of(row) })
const bytesHere = () => {
  const [, kib] = /^Private_Dirty:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))!
  return Number(kib) * 1024
}

t.test('both runtimes give one answer, whatever the batch', { skip }, async (t) => {
  for (const bankDtype of ['f32', 'f16'] as const) {
    const ours = await native(t, { bankDtype, lanes: 2 })
    const worker = () => control.createWorker()
    const { engine: stock } = makeEngine(t, { bankDtype, createWorker: worker })
    await stock.start()
    // The fourth head is large enough to be a graph of the stock runtime.
    for (const [index, classes] of [3, 0, 10, 1623].entries())
      for (const engine of [ours, stock])
        await engine.writeRow(index + 1, randomRow(index + 1, classes, bankDtype))
    for (const [seed, mix] of [
      [0],
      [3],
      [4, 4],
      [1, 2, 3, 4, 0],
      [2, 1, 2, 4],
      [4, 4, 4, 4, 4, 4, 4, 4],
    ].entries()) {
      const batch = () => ({ pixels: randomPixels(mix.length, seed), rows: Int32Array.from(mix) })
      const [found, expected] = await Promise.all([ours.run(batch(), 1), stock.run(batch(), 1)])
      for (const [index, answer] of split(found).entries()) {
        const other = split(expected)[index]!
        t.ok(relativeError(answer.features, other.features) <= 1e-5, `${bankDtype}: features of ${mix}`)
        t.ok(relativeError(answer.logits, other.logits) <= 1e-6, `${bankDtype}: logits of ${mix}`)
      }
    }
  }
})

t.test('rows come and go under load, and every answer is its own row’s', { skip }, async (t) => {
  const engine = await native(t, { lanes: 2, rows: 4 })
  const expected = new Map<number, Float32Array>()
  for (const seed of [1, 2, 3, 4]) {
    await engine.writeRow(1, randomRow(seed, 4))
    expected.set(seed, (await engine.run(one(1), 1)).features)
  }
  const background = new AbortController()
  await engine.writeRow(3, randomRow(4, 4))
  const load = [1, 2].map(async () => {
    while (!background.signal.aborted) {
      const { features } = await engine.run(one(3), 1)
      if (relativeError(features, expected.get(4)!) > 1e-5) return t.fail('another row was read')
    }
  })
  for (let round = 0; round < 24; round++) {
    const [row, seed] = [1 + (round % 2), 1 + (round % 3)]
    await engine.writeRow(row, randomRow(seed, 4))
    const running = engine.run(one(row), 1)
    await t.rejects(engine.writeRow(row, randomRow(4, 4)), { message: `bank row ${row} is in a run` })
    engine.clear(row)
    await t.rejects(engine.run(one(row), 1), { cause: { message: `bank row ${row} is empty` } })
    t.ok(relativeError((await running).features, expected.get(seed)!) < 1e-5, `round ${round}`)
  }
  background.abort()
  await Promise.all(load)
})

t.test('a run that is given up never begins where it waits, and ends where it runs', { skip }, async (t) => {
  const engine = await native(t)
  const reason = new Error('nobody waits for it')
  control.nextRun(Fault.waits)
  const [runs, waits] = [new AbortController(), new AbortController()]
  const running = engine.run(one(0), 1, runs.signal)
  await control.inRun()
  const before = control.runs
  const waiting = engine.run(one(0), 1, waits.signal)
  const next = engine.run(one(0), 1)
  waits.abort(reason)
  await t.rejects(waiting, reason, 'while another run holds the lane')
  runs.abort(reason)
  control.release()
  await t.rejects(running, reason)
  t.equal((await next).logits.length, 1, 'the lane goes on')
  t.equal(control.runs, before + 1, 'the one that waited did not begin')
  await t.rejects(engine.run(one(0), 1, AbortSignal.abort(reason)), reason, 'before it was sent')
  const late = new AbortController()
  t.equal((await engine.run(one(0), 1, late.signal)).logits.length, 1)
  late.abort(reason)
  await engine.probe()
})

t.test('a run that is given up in the middle ends before its end', { skip }, async (t) => {
  const engine = await native(t)
  const abort = new AbortController()
  let ended = false
  // Far more than a lane runs in the time that an abort takes.
  const long = engine.run(
    { pixels: new Uint8Array(256 * imageBytes), rows: new Int32Array(256) },
    1,
    abort.signal,
  )
  const short = engine.run(one(0), 1).then(() => {
    ended = true
  })
  await engine.writeRow(1, randomRow(1, 4))
  abort.abort(new Error('late'))
  await t.rejects(long, { message: 'late' })
  t.notOk(ended, 'what waits behind it has not run')
  await short
})

t.test('a panic fails its own run, and tells a client nothing', { skip }, async (t) => {
  const engine = await native(t)
  control.nextRun(Fault.panics)
  const [failed, next] = await Promise.allSettled([engine.run(one(0), 1), engine.run(one(0), 1)])
  t.match(failed, {
    reason: { code: 'inference_failed', message: 'The model run failed.', cause: { message: /panicked/ } },
  })
  t.equal(next.status, 'fulfilled')
  t.equal(engine.state, 'ready')
})

t.test('lanes share their sessions, and each runs', { skip }, async (t) => {
  const before = control.sessions
  const engine = await native(t, { lanes: 4 })
  const { hasOwnOperator } = loadNative(nativeWithFaults)
  const graphs = hasOwnOperator ? 1 : 2
  t.equal(control.sessions - before, graphs)
  t.equal(engine.trunks, 2, 'its own operator has transformed weights')
  t.equal(engine.readyLanes, 4)
  const runs = control.runs
  await engine.probe()
  t.equal(control.runs - runs, 4)
  const compact = await native(t, { lanes: 4, bankMode: 'compact' })
  t.equal(compact.trunks, 1)
  t.equal(control.sessions - before, graphs + 1)
})

t.test(
  'the memory of rows is taken when they are written and given back when they are cleared',
  {
    skip: skip || (process.platform !== 'linux' && 'it is read from /proc'),
  },
  async (t) => {
    const rows = 60
    const engine = await native(t, { rows: rows + 1 })
    const row = family.layout.elements * 4
    await engine.writeRow(1, randomRow(1, 4))
    const empty = bytesHere()
    // Copies of one row: the making of many random ones would leave garbage.
    const template = randomRow(1, 4)
    for (let at = 1; at <= rows; at++) await engine.writeRow(at, copyOf(template))
    const full = bytesHere()
    t.ok(full - empty > 0.8 * rows * row, `${full - empty} bytes for ${rows} rows of ${row}`)
    for (let at = 1; at <= rows; at++) engine.clear(at)
    const left = bytesHere() - empty
    t.ok(left < 0.3 * rows * row, `${left} bytes are left of ${rows} rows of ${row}`)

    for (let at = 1; at <= rows; at++) await engine.writeRow(at, copyOf(template))
    const before = bytesHere()
    await engine.stop()
    const freed = before - bytesHere()
    t.ok(freed > 0.8 * rows * row, `${freed} bytes are given back when the lanes have ended`)
  },
)

function copyOf({ tensors, head }: ReturnType<typeof randomRow>): ReturnType<typeof randomRow> {
  return {
    tensors: tensors.map((tensor) => tensor.slice()),
    head: head && { ...head, weight: head.weight.slice(), bias: head.bias.slice() },
  }
}
