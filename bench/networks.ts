/**
 * The networks that are measured: the paper's ResNet-26 at full width with random weights, once as a family
 * and once as the dedicated network of each domain (trunk and adapter merged, normalisations folded).
 *
 * Both take the same bytes (`uint8 [N, H, W, 3]`) and compute the same numbers.
 */
import { readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runModel } from '../src/commands/run-model.js'
import { type BuildOptions, buildFamily } from '../src/compiler/build.js'
import { dedicatedNetwork } from '../src/compiler/dedicated.js'
import { packRow } from '../src/engine/row.js'
import { elementsOf, slotParts } from '../src/manifest/kinds/kinds.js'
import { FEATURES } from '../src/manifest/layout.js'
import {
  FLOAT,
  floatTensor,
  intAttribute,
  intsAttribute,
  loadModel,
  type Model,
  saveModel,
} from '../src/onnx/onnx.js'
import type { Family } from '../src/family/family.js'
import { readFamily } from '../src/family/folder.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { type Conv, Drawing } from './drawing.js'
import { random, uniform } from './random.js'

const SIDE = 64
const BLOCKS = 4
const WIDTHS = [64, 128, 256]
const STEM = 32
export const CLASSES = 100

/** The frozen weights and the classifier, drawn once. */
export interface Backbone {
  convs: Conv[]
  /** `[out, in, 3, 3]` by name. */
  weights: Map<string, Float32Array>
  head: { weight: Float32Array; bias: Float32Array }
}

/** Draws weights that neither grow nor shrink a value's variance much, so that float32 stays exact enough. */
export function randomBackbone(seed = 1): Backbone {
  const next = random(seed)
  const convs: Conv[] = [{ name: 'stem.conv', in: 3, out: STEM, stride: 1 }]
  let channels = STEM
  for (const [stage, width] of WIDTHS.entries()) {
    for (let block = 0; block < BLOCKS; block++) {
      const name = `blocks.${stage * BLOCKS + block}`
      convs.push({ name: `${name}.c1.conv`, in: channels, out: width, stride: block === 0 ? 2 : 1 })
      convs.push({ name: `${name}.c2.conv`, in: width, out: width, stride: 1 })
      channels = width
    }
  }
  const weights = new Map(
    convs.map((conv) => {
      const size = Math.sqrt(3 / (9 * conv.in))
      return [conv.name, uniform(next, conv.out * conv.in * 9, size)] as const
    }),
  )
  const head = { weight: uniform(next, CLASSES * channels, 0.1), bias: uniform(next, CLASSES, 0.1) }
  return { convs, weights, head }
}

/** The backbone as a training framework exports it, with its normalisations not folded. */
export function backboneOnnx({ convs, weights, head }: Backbone): Uint8Array {
  const to = new Drawing()
  const norm = (name: string, x: string, channels: number) =>
    to.norm(name, x, new Float32Array(channels).fill(1), new Float32Array(channels))
  const slot = (conv: Conv, x: string) =>
    norm(conv.name.replace(/conv$/, 'bn'), to.conv(conv, x, weights.get(conv.name)!), conv.out)
  let x = slot(convs[0]!, 'image')
  for (let i = 1; i < convs.length; i += 2) {
    const [first, second] = [convs[i]!, convs[i + 1]!]
    const y = slot(second, to.add('Relu', [slot(first, x)]))
    let shortcut = x
    if (first.stride === 2) {
      const window = [intsAttribute('kernel_shape', [2, 2]), intsAttribute('strides', [2, 2])]
      shortcut = to.add('AveragePool', [x], window)
      const pads = to.ints(`${first.name}.pads`, [0, 0, 0, 0, 0, first.out - first.in, 0, 0])
      shortcut = to.add('Pad', [shortcut, pads])
    }
    x = to.add('Relu', [to.add('Add', [y, shortcut])])
  }
  const length = WIDTHS.at(-1)!
  const features = to.add('GlobalAveragePool', [to.add('Relu', [norm('bn', x, length)])])
  const weight = to.floats('head.weight', [CLASSES, length], head.weight)
  const bias = to.floats('head.bias', [CLASSES], head.bias)
  const flat = to.add('Flatten', [features], [intAttribute('axis', 1)])
  to.add('Gemm', [flat, weight, bias], [intAttribute('transB', 1)], 'logits')
  return to.save({ name: 'image', type: FLOAT, dims: ['N', 3, SIDE, SIDE] }, CLASSES)
}

