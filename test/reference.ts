/**
 * An independent computation of the networks in `networks.ts`: plain loops in float64, one sample at a time.
 * Adapters are computed as the modules that were trained, without folding (docs/architecture.md, "The
 * mathematics of a slot").
 */
import type { Conv, Network, Norm } from './networks.js'

/** A `[C, H, W]` map; a vector has H = W = 1. */
export interface Values {
  channels: number
  height: number
  width: number
  data: Float64Array
}

export interface Affine {
  gamma: Float64Array
  beta: Float64Array
  mean: Float64Array
  variance: Float64Array
  epsilon: number
}

/** The modules that a domain trained at one slot. */
export interface Module {
  /** The normalisation behind the slot. */
  bn: Affine
  /** `[out, in]` (parallel) or `[out, out]` (series), row-major. */
  matrix?: Float64Array
  /** What the matrix is the product of, where it was trained so: `up [out, rank]`, `down [rank, in or out]`. */
  factors?: { up: Float64Array; down: Float64Array; rank: number }
  /** The normalisation inside a series adapter. */
  inner?: Affine
}

export type Design = 'parallel' | 'series' | 'bn'

/**
 * The features of one image `[3, H, W]`, already normalised.
 *
 * @param modules the modules of the adapted convolutions and normalisations, by layer name. Other layers are
 * the backbone's own. The normalisation behind an adapted convolution is replaced too.
 */
export function reference(
  network: Network,
  image: Values,
  design: Design = 'parallel',
  modules: ReadonlyMap<string, Module> = new Map(),
): Float64Array {
  const values = new Map<string, Values>([['image', image]])
  const get = (name: string) => values.get(name)!
  // Outputs of adapted convolutions, which are normalised already.
  const done = new Set<string>()
  for (const layer of network.layers) {
    if (layer.y === network.features && layer.op === 'gemm') break
    switch (layer.op) {
      case 'conv': {
        const module = modules.get(layer.name)
        if (!module) values.set(layer.y, convolve(layer, get(layer.x)))
        else {
          values.set(layer.y, adapted(layer, get(layer.x), design, module))
          done.add(layer.y)
        }
        break
      }
      case 'bn': {
        const module = modules.get(layer.name)
        const x = get(layer.x)
        values.set(
          layer.y,
          module ? normalise(x, module.bn) : done.has(layer.x) ? x : normalise(x, own(layer)),
        )
        break
      }
      case 'relu':
        values.set(layer.y, { ...get(layer.x), data: get(layer.x).data.map((value) => Math.max(value, 0)) })
        break
      case 'identity':
        values.set(layer.y, get(layer.x))
        break
      case 'maxpool':
        values.set(layer.y, maxPool(get(layer.x), layer.kernel, layer.stride))
        break
      case 'add':
        values.set(layer.y, layer.xs.map(get).reduce(plus))
        break
      case 'concat':
        values.set(layer.y, layer.xs.map(get).reduce(join))
        break
      case 'gap':
        values.set(layer.y, average(get(layer.x)))
        break
      case 'gemm':
        values.set(layer.y, matrixTimes(layer.weight, layer.out, get(layer.x)))
    }
  }
  return get(network.features).data
}

/** BN(z + A x), BN(z + A BN'(z)) or BN(z). */
function adapted(layer: Conv, x: Values, design: Design, module: Module): Values {
  // BN' of a series adapter gets the convolution's output without its bias.
  const z = convolve({ ...layer, bias: undefined }, x)
  let sum = convolve(layer, x)
  if (design === 'parallel' && module.matrix) {
    // A 1x1 kernel at the centre of the convolution's kernel equals that kernel padded with zeros.
    sum = plus(sum, convolve({ ...layer, ...centred(layer, module.matrix), group: 1, bias: undefined }, x))
  } else if (design === 'series' && module.matrix) {
    sum = plus(sum, matrixTimes(module.matrix, layer.out, normalise(z, module.inner!)))
  }
  return normalise(sum, module.bn)
}

function centred(layer: Conv, matrix: Float64Array): { weight: Float32Array } {
  const [height, width] = layer.kernel
  const weight = new Float32Array(layer.out * layer.in * height * width)
  const centre = ((height - 1) / 2) * width + (width - 1) / 2
  for (let i = 0; i < matrix.length; i++) weight[i * height * width + centre] = matrix[i]!
  return { weight }
}

