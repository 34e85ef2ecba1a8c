/** Graphs in half precision: how a family gets them, what they compute, and that nothing else of it changes. */
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { halveCommand } from '../src/commands/family-halve.js'
import { readFamily } from '../src/family/folder.js'
import { FLOAT, FLOAT16, intOf, loadModel } from '../src/onnx/onnx.js'
import { choosePrecision } from '../src/serve/precision.js'
import { Control, family, randomPixels, randomRow, relativeError, startEngine } from './engine-rig.js'
import { runCommand } from './run-command.js'

const dir = t.testdir()
cpSync(family.dir, dir, { recursive: true })
const before = await readFamily(dir)

const control = new Control()
const halve = async () =>
  (
    await runCommand(
      halveCommand(() => control.createWorker()),
      dir,
    )
  ).out

t.test('a family gets them beside its others, and stays what it is', async (t) => {
  const wanted = { precision: 'fp16', bank: 'device', bankDtype: 'f16', device: { kind: 'cpu' } } as const
  t.throws(() => choosePrecision(wanted, before), {
    message: /no graphs in half precision.*facet family halve/,
  })
  const report = await halve()
  t.match(report, /fp16, f32 bank: features differ from fp32 by \d/)
  t.match(report, /written .*trunk\.fp16\.onnx/)
  const after = await readFamily(dir)
  t.equal(after.manifest.fingerprint, before.manifest.fingerprint)
  t.same(after.manifest.graphs!.slice(0, -2), before.manifest.graphs)
  t.same(choosePrecision(wanted, after), { precision: 'fp16' })
  await halve()
  t.same((await readFamily(dir)).manifest, after.manifest, 'once more is the same')
})

t.test('all is computed in half precision, from the pixels to the features', async (t) => {
  for (const file of ['trunk.fp16.onnx', 'trunk.fp16.f16.onnx']) {
    const read = (name: string) => readFileSync(join(dir, name))
    const { nodes, constants } = loadModel(read(file), read)
    const casts = nodes.filter(({ op }) => op === 'Cast')
    const single = casts.filter((node) => intOf(node, 'to', 0) === FLOAT)
    t.same(
      single.map(({ outputs }) => outputs),
      [['features']],
    )
    const cast = new Set(casts.flatMap(({ inputs }) => inputs))
    const floats = [...constants].filter(([, { type }]) => type === FLOAT).map(([name]) => name)
    t.ok(floats.length > 0 && floats.every((name) => cast.has(name)), 'weights of the common file are cast')
    t.ok([...constants.values()].some(({ type }) => type === FLOAT16))
  }
})

t.test('it serves what float32 serves, rounded', async (t) => {
  const options = { family: await readFamily(dir), bankDtype: 'f16', bankMode: 'compact' } as const
  const half = await startEngine(t, { ...options, precision: 'fp16' })
  const { engine } = await startEngine(t, options)
  for (const either of [engine, half.engine]) await either.writeRow(1, randomRow(3, 4, 'f16'))
  const batch = () => ({ pixels: randomPixels(3, 5), rows: Int32Array.of(0, 1, 0) })
  const [found, expected] = [await half.engine.run(batch(), 1), await engine.run(batch(), 1)]
  const error = relativeError(found.features, expected.features)
  t.ok(error > 1e-5 && error < 5e-2, `features differ by ${error}`)
})
