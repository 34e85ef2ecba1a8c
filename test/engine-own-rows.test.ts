/**
 * Rows that hold only what their pack brings: a head alone, scales and biases, or everything. What they give is what whole
 * rows give, on every runtime and graph.
 */
import { existsSync } from 'node:fs'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { finish } from '../src/concurrency/turns.js'
import { bytesOfRow } from '../src/engine/bank-spec.js'
import type { Engine, EngineOptions } from '../src/engine/engine.js'
import { ownRowSteps, packRow } from '../src/engine/row.js'
import { loadNative, nativeFile } from '../src/native/addon.js'
import type { BankDtype } from '../src/engine/plan.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import {
  family,
  randomHead,
  randomPack,
  randomPixels,
  relativeError,
  split,
  startEngine,
  wholeRowBytes,
} from './engine-rig.js'

const { base, layout, manifest } = family
const TOLERANCE = 1e-5

function labelled(pack: Pack, classes: number): Pack {
  const labels = Array.from({ length: classes }, (_, index) => `class ${index}`)
  return { ...pack, labels: classes > 0 ? labels : null }
}

/** A pack as it is read from a file. @param seed decides what it brings: by turns everything, no matrices, a head alone */
function packOf(seed: number): Pack {
  let pack = packs.get(seed)
  if (pack === undefined) {
    pack = makePack(seed)
    packs.set(seed, pack)
  }
  return pack
}

const packs = new Map<number, Pack>()

function makePack(seed: number): Pack {
  const classes = 2 + (seed % 5)
  const pack = labelled(randomPack(seed, classes), classes)
  if (seed % 3 === 1) for (const [name, { scale, bias }] of pack.slots) pack.slots.set(name, { scale, bias })
  const { mean, std } = base
  const bare: Pack = { ...pack, design: 'feature', mean, std, slots: new Map() }
  const dtypes = { dtype: 'f32' as const, head: seed % 2 === 0 ? ('f16' as const) : ('f32' as const) }
  return readPack(writePack(seed % 3 === 2 ? bare : pack, manifest, dtypes), manifest)
}

/** Seeds of packs of each sort, with heads of either type. */
const WHOLE = [3, 6]
const AFFINE = [1, 4]
const BARE = [2, 5, 8]

const ownRow = (pack: Pack, dtype: BankDtype) => finish(ownRowSteps(pack, family, dtype, () => false))
const wholeRow = (pack: Pack, dtype: BankDtype) => packRow(pack, base, manifest, layout, dtype)

t.test('what rows of each sort hold', async (t) => {
  const tensors = (seed: number) => ownRow(packOf(seed), 'f32').tensors.length
  t.same(WHOLE.map(tensors), [layout.tensors.length, layout.tensors.length])
  t.same(AFFINE.map(tensors), [1, 1])
  t.same(BARE.map(tensors), [0, 0, 0])
  const half = ownRow(packOf(2), 'f32').head!
  t.same([half.weight.constructor, half.bias.constructor], [Uint16Array, Float32Array])
})

/** Engines under test, by what runs them. */
const native = existsSync(nativeFile()) ? loadNative() : undefined
const kinds: [string, BankDtype, Partial<EngineOptions> | undefined][] = [
  ['stock', 'f32', {}],
  ['stock, a compact bank', 'f16', { bankMode: 'compact' }],
  ['native', 'f32', native && { native: { ...native, hasOwnOperator: false } }],
  ["native, Facet's own operator", 'f32', native && { native: { ...native, hasOwnOperator: true } }],
  ["native, Facet's own operator", 'f16', native && { native: { ...native, hasOwnOperator: true } }],
]

/** A difference of any answer to what whole rows give. */
async function error(own: Engine, whole: Engine, rows: readonly number[], seed: number): Promise<number> {
  const pixels = randomPixels(rows.length, seed)
  const batch = () => ({ pixels: pixels.slice(), rows: Int32Array.from(rows) })
  const expected = split(await whole.run(batch(), 1))
  const errors = split(await own.run(batch(), 1)).flatMap(({ features, logits }, index) => [
    relativeError(features, expected[index]!.features),
    relativeError(logits, expected[index]!.logits),
  ])
  return Math.max(...errors)
}

