import t from 'tap'
import type { EngineResult } from '../src/engine/batch.js'
import {
  imageBytes,
  randomHead,
  randomPixels,
  randomRow,
  relativeError,
  split,
  startEngine,
} from './engine-rig.js'

/** Classes of the domain in each row; row 3 serves `embed` only. */
const classes = [0, 10, 26, 0, 7, 100, 3, 2, 11]
const domains = [1, 2, 3, 4, 5, 6, 7, 8]

const { engine, control } = await startEngine(t)

/** The largest error of any answer. */
function worst(found: EngineResult, expected: EngineResult): number {
  const expectedAnswers = split(expected)
  const errors = split(found).flatMap(({ features, logits }, index) => [
    relativeError(features, expectedAnswers[index]!.features),
    relativeError(logits, expectedAnswers[index]!.logits),
  ])
  return Math.max(...errors)
}

t.test(
  'a batch of 8 samples of 8 domains is one run, each answer equal to the one it gets alone',
  async (t) => {
    for (const row of domains) await engine.writeRow(row, randomRow(row, classes[row]!))
    const pixels = randomPixels(8, 1)
    const before = control.runs
    const mixed = await engine.run({ pixels: pixels.slice(), rows: Int32Array.from(domains) }, 1)
    t.equal(control.runs - before, 1)
    t.equal(mixed.runs, control.runs, 'the count that the engine reports is the true one')
    for (const [index, { features, logits }] of split(mixed).entries()) {
      const image = pixels.slice(index * imageBytes, (index + 1) * imageBytes)
      const alone = await engine.run({ pixels: image, rows: Int32Array.of(domains[index]!) }, 1)
      t.ok(relativeError(features, alone.features) < 1e-4, `features of row ${domains[index]}`)
      t.ok(relativeError(logits, alone.logits[0]!) < 1e-4, `logits of row ${domains[index]}`)
      t.equal(logits?.length ?? 0, classes[domains[index]!])
    }
    const apart = split(mixed)
    t.ok(relativeError(apart[0]!.features, apart[1]!.features) > 0.05, 'the domains do differ')
  },
)

t.test('the cheap path of a batch of one domain gives what the mixed path gives', async (t) => {
  for (const row of [1, 2]) await engine.writeRow(row, randomRow(row, 10))
  const pixels = randomPixels(4, 2)
  const one = await engine.run({ pixels: pixels.slice(), rows: Int32Array.of(2, 2, 2, 2) }, 1)
  const joined = new Uint8Array(5 * imageBytes)
  joined.set(pixels)
  const mixed = await engine.run({ pixels: joined, rows: Int32Array.of(2, 2, 2, 2, 1) }, 1)
  const answers = split(mixed)
  for (const [index, { features, logits }] of split(one).entries()) {
    t.ok(relativeError(features, answers[index]!.features) < 1e-5)
    t.ok(relativeError(logits, answers[index]!.logits) < 1e-5)
  }
})

t.test('a head is the product of its weights with the features, small and large', async (t) => {
  const sizes = [5, 1623]
  for (const [index, size] of sizes.entries()) await engine.writeRow(index + 1, randomRow(index + 1, size))
  const rows = Int32Array.of(2, 1, 2, 2)
  const result = await engine.run({ pixels: randomPixels(4, 3), rows }, 1)
  for (const [sample, { features, logits }] of split(result).entries()) {
    const row = rows[sample]!
    const { weight, bias } = randomHead(sizes[row - 1]!, row + 1)
    const expected = bias.map((start, k) => {
      return features.reduce((sum, value, i) => sum + value * weight[k * features.length + i]!, start)
    })
    t.ok(relativeError(logits, expected) < 1e-5, `${expected.length} classes`)
  }
})

/** Batches of one domain and of several, larger and smaller than the one before. */
const mixes = [[1], [4, 4, 4], [8, 0, 3, 8, 2], [5, 6], [1, 2, 3, 4, 5, 6, 7, 8, 0], [7, 1, 7]]

t.test('a lane gives each sample what it gets alone, whatever the batches before', async (t) => {
  for (const row of domains) await engine.writeRow(row, randomRow(row, classes[row]!))
  for (const [seed, mix] of mixes.entries()) {
    const pixels = randomPixels(mix.length, seed)
    const together = await engine.run({ pixels: pixels.slice(), rows: Int32Array.from(mix) }, 1)
    for (const [index, { features, logits }] of split(together).entries()) {
      const image = pixels.slice(index * imageBytes, (index + 1) * imageBytes)
      const alone = await engine.run({ pixels: image, rows: Int32Array.of(mix[index]!) }, 1)
      t.ok(relativeError(features, alone.features) < 1e-4, `features of sample ${index} of rows ${mix}`)
      t.ok(relativeError(logits, alone.logits[0]!) < 1e-4, `logits of sample ${index} of rows ${mix}`)
    }
  }
})

for (const [bankMode, lanes] of [
  ['compact', 1],
  ['shared', 2],
] as const) {
  t.test(`${lanes} ${bankMode} lanes give what one shared lane gives, whatever the batch`, async (t) => {
    const { engine: other } = await startEngine(t, { bankMode, lanes })
    for (const either of [engine, other]) {
      for (const row of domains) await either.writeRow(row, randomRow(row, classes[row]!))
    }
    for (const [seed, mix] of mixes.entries()) {
      const rows = Int32Array.from(mix)
      const runOf = (either: typeof engine) => either.run({ pixels: randomPixels(mix.length, seed), rows }, 1)
      // As many batches at once as there are lanes, so that each lane runs some.
      const [expected, ...found] = await Promise.all([engine, ...Array(lanes).fill(other)].map(runOf))
      for (const result of found) t.ok(worst(result, expected!) < 1e-5, `rows ${mix}`)
    }
    await other.writeRow(4, randomRow(40, 12))
    await engine.writeRow(4, randomRow(40, 12))
    const rows = Int32Array.of(4, 5)
    const [expected, ...found] = await Promise.all(
      [engine, ...Array<typeof engine>(lanes).fill(other)].map((either) =>
        either.run({ pixels: randomPixels(2, 9), rows }, 1),
      ),
    )
    for (const result of found) t.ok(worst(result, expected!) < 1e-5, 'after a row was written again')
  })
}

for (const bankMode of ['shared', 'compact'] as const) {
  t.test(`a ${bankMode} bank in half precision is within its rounding`, async (t) => {
    const { engine: half } = await startEngine(t, { bankDtype: 'f16', bankMode })
    for (const row of domains) {
      await engine.writeRow(row, randomRow(row, classes[row]!))
      await half.writeRow(row, randomRow(row, classes[row]!, 'f16'))
    }
    const rows = Int32Array.from([0, ...domains])
    const expected = await engine.run({ pixels: randomPixels(9, 4), rows }, 1)
    const found = await half.run({ pixels: randomPixels(9, 4), rows }, 1)
    const error = worst(found, expected)
    t.ok(error < 1e-2, `relative error ${error}`)
    t.ok(error > 0, 'it is another bank')
  })
}
