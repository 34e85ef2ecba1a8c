import t from 'tap'
import type { EngineResult } from '../src/engine/batch.js'
import { Fault } from './faulty-worker-control.mjs'
import { family, randomPixels, randomRow, relativeError, startEngine, wholeRowBytes } from './engine-rig.js'

const alone = await startEngine(t)
const compact = await startEngine(t, { bankMode: 'compact' })
const shared = await startEngine(t, { bankMode: 'shared', lanes: 2 })
const { engine, control } = alone
const one = (row: number, seed = 1) => ({ pixels: randomPixels(1, seed), rows: Int32Array.of(row) })

const engines = { 'one lane': alone, 'two lanes': shared, 'a compact bank': compact }

for (const [which, { engine, control }] of Object.entries(engines)) {
  t.test(
    `${which}: a row in a run is not written; once answered it is, and later runs see the new one`,
    async (t) => {
      const answers: EngineResult[] = []
      for (const seed of [10, 20]) {
        await engine.writeRow(2, randomRow(seed, 4))
        answers.push(await engine.run(one(2), 1))
      }
      control.nextRun(Fault.waits)
      const running = engine.run(one(2), 1)
      await control.inRun()
      await t.rejects(engine.writeRow(2, randomRow(10, 4)), {
        name: 'RangeError',
        message: 'bank row 2 is in a run',
      })
      control.release()
      t.strictSame((await running).features, answers[1]!.features)
      await engine.writeRow(2, randomRow(10, 4))
      t.strictSame((await engine.run(one(2), 1)).features, answers[0]!.features)
    },
  )
}

for (const [which, { engine }] of Object.entries(engines)) {
  t.test(
    `${which}: a row that was never written, or was cleared, is refused and harms no other`,
    async (t) => {
      await engine.writeRow(1, randomRow(1, 4))
      const expected = await engine.run(one(1), 1)
      await engine.writeRow(2, randomRow(2, 4))
      engine.clear(2)
      for (const row of [2, 3, 99, -1]) {
        const rows = Int32Array.of(1, row)
        await t.rejects(engine.run({ pixels: randomPixels(2, 1), rows }, 1), {
          code: 'inference_failed',
          message: 'The model run failed.',
          cause: { message: `bank row ${row} is empty` },
        })
      }
      const again = await engine.run(one(1), 1)
      t.strictSame(again.features, expected.features)
      t.strictSame(again.logits, expected.logits)
      await engine.writeRow(2, randomRow(2, 4))
      t.equal((await engine.run(one(2), 1)).logits[0]!.length, 4, 'a cleared row can be written again')
    },
  )
}

t.test('rows never hold more memory than the bank is given, whatever comes and goes', async (t) => {
  const { features } = family.manifest
  const bytes = wholeRowBytes
  const base = family.base.head!.classes
  const memory = bytes(base) + 3 * bytes(4)
  const { engine } = await startEngine(t, { bankMode: 'shared', memory })
  const refused = { name: 'RangeError', message: /^the bank's \d+ bytes \(--bank-memory\) are in use$/ }
  for (const row of [1, 2, 3]) await engine.writeRow(row, randomRow(row, 4))
  await t.rejects(engine.writeRow(4, randomRow(4, 4)), refused, 'it is full')
  t.equal((await engine.run(one(3), 1)).logits[0]!.length, 4, 'what is there stays')

  engine.clear(1)
  engine.clear(3)
  const large = Math.floor((2 * bytes(4) - bytes(0)) / (4 * (features + 1)))
  await engine.writeRow(5, randomRow(5, large))
  await alone.engine.writeRow(5, randomRow(5, large))
  const expected = await alone.engine.run(one(5), 1)
  const found = await engine.run(one(5), 1)
  const error = relativeError(found.logits[0]!, expected.logits[0]!)
  t.ok(error < 1e-4, `a head as large as two rows takes their places, in two pieces (error ${error})`)
  await t.rejects(engine.writeRow(1, randomRow(1, 4)), refused)

  await engine.writeRow(5, randomRow(5, 4))
  await engine.writeRow(1, randomRow(1, 4))
  t.strictSame((await engine.run(one(2), 1)).logits[0]!.length, 4, 'a smaller version gives the rest back')
})

t.test('a row that is cleared in a run keeps its memory until that is answered', async (t) => {
  const base = family.base.head!.classes
  const memory = wholeRowBytes(base) + wholeRowBytes(4)
  const { engine, control } = await startEngine(t, { bankMode: 'shared', memory })
  await engine.writeRow(1, randomRow(1, 4))
  const expected = await engine.run(one(1), 1)
  control.nextRun(Fault.waits)
  const running = engine.run(one(1), 1)
  await control.inRun()
  engine.clear(1)
  await t.rejects(engine.writeRow(2, randomRow(2, 4)), { name: 'RangeError' })
  control.release()
  t.strictSame((await running).logits, expected.logits)
  await engine.writeRow(2, randomRow(2, 4))
})

t.test('tensors that do not fit the trunk are refused and the row stays as it was', async (t) => {
  await engine.writeRow(1, randomRow(1, 4))
  const expected = await engine.run(one(1), 1)
  const wrong = {
    'a short affine': { ...randomRow(2, 4), tensors: randomRow(2, 4).tensors.with(0, new Float32Array(3)) },
    'a matrix too few': { ...randomRow(2, 4), tensors: randomRow(2, 4).tensors.slice(0, -1) },
    'half precision': randomRow(2, 4, 'f16'),
    'a short head': { ...randomRow(2, 4), head: { ...randomRow(2, 4).head!, classes: 5 } },
  }
  for (const [what, tensors] of Object.entries(wrong)) {
    await t.rejects(engine.writeRow(1, tensors), { name: 'RangeError', message: /^bank row 1/ }, what)
  }
  t.strictSame((await engine.run(one(1), 1)).features, expected.features)
})

t.test('the base cannot be replaced, and rows beyond the bank do not exist', async (t) => {
  for (const row of [0, 12, -1, 1.5]) {
    await t.rejects(engine.writeRow(row, randomRow(1, 4)), { name: 'RangeError', message: /1-11/ })
    t.throws(() => engine.clear(row), { name: 'RangeError', message: /1-11/ })
  }
  await engine.probe()
})

t.test('buffers are taken over, not copied', async (t) => {
  const tensors = randomRow(1, 4)
  await engine.writeRow(1, tensors)
  t.ok(tensors.tensors.every((tensor) => tensor.length === 0))
  t.equal(tensors.head!.weight.length, 0)
  const batch = one(1)
  await engine.run(batch, 1)
  t.equal(batch.pixels.length, 0)
})

t.test('pixels that are a part of a larger buffer leave the rest alone', async (t) => {
  const two = randomPixels(2, 5)
  const half = two.length / 2
  const expected = await engine.run({ pixels: two.slice(half), rows: Int32Array.of(0) }, 1)
  for (const pixels of [two.subarray(half), Buffer.from(two.buffer, half)]) {
    const found = await engine.run({ pixels, rows: Int32Array.of(0) }, 1)
    t.strictSame(found.features, expected.features)
    t.equal(two.length, 2 * half)
  }
})

t.test('a misshapen batch is refused before it is sent', async (t) => {
  const before = control.runs
  const bad = [
    { pixels: new Uint8Array(0), rows: new Int32Array(0) },
    { pixels: randomPixels(1, 1), rows: Int32Array.of(0, 0) },
    { pixels: new Uint8Array(7), rows: Int32Array.of(0) },
  ]
  for (const batch of bad) await t.rejects(engine.run(batch, 1), RangeError)
  t.equal(control.runs, before)
})