function convolve(layer: Omit<Conv, 'op' | 'name' | 'y'>, x: Values): Values {
  const [kernelHeight, kernelWidth] = layer.kernel
  const [top, left, bottom, right] = layer.pads
  const size = (length: number, pad: number, kernel: number, axis: 0 | 1) =>
    Math.floor((length + pad - layer.dilation[axis] * (kernel - 1) - 1) / layer.stride[axis]) + 1
  const height = size(x.height, top + bottom, kernelHeight, 0)
  const width = size(x.width, left + right, kernelWidth, 1)
  const data = new Float64Array(layer.out * height * width)
  const perGroup = layer.in / layer.group
  for (let out = 0; out < layer.out; out++) {
    const first = Math.floor((out * layer.group) / layer.out) * perGroup
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        let sum = layer.bias?.[out] ?? 0
        for (let channel = 0; channel < perGroup; channel++) {
          for (let i = 0; i < kernelHeight; i++) {
            const y = row * layer.stride[0] - top + i * layer.dilation[0]
            if (y < 0 || y >= x.height) continue
            for (let j = 0; j < kernelWidth; j++) {
              const at = column * layer.stride[1] - left + j * layer.dilation[1]
              if (at < 0 || at >= x.width) continue
              const weight = layer.weight[((out * perGroup + channel) * kernelHeight + i) * kernelWidth + j]!
              sum += weight * x.data[((first + channel) * x.height + y) * x.width + at]!
            }
          }
        }
        data[(out * height + row) * width + column] = sum
      }
    }
  }
  return { channels: layer.out, height, width, data }
}

/** The backbone's own normalisation. */
export function own(layer: Norm): Affine {
  return {
    gamma: Float64Array.from(layer.gamma),
    beta: Float64Array.from(layer.beta),
    mean: Float64Array.from(layer.mean),
    variance: Float64Array.from(layer.variance),
    epsilon: layer.epsilon,
  }
}

function normalise(x: Values, { gamma, beta, mean, variance, epsilon }: Affine): Values {
  const area = x.height * x.width
  const data = x.data.map((value, i) => {
    const c = Math.floor(i / area)
    return ((value - mean[c]!) / Math.sqrt(variance[c]! + epsilon)) * gamma[c]! + beta[c]!
  })
  return { ...x, data }
}

/** A matrix `[rows, channels]` applied to the channels at every pixel. */
function matrixTimes(matrix: ArrayLike<number>, rows: number, x: Values): Values {
  const area = x.height * x.width
  const data = new Float64Array(rows * area)
  for (let row = 0; row < rows; row++)
    for (let channel = 0; channel < x.channels; channel++)
      for (let i = 0; i < area; i++)
        data[row * area + i]! += matrix[row * x.channels + channel]! * x.data[channel * area + i]!
  return { ...x, channels: rows, data }
}

function maxPool(x: Values, kernel: number, stride: number): Values {
  const height = Math.floor((x.height - kernel) / stride) + 1
  const width = Math.floor((x.width - kernel) / stride) + 1
  const data = new Float64Array(x.channels * height * width)
  for (let i = 0; i < data.length; i++) {
    const column = i % width
    const row = Math.floor(i / width) % height
    const channel = Math.floor(i / (width * height))
    let most = Number.NEGATIVE_INFINITY
    for (let y = row * stride; y < row * stride + kernel; y++)
      for (let at = column * stride; at < column * stride + kernel; at++)
        most = Math.max(most, x.data[(channel * x.height + y) * x.width + at]!)
    data[i] = most
  }
  return { channels: x.channels, height, width, data }
}

function average(x: Values): Values {
  const area = x.height * x.width
  const data = Float64Array.from({ length: x.channels }, (_, channel) => {
    return x.data.subarray(channel * area, (channel + 1) * area).reduce((sum, value) => sum + value, 0) / area
  })
  return { channels: x.channels, height: 1, width: 1, data }
}

function plus(a: Values, b: Values): Values {
  return { ...a, data: a.data.map((value, i) => value + b.data[i]!) }
}

function join(a: Values, b: Values): Values {
  const data = new Float64Array(a.data.length + b.data.length)
  data.set(a.data)
  data.set(b.data, a.data.length)
  return { ...a, channels: a.channels + b.channels, data }
}
