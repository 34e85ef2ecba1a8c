/**
 * A ResNet-50 (He et al., 2016; stride in the 3x3 convolution) with random weights, as a family and as the plain
 * network: large enough that copies of the trunk show in a process's memory.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buildFamily } from '../../src/compiler/build.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { FLOAT, intAttribute, intsAttribute, saveModel } from '../../src/onnx/onnx.js'
import { Drawing } from '../drawing.js'
import { random, uniform } from '../random.js'

/** Blocks of each stage. */
const STAGES = [3, 4, 6, 3]
const SIDE = 224
const CLASSES = 1000

/** The network from image to logits, normalisations not folded. */
export function resnet50Onnx(seed = 1): Uint8Array {
  const next = random(seed)
  const to = new Drawing()
  const conv = (name: string, x: string, [from, out]: [number, number], kernel: number, stride = 1) => {
    const weight = uniform(next, out * from * kernel * kernel, Math.sqrt(3 / (kernel * kernel * from)))
    const y = to.conv({ name, in: from, out, stride, kernel }, x, weight)
    return to.norm(name.replace('conv', 'bn'), y, new Float32Array(out).fill(0.5), new Float32Array(out))
  }
  const relu = (x: string) => to.add('Relu', [x])
  let x = relu(conv('conv1', 'image', [3, 64], 7, 2))
  const window = [intsAttribute('kernel_shape', [3, 3]), intsAttribute('strides', [2, 2])]
  x = to.add('MaxPool', [x], [...window, intsAttribute('pads', [1, 1, 1, 1])])
  let channels = 64
  for (const [stage, blocks] of STAGES.entries()) {
    const width = 64 * 2 ** stage
    for (let block = 0; block < blocks; block++) {
      const name = (part: string) => `layer${stage + 1}.${block}.${part}`
      const stride = block === 0 && stage > 0 ? 2 : 1
      let y = relu(conv(name('conv1'), x, [channels, width], 1))
      y = relu(conv(name('conv2'), y, [width, width], 3, stride))
      y = conv(name('conv3'), y, [width, 4 * width], 1)
      if (block === 0) x = conv(name('downsample.conv'), x, [channels, 4 * width], 1, stride)
      x = relu(to.add('Add', [x, y]))
      channels = 4 * width
    }
  }
  const flat = to.add('Flatten', [to.add('GlobalAveragePool', [x])], [intAttribute('axis', 1)])
  const weight = to.floats('head.weight', [CLASSES, channels], uniform(next, CLASSES * channels, 0.05))
  const bias = to.floats('head.bias', [CLASSES], uniform(next, CLASSES, 0.05))
  to.add('Gemm', [flat, weight, bias], [intAttribute('transB', 1)], 'logits')
  return saveModel({
    irVersion: 8,
    opset: 17,
    nodes: to.nodes,
    constants: to.constants,
    inputs: [{ name: 'image', type: FLOAT, dims: ['N', 3, SIDE, SIDE] }],
    outputs: [{ name: 'logits', type: FLOAT, dims: ['N', CLASSES] }],
    values: [],
    producer: 'facet-bench',
    metadata: [],
    doc: '',
  })
}

/** Builds the family in the folder `dir`, and the plain network beside it as `plain.onnx`. */
export async function makeResnet50(dir: string): Promise<Family> {
  const onnx = resnet50Onnx()
  const built = buildFamily(onnx, {
    name: 'resnet50-random',
    design: 'parallel',
    resize: 256,
    kernel: 'linear',
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    fp16: false,
    license: 'none',
    source: 'random weights',
    created: '2026-01-01T00:00:00.000Z',
    tool: 'facet bench',
  })
  await mkdir(dir, { recursive: true })
  for (const [name, bytes] of built.files) await writeFile(join(dir, name), bytes)
  await writeFile(join(dir, 'plain.onnx'), onnx)
  return readFamily(dir)
}
