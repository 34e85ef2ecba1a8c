/**
 * A bank in a device's memory, with the CPU as the device: the code is the one that runs on a GPU, all but the provider
 * that computes (docs/decisions/0041-a-bank-on-the-device.md).
 */
import { existsSync } from 'node:fs'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Engine, EngineOptions } from '../src/engine/engine.js'
import type { RowTensors } from '../src/engine/batch.js'
import { paddedBatch } from '../src/engine/plan.js'
import { loadNative } from '../src/native/addon.js'
import { Fault } from './faulty-worker-control.mjs'
import {
  Control,
  family,
  makeEngine,
  nativeWithFaults,
  randomPixels,
  randomRow,
  relativeError,
  split,
  wholeRowBytes,
} from './engine-rig.js'
import { ManualClock } from './manual-clock.js'
import { until } from './until.js'

const skip = !existsSync(nativeWithFaults) && 'it is not built: npm run native:build -- --faults'
const TOLERANCE = 1e-5
const MiB = 2 ** 20
const restarting = { code: 'engine_restarting', status: 503 }

function onDevice(t: Test, options: Partial<EngineOptions> = {}) {
  const control = new Control()
  const native = loadNative(nativeWithFaults, control.array)
  return { ...makeEngine(t, { native, bankMode: 'device', ...options }), control }
}

async function started(t: Test, options: Partial<EngineOptions> = {}) {
  const made = onDevice(t, options)
  await made.engine.start()
  return made
}

/** Rows in the process's memory, on the stock runtime. */
async function resident(t: Test, options: Partial<EngineOptions> = {}) {
  const control = new Control()
  const { engine } = makeEngine(t, { createWorker: () => control.createWorker(), ...options })
  await engine.start()
  return engine
}

/** The generation that a lost engine comes up with. */
async function upAgain(engine: Engine, clock: ManualClock): Promise<number> {
  const up = new Promise<number>((resolve) => {
    engine.once('up', resolve)
  })
  await until(() => engine.state === 'restarting')
  clock.advance(100)
  return up
}

const batchOf = (rows: readonly number[], seed: number) => ({
  pixels: randomPixels(rows.length, seed),
  rows: Int32Array.from(rows),
})
/** What a pack without matrices brings, and one that has its head alone. */
const affine = (row: RowTensors): RowTensors => ({ ...row, tensors: row.tensors.slice(0, 1) })
const bare = (row: RowTensors): RowTensors => ({ ...row, tensors: [] })

t.test('sizes of runs are few, and no image is left out', async (t) => {
  const sizes = new Set<number>()
  for (let samples = 1; samples <= 256; samples++) {
    const size = paddedBatch(samples)
    if (size < samples || size >= 2 * samples) t.fail(`${samples} in ${size}`)
    sizes.add(size)
  }
  t.same([...sizes], [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256])
})

for (const bankDtype of ['f32', 'f16'] as const)
  t.test(`${bankDtype} rows on a device: any mix gives what resident rows give`, { skip }, async (t) => {
    const { engine } = await started(t, { bankDtype, lanes: 2 })
    const other = await resident(t, { bankDtype })
    const forms = [undefined, affine, bare, undefined, affine, bare] as const
    for (const [index, form] of forms.entries()) {
      const row = () => randomRow(index + 1, 3 + index, bankDtype)
      for (const either of [engine, other]) await either.writeRow(index + 1, form ? form(row()) : row())
    }
    const mixes = [
      [0],
      [1, 4],
      [3, 6, 3],
      [2, 2, 5],
      [1, 2, 3, 4, 5, 6, 0],
      // Padded: to 16 and to 24.
      [4, 4, 4, 4, 4, 4, 4, 4, 4],
      [1, 4, 2, 5, 0, 3, 6, 1, 4, 2, 5, 0, 3, 6, 1, 4, 2],
    ]
    for (const [seed, mix] of mixes.entries()) {
      const run = (either: typeof other) => either.run(batchOf(mix, seed), 1)
      const [found, expected] = await Promise.all([run(engine), run(other)])
      for (const [index, answer] of split(found).entries()) {
        const wanted = split(expected)[index]!
        const error = relativeError(answer.features, wanted.features)
        t.ok(error <= TOLERANCE, `features of row ${mix[index]} in ${mix}: ${error}`)
        t.ok(relativeError(answer.logits, wanted.logits) <= TOLERANCE, `logits of row ${mix[index]}`)
      }
    }
  })

