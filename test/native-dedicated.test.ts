/** Dedicated networks of the native runtime: the same answers, and never those of another content of their row. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decodeFloat16 } from '../src/bytes/float16.js'
import { dedicatedNetwork } from '../src/compiler/dedicated.js'
import type { Engine, EngineOptions } from '../src/engine/engine.js'
import type { RowTensors } from '../src/engine/batch.js'
import type { BankDtype } from '../src/engine/plan.js'
import { packRow } from '../src/engine/row.js'
import { loadNative } from '../src/native/addon.js'
import { loadModel, saveModel } from '../src/onnx/onnx.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { Fault } from './faulty-worker-control.mjs'
import {
  Control,
  family,
  makeEngine,
  nativeWithFaults,
  randomPack,
  randomPixels,
  relativeError,
  split,
} from './engine-rig.js'

const skip = !existsSync(nativeWithFaults) && 'it is not built: npm run native:build -- --faults'
const { base, manifest, layout, dir } = family
const graph = readFileSync(family.graph({ serves: 'one', bank: 'f32' }))
const trunk = loadModel(graph, (location) => readFileSync(join(dir, location)))
const canary = randomPixels(1, 3)

const rowOf = (pack: Pack, dtype: BankDtype = 'f32') => packRow(pack, base, manifest, layout, dtype)

/** The network of a bank row. */
function networkOf({ tensors }: RowTensors): Uint8Array {
  const row = tensors.map((tensor) =>
    tensor instanceof Float32Array ? tensor : decodeFloat16(tensor).floats,
  )
  return saveModel(dedicatedNetwork(trunk, { manifest, layout }, row))
}

async function native(t: Test, options: Partial<EngineOptions> = {}) {
  const control = new Control()
  const { engine } = makeEngine(t, { native: loadNative(nativeWithFaults, control.array), ...options })
  await engine.start()
  return { engine, control }
}

async function dedicate(engine: Engine, row: number, network: Uint8Array): Promise<boolean> {
  const opened = await engine.openDedicated(row, network, canary.slice())
  return opened.use()
}

const run = (engine: Engine, rows: number[], seed = 1) =>
  engine.run({ pixels: randomPixels(rows.length, seed), rows: Int32Array.from(rows) }, engine.generation)

for (const [bankDtype, some] of [
  ['f32', /./],
  ['f16', /eurosat|sketch/],
] as const) {
  t.test(`shipped packs are answered alike, ${bankDtype} bank`, { skip }, async (t) => {
    const { engine } = await native(t, { bankDtype, lanes: 2 })
    const names = readdirSync('adapters/resnet26-half').filter(
      (name) => name.endsWith('.safetensors') && some.test(name),
    )
    const packs = names.map((name) => readPack(readFileSync(`adapters/resnet26-half/${name}`), manifest))
    t.equal(packs.length, bankDtype === 'f32' ? 13 : 2)
    for (const [index, pack] of [...packs, randomPack(5, 4), randomPack(6, 0)].entries()) {
      await engine.writeRow(1, rowOf(pack, bankDtype))
      const batches = [[1], [1, 1, 1], Array.from({ length: 8 }, () => 1)]
      const expected = await Promise.all(batches.map((rows, seed) => run(engine, rows, seed)))
      const opened = await engine.openDedicated(1, networkOf(rowOf(pack, bankDtype)), canary.slice())
      const { features } = await engine.run({ pixels: canary.slice(), rows: Int32Array.of(1) }, 1)
      t.ok(relativeError(opened.features, features) <= 1e-4, 'on the image that it is tried on')
      t.ok(opened.use())
      const found = await Promise.all(batches.map((rows, seed) => run(engine, rows, seed)))
      for (const [at, result] of found.entries()) {
        t.ok(result.dedicated, `${names[index]}: its network ran`)
        t.notOk(expected[at]!.dedicated)
        for (const [image, answer] of split(result).entries()) {
          const other = split(expected[at]!)[image]!
          t.ok(relativeError(answer.features, other.features) <= 1e-4, `${names[index]}: features`)
          t.ok(relativeError(answer.logits, other.logits) <= 1e-4, `${names[index]}: logits`)
        }
      }
    }
  })
}

t.test('it runs batches of its row alone, until it is dropped', { skip }, async (t) => {
  const { engine } = await native(t)
  for (const row of [1, 2]) await engine.writeRow(row, rowOf(randomPack(row, 3)))
  const mixed = await run(engine, [1, 2, 1])
  t.equal(engine.dedicatedNetworks, 0)
  t.ok(await dedicate(engine, 1, networkOf(rowOf(randomPack(1, 3)))))
  t.ok(await dedicate(engine, 0, networkOf(rowOf(base))), 'the base may have one, too')
  t.equal(engine.dedicatedNetworks, 2)
  t.same(
    [0, 1, 2].map((row) => engine.hasDedicated(row)),
    [true, true, false],
  )
  const again = await run(engine, [1, 2, 1])
  t.notOk(again.dedicated)
  t.same(again.features, mixed.features)
  t.ok((await run(engine, [1, 1])).dedicated)
  t.ok((await run(engine, [0])).dedicated)
  await engine.probe()
  engine.dropDedicated(1)
  engine.dropDedicated(2)
  t.notOk((await run(engine, [1, 1])).dedicated)
  t.equal(engine.dedicatedNetworks, 1)
})