/** The family's graph for batches of one domain, of which dedicated networks are made. */
async function trunkOf(family: Family): Promise<Model> {
  const graph = await readFile(family.graph({ serves: 'one', bank: 'f32' }))
  return loadModel(graph, (location) => readFileSync(join(family.dir, location)))
}

/** Makes the dedicated networks of bank rows, from `pixels` to `features`, as the service does. */
export async function dedicatedFeatures(family: Family): Promise<(row: Float32Array[]) => Uint8Array> {
  const trunk = await trunkOf(family)
  return (row) => saveModel(dedicatedNetwork(trunk, family, row))
}

/** Makes the dedicated networks of packs, from `pixels` to `logits`. */
export async function dedicatedOf(family: Family): Promise<(pack: Pack) => Uint8Array> {
  const { manifest, layout, base } = family
  const trunk = await trunkOf(family)
  return (pack) => {
    const { tensors } = packRow(pack, base, manifest, layout, 'f32')
    const network = dedicatedNetwork(trunk, family, tensors as Float32Array[])
    const { classes, weight, bias } = pack.head!
    network.constants.set('head.weight', floatTensor([classes, manifest.features], weight))
    network.constants.set('head.bias', floatTensor([classes], bias))
    network.nodes.push({
      name: 'head',
      op: 'Gemm',
      inputs: [FEATURES, 'head.weight', 'head.bias'],
      outputs: ['logits'],
      attributes: [intAttribute('transB', 1)],
    })
    return saveModel({ ...network, outputs: [{ name: 'logits', type: FLOAT, dims: ['N', classes] }] })
  }
}

/** Builds the family of `backbone` in the folder `dir`. */
export function makeFamily(backbone: Backbone, dir: string): Promise<Family> {
  return familyOf(backboneOnnx(backbone), 'resnet26-full-random', 72, dir)
}

/** Builds a family of random weights in the folder `dir`, with the builder behind `facet family build`. */
export async function familyOf(onnx: Uint8Array, name: string, resize: number, dir: string): Promise<Family> {
  const options: BuildOptions = {
    name,
    design: 'parallel',
    resize,
    kernel: 'linear',
    fp16: false,
    license: 'none',
    source: 'random weights',
    created: '2026-01-01T00:00:00.000Z',
    tool: 'facet bench',
  }
  const built = await buildFamily(onnx, options, runModel)
  await mkdir(dir, { recursive: true })
  for (const [file, bytes] of built.files) await writeFile(join(dir, file), bytes)
  return readFamily(dir)
}

/** A domain that differs from the base in every slot, by more than trained domains do. */
export function randomPack({ manifest, base }: Family, seed: number, classes = CLASSES): Pack {
  const next = random(seed)
  const around = (value: number, length: number) => uniform(next, length, 0.2).map((x) => value + x)
  const slots = new Map<string, SlotWeights>()
  for (const slot of manifest.slots) {
    const { name, out, columns } = slot
    const weights: SlotWeights = { scale: around(1, out), bias: around(0, out) }
    for (const { name: part, dims } of slotParts(slot))
      weights[part] ??= uniform(next, elementsOf(dims), 0.5 / Math.sqrt(columns))
    slots.set(name, weights)
  }
  const { family, design, activation, std } = base
  const labels = Array.from({ length: classes }, (_, index) => `class ${index}`)
  const head = {
    classes,
    weight: uniform(next, classes * manifest.features, 0.1),
    bias: uniform(next, classes, 0.1),
  }
  return { family, design, activation, std, labels, mean: [0.4 + 0.1 * next(), 0.45, 0.4], slots, head }
}

/** Random images of the family's input size, `[count][H * W * 3]`. */
export function randomImages({ manifest }: Family, count: number, seed = 3): Uint8Array[] {
  const next = random(seed)
  const length = manifest.input.height * manifest.input.width * 3
  return Array.from({ length: count }, () => Uint8Array.from({ length }, () => next() * 256))
}
