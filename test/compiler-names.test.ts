/**
 * A backbone may give its values, initializers and nodes any names, those that a family's graphs use
 * included.
 */
import path from 'node:path'
import onnxProto from 'onnx-proto'
import t from 'tap'
import type { BuiltFamily } from '../src/compiler/build.js'
import { GRAPH_NAMES, isReservedName } from '../src/manifest/layout.js'
import { networks } from './backbones.js'
import { reference } from './reference.js'
import { basePack, build, distance, normalised, openTrunk, randomPixels } from './trunk.js'

const { ModelProto } = onnxProto.onnx

/** Every name of a graph's values: inputs, initializers, and what nodes make. */
function valuesOf(bytes: Uint8Array): string[] {
  const { input, initializer, node } = ModelProto.decode(bytes).graph!
  const weights = new Set(initializer!.map(({ name }) => name!))
  const inputs = input!.map(({ name }) => name!).filter((name) => !weights.has(name))
  return [...inputs, ...weights, ...node!.flatMap(({ output }) => output!)]
}

/** The model with new names of values and nodes. */
function renamed(
  bytes: Uint8Array,
  values: ReadonlyMap<string, string>,
  nodeName: (index: number) => string,
): Uint8Array {
  const model = ModelProto.decode(bytes)
  const of = (name: string) => values.get(name) ?? name
  const { input, output, initializer, node, valueInfo } = model.graph!
  for (const value of [...input!, ...output!, ...initializer!, ...valueInfo!]) value.name = of(value.name!)
  for (const [index, entry] of node!.entries()) {
    entry.name = nodeName(index)
    entry.input = entry.input!.map(of)
    entry.output = entry.output!.map(of)
  }
  return ModelProto.encode(model).finish()
}

/** Names that are defined twice, or read before they are defined. */
function broken(bytes: Uint8Array): string[] {
  const { input, initializer, node } = ModelProto.decode(bytes).graph!
  const known = new Set<string>([''])
  const problems: string[] = []
  const define = (name: string) => {
    if (known.has(name) && name !== '') problems.push(`${name} is defined twice`)
    known.add(name)
  }
  for (const { name } of [...input!, ...initializer!]) define(name!)
  for (const entry of node!) {
    for (const name of entry.input!) if (!known.has(name)) problems.push(`${name} is read, and not defined`)
    for (const name of entry.output!) define(name)
  }
  return problems
}

const graphsOf = (built: BuiltFamily) =>
  [...built.files].filter(([name]) => name.endsWith('.onnx')).map(([, bytes]) => bytes)

/** Builds between two that are also run. */
const RUN_EVERY = 60

for (const [name, make] of Object.entries(networks)) {
  t.test(`${name}: every value and node with every name that a family's graphs use`, async (t) => {
    const net = make()
    const onnx = net.onnx()
    const plain = await build(onnx)
    const values = valuesOf(onnx)
    // What the builder itself writes, and weights whose slots are named like parts of it.
    const written = graphsOf(plain).flatMap(valuesOf).filter(isReservedName)
    const unwritten = ['matrix.x', 'facet/x', 'backbone/scale', 'backbone/scale_', 'input', 'slot', 'head']
    const candidates = [...new Set([...GRAPH_NAMES, ...written, ...unwritten])]
    candidates.push(...[...GRAPH_NAMES, ...unwritten].map((name) => `${name}.weight`))
    const names = candidates.filter((name) => !values.includes(name))

    const pixels = randomPixels(2, net.size)
    const base = basePack(plain)
    const image = (index: number) => {
      const data = normalised(pixels, index, net.size, base)
      return { channels: 3, height: net.size, width: net.size, data }
    }
    const expected = [0, 1].flatMap((index) => [...reference(net, image(index))])

    // Each round gives the names to other values, and about half of the values keep theirs. After all rounds
    // each value had each name.
    const rounds = values.length + names.length
    const problems: string[] = []
    for (let round = 0; round < rounds; round++) {
      const map = new Map<string, string>()
      for (const [index, name] of names.entries()) {
        const value = values[(index + round) % rounds]
        if (value !== undefined) map.set(value, name)
      }
      try {
        const bytes = renamed(onnx, map, (index) => names[(index + round) % names.length]!)
        const built = await build(bytes)
        problems.push(...graphsOf(built).flatMap(broken))
        const features = plain.backbone.features
        if (built.backbone.features !== (map.get(features) ?? features))
          problems.push(`the features are ${built.backbone.features}, not ${map.get(features)}`)
        if (round % RUN_EVERY > 0) continue
        const trunk = await openTrunk(built, path.join(t.testdir(), 'family'))
        t.ok(distance(await trunk.run([basePack(built)], pixels, [0, 0]), expected) <= 1e-4)
        t.ok(distance(await trunk.runOne(basePack(built), pixels), expected) <= 1e-4)
      } catch (error) {
        problems.push((error as Error).message)
      }
    }
    t.same([...new Set(problems)].slice(0, 5), [])
  })
}

t.test('a slot has the name that the backbone gives its weights, reserved or not', async (t) => {
  const net = networks.residual()
  const onnx = net.onnx()
  const map = new Map([
    ['a.conv.weight', 'input.weight'],
    ['b.conv.weight', 'matrix.weight'],
    ['c.conv.weight', 'facet/x.weight'],
    ['head.bias', 'scale'],
  ])
  const built = await build(renamed(onnx, map, () => ''))
  t.match(
    built.manifest.slots.map((slot) => slot.name),
    ['stem.conv', 'input', 'matrix', 'bn', 'facet/x'],
  )
})

t.test('--features takes the name that the backbone gives a value, reserved or not', async (t) => {
  const net = networks.residual()
  const onnx = renamed(net.onnx(), new Map([[net.features, 'scale']]), (index) => `n${index}`)
  t.equal((await build(onnx, { features: 'scale' })).backbone.features, 'scale')
})
