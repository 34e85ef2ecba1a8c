/** The canary finds packs that overflow on one kind of image only, and costs a valid pack one run. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import onnxProto from 'onnx-proto'
import t, { type Test } from 'tap'
import type { Engine } from '../src/engine/engine.js'
import { packRow } from '../src/engine/row.js'
import type { EngineBatch } from '../src/engine/batch.js'
import type { FacetError } from '../src/errors.js'
import { readFamily } from '../src/family/folder.js'
import type { Slot } from '../src/manifest/manifest.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { createCanary } from '../src/residency/canary.js'
import { family, imageBytes, startEngine } from './engine-rig.js'
import { Network } from './networks.js'
import { build } from './trunk.js'

const { onnx } = onnxProto
const { base, manifest, layout } = family
const [stem, first, second] = manifest.slots
const HUGE = 1e38

/**
 * The base with one changed channel, whose convolutions are switched off, so that it depends on single pixels.
 * In the stem its value is `weights · rgb`, rgb from 0 to 1; in the next slot `HUGE * (that + bias)`. The Relu
 * cuts off negative values; positive ones overflow in the slot after it.
 */
function explosive(weights: [number, number, number], bias: number): Pack {
  const slots = new Map(base.slots)
  const changed = (slot: Slot) => {
    const own = structuredClone(base.slots.get(slot.name)!)
    own.matrix ??= new Float32Array(slot.out * slot.columns)
    own.matrix.fill(0, 0, slot.columns)
    slots.set(slot.name, own)
    return own as SlotWeights & { matrix: Float32Array }
  }
  const seeing = changed(stem!)
  seeing.scale[0] = 0
  seeing.bias[0] = 0
  seeing.matrix.set(weights)
  const judging = changed(first!)
  judging.scale[0] = 0
  judging.bias[0] = HUGE * bias
  judging.matrix[0] = HUGE
  const bursting = changed(second!)
  slots.set(second!.name, { ...bursting, scale: bursting.scale.map((value) => value * 1e4) })
  return { ...base, slots, mean: [0, 0, 0], std: [1, 1, 1] }
}

/** The canary's verdict on a pack, and the runs of the engine that it needed. */
async function tried(
  t: Test,
  pack: Pack,
): Promise<{ runs: number; batches: EngineBatch[]; problems: readonly string[] }> {
  const { engine } = await startEngine(t, { rows: 2 })
  await engine.writeRow(1, packRow(pack, base, manifest, layout, 'f32'))
  const batches: EngineBatch[] = []
  const counted: Pick<Engine, 'run'> = {
    run: (batch, generation) => {
      batches.push({ ...batch, pixels: batch.pixels.slice() })
      return engine.run(batch, generation)
    },
  }
  const problems = await createCanary(counted, manifest.input)(1, engine.generation).then(
    () => [],
    (error: FacetError) => {
      t.match(error, { code: 'invalid_pack', status: 422 })
      return error.problems ?? []
    },
  )
  return { runs: batches.length, batches, problems }
}

const features = (kind: string) => `The features of the ${kind} canary image are not finite.`

t.test('a valid pack costs one run of one image', async (t) => {
  const { runs, batches, problems } = await tried(t, base)
  t.same({ runs, problems }, { runs: 1, problems: [] })
  t.equal(batches[0]!.pixels.length, imageBytes)
})

t.test('packs of a backbone whose features are its last maps pass', async (t) => {
  const net = new Network(16, {}, 3)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 6], { stride: 2 }), 6))
  net.linear('head', net.vector(x), [6 * 8 * 8, 3])
  const model = onnx.ModelProto.decode(net.onnx())
  // The features are all pixels of the last maps, as in VGG.
  for (const node of model.graph!.node!) if (node.opType === 'GlobalAveragePool') node.opType = 'Identity'
  const { files, manifest } = await build(onnx.ModelProto.encode(model).finish())
  t.equal(manifest.features, 6 * 8 * 8)
  const dir = t.testdir()
  for (const [name, bytes] of files) writeFileSync(path.join(dir, name), bytes)
  const bound = await readFamily(dir)
  const { engine } = await startEngine(t, { rows: 2, family: bound })
  await engine.writeRow(1, packRow(bound.base, bound.base, bound.manifest, bound.layout, 'f32'))
  await createCanary(engine, manifest.input)(1, 1)
})

t.test('a pack that blows up on black only', async (t) => {
  const { problems } = await tried(t, explosive([-1, -1, -1], 0.02))
  t.same(problems, [features('black')])
})

t.test('a pack that blows up on white only', async (t) => {
  const { problems } = await tried(t, explosive([1, 1, 1], -2.98))
  t.same(problems, [features('white')])
})

t.test('a pack that blows up on noise only', async (t) => {
  const { problems } = await tried(t, explosive([1, -1, 0], -0.2))
  t.same(problems, [features('noise')])
})

t.test('a pack whose head blows up', async (t) => {
  const head = {
    classes: 2,
    weight: new Float32Array(2 * manifest.features).fill(3e38),
    bias: new Float32Array(2),
  }
  const { problems } = await tried(t, { ...base, head, labels: ['a', 'b'] })
  t.match(problems[0], /^The head's answer to the black canary image is not finite/)
  t.equal(problems.length, 3)
})

t.test('large and finite is accepted, after a closer look', async (t) => {
  const head = {
    classes: 1,
    weight: new Float32Array(manifest.features).fill(1e8),
    bias: new Float32Array(1),
  }
  const { runs, problems } = await tried(t, { ...base, head, labels: ['a'] })
  t.same({ runs, problems }, { runs: 4, problems: [] })
})
