/** ResNet-50 at 224x224 with random weights, as torchvision builds it: the stride is in the 3x3 convolution. */
import { FLOAT, intAttribute, intsAttribute } from '../../src/onnx/onnx.js'
import type { Family } from '../../src/family/family.js'
import { type Conv, Drawing } from '../drawing.js'
import { CLASSES, familyOf } from '../networks.js'
import { random, uniform } from '../random.js'

const SIDE = 224
const RESIZE = 256
/** Blocks and inner channels of each stage; a block puts out four times its inner channels. */
const STAGES = [
  [3, 64],
  [4, 128],
  [6, 256],
  [3, 512],
] as const
const EXPANSION = 4
const STEM = 64
/** The last norm of each block scales by this, so that sixteen sums do not let values grow. */
const RESIDUAL_SCALE = 0.2

/** Builds the family in the folder `dir`. */
export function makeResnet50(dir: string): Promise<Family> {
  return familyOf(resnet50(), 'resnet50-random', RESIZE, dir)
}

/** The network from `image` to `logits`, its norms not folded. */
export function resnet50(): Uint8Array {
  const next = random(50)
  const to = new Drawing()
  const conv = (conv: Conv, x: string, scale = 1): string => {
    const fanIn = (conv.kernel ?? 3) ** 2 * conv.in
    const z = to.conv(conv, x, uniform(next, conv.out * fanIn, Math.sqrt(6 / fanIn)))
    const norm = new Float32Array(conv.out).fill(scale)
    return to.norm(conv.name.replace('conv', 'bn'), z, norm, new Float32Array(conv.out))
  }
  const relu = (x: string) => to.add('Relu', [x])
  let x = relu(conv({ name: 'conv1', in: 3, out: STEM, stride: 2, kernel: 7 }, 'image'))
  x = to.add(
    'MaxPool',
    [x],
    [
      intsAttribute('kernel_shape', [3, 3]),
      intsAttribute('strides', [2, 2]),
      intsAttribute('pads', [1, 1, 1, 1]),
    ],
  )
  let channels = STEM
  for (const [stage, [blocks, inner]] of STAGES.entries()) {
    for (let block = 0; block < blocks; block++) {
      const name = `layer${stage + 1}.${block}`
      const stride = block === 0 && stage > 0 ? 2 : 1
      const out = inner * EXPANSION
      let y = relu(conv({ name: `${name}.conv1`, in: channels, out: inner, stride: 1, kernel: 1 }, x))
      y = relu(conv({ name: `${name}.conv2`, in: inner, out: inner, stride }, y))
      y = conv({ name: `${name}.conv3`, in: inner, out, stride: 1, kernel: 1 }, y, RESIDUAL_SCALE)
      if (block === 0) x = conv({ name: `${name}.shortcut.conv`, in: channels, out, stride, kernel: 1 }, x)
      x = relu(to.add('Add', [y, x]))
      channels = out
    }
  }
  const features = to.add('Flatten', [to.add('GlobalAveragePool', [x])], [intAttribute('axis', 1)])
  const weight = to.floats('fc.weight', [CLASSES, channels], uniform(next, CLASSES * channels, 0.1))
  const bias = to.floats('fc.bias', [CLASSES], uniform(next, CLASSES, 0.1))
  to.add('Gemm', [features, weight, bias], [intAttribute('transB', 1)], 'logits')
  return to.save({ name: 'image', type: FLOAT, dims: ['N', 3, SIDE, SIDE] }, CLASSES)
}