t.test('rows come and go under load, and every answer is its own row’s', { skip }, async (t) => {
  const { engine } = await started(t, { lanes: 2 })
  const expected = new Map<number, Float32Array>()
  for (const seed of [1, 2, 3, 4]) {
    await engine.writeRow(1, randomRow(seed, 4))
    expected.set(seed, (await engine.run(batchOf([1], 1), 1)).features)
  }
  await engine.writeRow(3, randomRow(4, 4))
  let loaded = true
  const load = [1, 2].map(async () => {
    while (loaded) {
      const { features } = await engine.run(batchOf([3], 1), 1)
      if (relativeError(features, expected.get(4)!) > TOLERANCE) return t.fail('another row was read')
    }
  })
  for (let round = 0; round < 24; round++) {
    const [row, seed] = [1 + (round % 2), 1 + (round % 3)]
    await engine.writeRow(row, randomRow(seed, 4))
    const running = engine.run(batchOf([row], 1), 1)
    await t.rejects(engine.writeRow(row, randomRow(4, 4)), { message: `bank row ${row} is in a run` })
    engine.clear(row)
    await t.rejects(engine.run(batchOf([row], 1), 1), { cause: { message: `bank row ${row} is empty` } })
    t.ok(relativeError((await running).features, expected.get(seed)!) <= TOLERANCE, `round ${round}`)
  }
  loaded = false
  await Promise.all(load)
})

t.test('whatever rows held before, and whoever had their place on the device', { skip }, async (t) => {
  // The base's, and three others.
  const memory = wholeRowBytes(family.base.head!.classes) + 3 * wholeRowBytes(4)
  const { engine } = await started(t, { memory })
  const other = await resident(t)
  const forms = { whole: (row: RowTensors) => row, affine, bare }
  const step = fc.record({
    row: fc.integer({ min: 1, max: 3 }),
    seed: fc.integer({ min: 1, max: 6 }),
    form: fc.constantFrom<keyof typeof forms>('whole', 'affine', 'bare'),
    clears: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      for (const row of [1, 2, 3])
        for (const either of [engine, other]) await either.writeRow(row, randomRow(row, 4))
      for (const { row, seed, form, clears } of steps)
        for (const either of [engine, other]) {
          if (clears) either.clear(row)
          await either.writeRow(row, forms[form](randomRow(seed, 4)))
        }
      const run = (either: typeof other) => either.run(batchOf([1, 2, 3, 0], 7), 1)
      const [found, expected] = await Promise.all([run(engine), run(other)])
      return relativeError(found.features, expected.features) <= TOLERANCE
    }),
    { numRuns: 8 },
  )
})

t.test('a row that is cleared on its way to the device is empty', { skip }, async (t) => {
  const { engine } = await started(t)
  await engine.writeRow(1, randomRow(1, 4))
  const writing = engine.writeRow(1, randomRow(2, 4)).catch(() => {})
  engine.clear(1)
  await writing
  await t.rejects(engine.run(batchOf([1], 1), 1), { cause: { message: 'bank row 1 is empty' } })
  await engine.writeRow(1, randomRow(3, 4))
  t.equal((await engine.run(batchOf([1], 1), 1)).logits[0]!.length, 4)
})