async function pair(t: Test, bankDtype: BankDtype, options: Partial<EngineOptions>) {
  const [own, whole] = [
    (await startEngine(t, { ...options, bankDtype })).engine,
    (await startEngine(t, { ...options, bankDtype })).engine,
  ]
  const write = async (row: number, seed: number) => {
    const pack = packOf(seed)
    await own.writeRow(row, ownRow(pack, bankDtype))
    await whole.writeRow(row, wholeRow(pack, bankDtype))
  }
  return { own, whole, write }
}

for (const [what, dtype, options] of kinds) {
  const skip = options === undefined && 'the add-on is not built: npm run native:build'
  t.test(`${what}, ${dtype} bank: any mix gives what whole rows give`, { skip }, async (t) => {
    const { own, whole, write } = await pair(t, dtype, options!)
    const seeds = [...WHOLE, ...AFFINE, ...BARE]
    for (const [index, seed] of seeds.entries()) await write(index + 1, seed)
    const [whole1, , affine1, affine2, bare1, bare2, bare3] = seeds.map((_, index) => index + 1) as number[]
    const mixes = [
      [bare1, bare2, bare3, bare1, 0],
      [bare2, bare2],
      [affine1, affine2, affine1],
      [affine2],
      [whole1, bare1],
      [affine1, whole1, bare3, 0, affine2, 2, bare1, affine1],
    ] as number[][]
    for (const [seed, rows] of mixes.entries()) {
      const found = await error(own, whole, rows, seed)
      t.ok(found <= TOLERANCE, `rows ${rows}: ${found}`)
    }
  })

  t.test(`${what}, ${dtype} bank: whatever rows held before`, { skip }, async (t) => {
    const { own, whole, write } = await pair(t, dtype, options!)
    const step = fc.record({
      row: fc.integer({ min: 1, max: 3 }),
      seed: fc.integer({ min: 1, max: 9 }),
      clear: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        for (const row of [1, 2, 3]) await write(row, row)
        for (const { row, seed, clear } of steps) {
          if (clear) for (const engine of [own, whole]) engine.clear(row)
          await write(row, seed)
        }
        const found = await error(own, whole, [1, 2, 0, 3, 1], steps.length)
        return found <= TOLERANCE
      }),
      { numRuns: 3, seed: 7 },
    )
  })

  t.test(
    `${what}, ${dtype} bank: rows that differ in their heads alone are one domain`,
    { skip },
    async (t) => {
      const { engine } = await startEngine(t, { ...options, bankDtype: dtype })
      for (const [index, seed] of BARE.entries())
        await engine.writeRow(index + 1, ownRow(packOf(seed), dtype))
      const pixels = randomPixels(4, 1)
      const run = (...rows: number[]) =>
        engine.run({ pixels: pixels.slice(), rows: Int32Array.from(rows) }, 1)
      const ofBase = await run(0, 0, 0, 0)
      const mixed = await run(1, 2, 3, 1)
      // To the last bit: it is the same graph, fed in the same way.
      t.strictSame(mixed.features, ofBase.features)
      t.same(
        mixed.logits.map((logits) => logits!.length),
        [1, 2, 3, 1].map((row) => packOf(BARE[row - 1]!).head!.classes),
      )
    },
  )

  t.test(`${what}, ${dtype} bank: rows take the memory of what they hold`, { skip }, async (t) => {
    const bare = ownRow({ ...packOf(2), head: randomHead(4, 1) }, dtype)
    const least = wholeRowBytes(base.head!.classes)
    const memory = least + 9 * bytesOfRow(bare)
    const { engine } = await startEngine(t, { ...options, bankDtype: dtype, memory })
    for (let row = 1; row <= 9; row++)
      await engine.writeRow(row, ownRow({ ...packOf(2), head: randomHead(4, row) }, dtype))
    if (dtype === 'f32')
      await t.rejects(engine.writeRow(10, ownRow(packOf(1), dtype)), { name: 'RangeError' }, 'it is full')
    t.equal(
      (await engine.run({ pixels: randomPixels(1, 1), rows: Int32Array.of(9) }, 1)).logits[0]!.length,
      4,
    )
  })
}
