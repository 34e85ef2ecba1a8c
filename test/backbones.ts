/** The networks that the builder's tests open. Together they cover most of what exporters write. */
import { Network } from './networks.js'

/** Batch norms folded into convolutions with bias, no residuals, stride 2 in kernels of 3, 5 and 7. */
function folded(): Network {
  const net = new Network(23, { opset: 11, names: 'anonymous', head: 'GemmPlain', vector: 'Reshape' }, 11)
  let x = net.relu(net.conv('c0', 'image', [3, 6], { kernel: [7, 7], stride: 2, bias: true }))
  x = net.relu(net.conv('c1', x, [6, 8], { kernel: [5, 5], stride: 2, bias: true }))
  x = net.relu(net.conv('c2', x, [8, 5], { kernel: [3, 3], stride: 2, bias: true }))
  net.linear('head', net.vector(x), [5, 4])
  return net
}

/**
 * Residuals, dilation, a norm that stands alone before the last activation, Constant nodes, biases before
 * norms.
 */
export function residual(): Network {
  const net = new Network(
    10,
    { opset: 17, vector: 'ReduceMean', constants: 'nodes', activation: 'Softmax' },
    12,
  )
  const stem = net.bn('stem.bn', net.conv('stem.conv', 'image', [3, 16], { bias: true }), 16)
  let x = net.relu(net.bn('a.bn', net.conv('a.conv', stem, [16, 16], { dilation: 2 }), 16, 1e-3))
  x = net.bn('b.bn', net.conv('b.conv', x, [16, 16], { dilation: 3, bias: true }), 16)
  x = net.relu(net.bn('bn', net.relu(net.add(stem, x)), 16))
  x = net.relu(net.bn('c.bn', net.conv('c.conv', x, [16, 7], { stride: 2 }), 7))
  net.linear('head', net.vector(x), [7, 3])
  return net
}

/** Branches joined by concatenation, windows beside the image, tall and wide kernels, a shared value. */
export function branches(): Network {
  const net = new Network(
    13,
    { opset: 14, head: 'MatMul', vector: 'Reshape', fixedBatch: true, activation: 'Sigmoid' },
    13,
  )
  const stem = net.relu(
    net.bn('stem.bn', net.conv('stem', 'image', [3, 4], { stride: 2, pads: [0, 0, 1, 1] }), 4),
  )
  const wide = net.conv('wide', stem, [4, 3], { kernel: [1, 5] })
  const tall = net.conv('tall', wide, [3, 3], { kernel: [5, 1], bias: true })
  const point = net.relu(net.bn('point.bn', net.conv('point', stem, [4, 5], { kernel: [1, 1] }), 5))
  const deep = net.conv('deep', stem, [4, 4], { group: 4, bias: true })
  // Two nodes read this convolution, so the norm behind it counts as standing alone.
  const shared = net.conv('shared', stem, [4, 4])
  const joined = net.concat(tall, point, deep, shared, net.relu(net.bn('shared.bn', shared, 4)))
  const valid = net.conv('valid', joined, [20, 6], { pads: [0, 0, 0, 0], stride: 2 })
  const outside = net.bn(
    'outside.bn',
    net.conv('outside', valid, [6, 6], { pads: [3, 2, 1, 2], stride: 2 }),
    6,
  )
  net.linear('head', net.vector(net.identity(outside)), [6, 2])
  return net
}

/** An old operator set, weights as inputs, a fixed batch, automatic padding, a norm of the vector. */
function old(): Network {
  const net = new Network(12, { opset: 9, constants: 'inputs', fixedBatch: true, vector: 'Reshape' }, 14)
  let x = net.conv('same', 'image', [3, 4], { stride: 2, pads: [0, 0, 1, 1], auto: 'SAME_UPPER' })
  x = net.maxpool(net.identity(net.relu(net.bn('same.bn', x, 4))), 2, 1)
  x = net.conv('lower', x, [4, 4], { stride: 2, kernel: [5, 5], pads: [2, 2, 2, 2], auto: 'SAME_LOWER' })
  x = net.relu(net.conv('ahead', net.relu(x), [4, 5], { pads: [3, 3, 0, 0], stride: 2, bias: true }))
  x = net.bn('vector.bn', net.vector(net.identity(x)), 5)
  net.linear('head', x, [5, 3])
  return net
}

/** Inverted bottlenecks: a k x k stem, pointwise and depthwise convolutions, each with its BatchNorm. */
export function mobile(): Network {
  const net = new Network(12, { opset: 13 }, 21)
  const layer = (
    name: string,
    x: string,
    channels: [number, number],
    options: Parameters<Network['conv']>[3],
  ) => net.bn(`${name}.bn`, net.conv(name, x, channels, options), channels[1])
  const point = { kernel: [1, 1] as [number, number] }
  const stem = net.relu(layer('stem', 'image', [3, 12], { stride: 2, pads: [0, 0, 1, 1] }))
  const wide = net.relu(layer('a.expand', stem, [12, 24], point))
  const deep = net.relu(layer('a.depth', wide, [24, 24], { group: 24, kernel: [5, 5] }))
  const narrow = net.add(layer('a.project', deep, [24, 12], point), stem)
  // A depthwise convolution with two outputs a channel, a strided pointwise one, and a grouped one.
  const twice = net.relu(layer('b.depth', narrow, [12, 24], { group: 12 }))
  const strided = net.relu(layer('b.project', twice, [24, 16], { ...point, stride: 2 }))
  const grouped = net.relu(layer('c.grouped', strided, [16, 16], { group: 4 }))
  const last = layer('c.last', grouped, [16, 20], point)
  net.linear('head', net.vector(net.relu(net.bn('norm', net.relu(last), 20))), [20, 4])
  return net
}

/** The same where the exporter folded every BatchNorm into its convolution. */
export function mobileFolded(): Network {
  const net = new Network(11, { opset: 17, fixedBatch: true, vector: 'Reshape' }, 22)
  const point = { kernel: [1, 1] as [number, number], bias: true }
  const stem = net.relu(net.conv('stem', 'image', [3, 8], { stride: 2, bias: true }))
  const wide = net.relu(net.conv('expand', stem, [8, 24], point))
  const deep = net.relu(net.conv('depth', wide, [24, 24], { group: 24, bias: true }))
  const narrow = net.add(net.conv('project', deep, [24, 8], point), stem)
  net.linear('head', net.vector(net.relu(net.conv('last', narrow, [8, 48], point))), [48, 4])
  return net
}

export const networks = { folded, residual, branches, old }