for (const [what, fault, words] of [
  ['that is lost', Fault.loses, /the device failed: CUDA failure 700/],
  ['without memory', Fault.fills, /memory is used up: .*Failed to allocate memory.*--gpu-memory/],
] as const)
  t.test(`a device ${what} fails its run with 503, and the engine starts anew`, { skip }, async (t) => {
    const clock = new ManualClock()
    const { engine, control } = await started(t, { lanes: 2, clock })
    await engine.writeRow(1, randomRow(1, 4))
    const expected = await engine.run(batchOf([1], 1), 1)
    const reason = new Promise<Error>((resolve) => {
      engine.once('down', resolve)
    })
    control.nextRun(fault)
    await t.rejects(engine.run(batchOf([1], 1), 1), restarting)
    t.match((await reason).message, words)
    t.equal(await upAgain(engine, clock), 2)
    await t.rejects(engine.run(batchOf([1], 1), 1), restarting, 'rows of before are void')
    await engine.writeRow(1, randomRow(1, 4))
    const again = await engine.run(batchOf([1], 1), 2)
    t.ok(relativeError(again.features, expected.features) <= TOLERANCE)
  })

t.test(
  'a row that cannot be copied fails alone; a device that is lost then fails all',
  { skip },
  async (t) => {
    const clock = new ManualClock()
    const { engine, control } = await started(t, { clock })
    await engine.writeRow(2, randomRow(2, 4))
    control.nextUpload(Fault.throws)
    await t.rejects(engine.writeRow(1, randomRow(1, 4)), { code: 'internal', status: 500 })
    await t.rejects(engine.run(batchOf([1], 1), 1), { cause: { message: 'bank row 1 is empty' } })
    t.equal((await engine.run(batchOf([2], 1), 1)).logits[0]!.length, 4, 'others go on')
    control.nextUpload(Fault.loses)
    await t.rejects(engine.writeRow(1, randomRow(1, 4)), restarting)
    t.equal(await upAgain(engine, clock), 2)
    await engine.writeRow(1, randomRow(1, 4))
    t.equal((await engine.run(batchOf([1], 1), 2)).logits[0]!.length, 4)
  },
)

t.test('a row that no thread brings to the device any more is refused with 503', { skip }, async (t) => {
  const clock = new ManualClock()
  const native = loadNative(nativeWithFaults)
  let ends = false
  const { engine } = await started(t, {
    clock,
    native: {
      ...native,
      open: (options, onEvent) => {
        const lanes = native.open(options, onEvent)
        const commitRow = lanes.commitRow.bind(lanes)
        // They end between the row's last byte and its commit.
        lanes.commitRow = (row, id) => {
          if (ends) lanes.finish()
          return commitRow(row, id)
        }
        return lanes
      },
    },
  })
  ends = true
  await t.rejects(engine.writeRow(1, randomRow(1, 4)), restarting)
  ends = false
  t.equal(await upAgain(engine, clock), 2)
  await engine.writeRow(1, randomRow(1, 4))
  t.equal((await engine.run(batchOf([1], 1), 2)).logits[0]!.length, 4)
})

t.test('a limit of the device’s memory is kept, and refuses in words', { skip }, async (t) => {
  const memory = 8 * wholeRowBytes(10)
  const starting = (limit: number, warmBatch = 1) =>
    onDevice(t, { memory, warmBatch, deviceOptions: { memory: limit } }).engine.start()
  await t.rejects(starting(2 * MiB), {
    message:
      /--gpu-memory 2\.0MiB is too little: the trunk takes [\d.]+MiB, and the rows of adapters [\d.]+MiB/,
  })
  // Enough for trunk and rows, not for a batch of so many images.
  await t.rejects(starting(28 * MiB, 64), {
    message: /a batch of 64 take [\d.]+MiB, and --gpu-memory is 28\.0MiB.*--max-batch/,
  })
  await starting(256 * MiB, 8)
})

t.test('a start on a GPU that is not there says what is missing', { skip }, async (t) => {
  const { engine } = onDevice(t, { device: { kind: 'cuda', id: 0 } })
  await t.rejects(engine.start(), {
    message: /^cuda:0 cannot be used: .*(npm run cuda:install|nvidia-smi|linux\/x64 only)/s,
  })
})