t.test(
  'a row that is cleared or written has none, and what was opened for its content before is refused',
  { skip },
  async (t) => {
    const { engine } = await native(t, { lanes: 2 })
    const [one, two] = [randomPack(1, 3), randomPack(2, 3)]
    await engine.writeRow(1, rowOf(two))
    const expected = (await run(engine, [1])).features
    await engine.writeRow(1, rowOf(one))
    const opened = await engine.openDedicated(1, networkOf(rowOf(one)), canary.slice())
    t.ok(await dedicate(engine, 1, networkOf(rowOf(one))))
    engine.clear(1)
    t.notOk(engine.hasDedicated(1))
    await engine.writeRow(1, rowOf(two))
    t.notOk(opened.use(), 'opened before')
    const pending = engine.openDedicated(1, networkOf(rowOf(two)), canary.slice())
    t.ok(relativeError((await run(engine, [1])).features, expected) < 1e-5)
    engine.clear(1)
    t.notOk((await pending).use(), 'while it was opened')
    await t.rejects(engine.openDedicated(1, networkOf(rowOf(two)), canary), {
      message: 'bank row 1 is empty',
    })
    await engine.writeRow(1, rowOf(two))
    const unused = await engine.openDedicated(1, networkOf(rowOf(two)), canary.slice())
    unused.discard()
    t.notOk(unused.use(), 'discarded')
    t.equal(engine.dedicatedNetworks, 0)
  },
)

t.test('rows change under load, and every answer is that of what the row held', { skip }, async (t) => {
  const { engine } = await native(t, { lanes: 2 })
  const packs = [1, 2, 3].map((seed) => randomPack(seed, 3))
  const networks = packs.map((pack) => networkOf(rowOf(pack)))
  const expected: Float32Array[] = []
  for (const pack of packs) {
    await engine.writeRow(1, rowOf(pack))
    expected.push((await run(engine, [1])).features)
  }
  let dedicated = 0
  for (let round = 0; round < 12; round++) {
    const content = round % 3
    engine.clear(1)
    await engine.writeRow(1, rowOf(packs[content]!))
    const opening = dedicate(engine, 1, networks[content]!)
    const runs = Array.from({ length: 12 }, () => run(engine, [1]))
    t.ok(await opening)
    runs.push(...Array.from({ length: 12 }, () => run(engine, [1])))
    // Some of them are in a lane, or wait for one.
    if (round % 2 === 0) engine.dropDedicated(1)
    for (const result of await Promise.all(runs)) {
      if (result.dedicated) dedicated++
      if (!(relativeError(result.features, expected[content]!) <= 1e-4)) return t.fail(`round ${round}`)
    }
  }
  t.ok(dedicated >= 12 * 12)
})

t.test('what is no network of the family is refused, and the lanes go on', { skip }, async (t) => {
  const { engine } = await native(t)
  await engine.writeRow(1, rowOf(randomPack(1, 3)))
  const open = (network: Uint8Array, pixels = canary.slice()) => engine.openDedicated(1, network, pixels)
  await t.rejects(open(Uint8Array.of(1, 2, 3)))
  await t.rejects(open(graph.subarray(0, 1000)))
  const other = { ...trunk, outputs: [{ ...trunk.outputs[0]!, name: trunk.nodes.at(-2)!.outputs[0]! }] }
  await t.rejects(open(saveModel(other)), { message: /inputs/ })
  await t.rejects(open(networkOf(rowOf(base)), canary.slice(1)), { message: /have lengths/ })
  t.notOk((await run(engine, [1])).dedicated)
  t.ok(await dedicate(engine, 1, networkOf(rowOf(randomPack(1, 3)))))
})

t.test('a restart of the lanes leaves none', { skip }, async (t) => {
  const { engine, control } = await native(t, { lanes: 2 })
  await engine.writeRow(1, rowOf(randomPack(1, 3)))
  const network = networkOf(rowOf(randomPack(1, 3)))
  t.ok(await dedicate(engine, 1, network))
  const opened = await engine.openDedicated(0, networkOf(rowOf(base)), canary.slice())
  const up = new Promise((resolve) => engine.once('up', resolve))
  control.nextRun(Fault.exits)
  const opening = engine.openDedicated(1, network, canary.slice())
  const settled = opening.then((late) => late.use()).catch(({ code }) => code)
  await t.rejects(run(engine, [1]), { code: 'engine_restarting' })
  t.equal(engine.dedicatedNetworks, 0)
  t.notOk(opened.use(), 'of the lanes before')
  t.ok([false, 'engine_restarting'].includes(await settled), 'nor what was being opened')
  await up
  t.equal(engine.dedicatedNetworks, 0)
  t.notOk((await run(engine, [0])).dedicated)
})

t.test('the engine stops at once while networks are opened and run', { skip }, async (t) => {
  const { engine } = await native(t, { lanes: 2 })
  for (const row of [1, 2, 3]) await engine.writeRow(row, rowOf(randomPack(row, 3)))
  t.ok(await dedicate(engine, 1, networkOf(rowOf(randomPack(1, 3)))))
  const runs = Array.from({ length: 8 }, () => run(engine, [1]))
  // One after the other: the first may be open before the engine stops, the last is not.
  const openings = Array.from({ length: 8 }, (_, index) => {
    const row = 2 + (index % 2)
    return dedicate(engine, row, networkOf(rowOf(randomPack(row, 3))))
  })
  const settled = Promise.allSettled(openings)
  await engine.stop()
  for (const result of await Promise.all(runs)) t.ok(result.dedicated, 'what was there is answered')
  t.equal((await settled).at(-1)!.status, 'rejected')
  await t.rejects(engine.openDedicated(1, Uint8Array.of(1), canary), { code: 'draining' })
})

t.test('the stock runtime has none', async (t) => {
  const control = new Control()
  const { engine } = makeEngine(t, { createWorker: () => control.createWorker() })
  await engine.start()
  await t.rejects(engine.openDedicated(0, Uint8Array.of(1), canary), { message: /stock runtime/ })
  engine.dropDedicated(0)
  t.equal(engine.dedicatedNetworks, 0)
})
