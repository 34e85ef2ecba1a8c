/**
 * Small networks for the builder's tests. One description of a network is written as ONNX (here) and computed
 * by plain loops in float64 (`reference.ts`).
 *
 * Values of a sample are `[C, H, W]`, vectors `[C]`. Weights are drawn from a seed.
 */
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import { Random } from './random.js'

const { onnx } = onnxProto

export interface Conv {
  op: 'conv'
  name: string
  x: string
  y: string
  in: number
  out: number
  kernel: [number, number]
  stride: [number, number]
  dilation: [number, number]
  /** Top, left, bottom, right. */
  pads: [number, number, number, number]
  group: number
  weight: Float32Array
  bias: Float32Array | undefined
  /** Written instead of `pads`; `pads` must have the same meaning. */
  auto?: 'SAME_UPPER' | 'SAME_LOWER' | 'VALID'
}

export interface Norm {
  op: 'bn'
  name: string
  x: string
  y: string
  gamma: Float32Array
  beta: Float32Array
  mean: Float32Array
  variance: Float32Array
  epsilon: number
}

export interface Linear {
  op: 'gemm'
  name: string
  x: string
  y: string
  in: number
  out: number
  weight: Float32Array
  bias: Float32Array
}

export type Layer =
  | Conv
  | Norm
  | Linear
  | { op: 'relu' | 'gap' | 'identity'; x: string; y: string }
  | { op: 'maxpool'; x: string; y: string; kernel: number; stride: number }
  | { op: 'add' | 'concat'; xs: string[]; y: string }

export interface Style {
  opset: number
  /** Names of weights: `layer.weight` of modules, or numbers as anonymous exports have them. */
  names: 'modules' | 'anonymous'
  /** How the classifier is written. */
  head: 'Gemm' | 'GemmPlain' | 'MatMul'
  /** How the map becomes a vector. */
  vector: 'GlobalAveragePool' | 'ReduceMean' | 'Reshape'
  /** Weights as Constant nodes, as initializers, or as initializers that are inputs too (IR version 3). */
  constants: 'nodes' | 'initializers' | 'inputs'
  /** The exported batch size is 1 instead of free, as exporters do by default. */
  fixedBatch: boolean
  /** Softmax or Sigmoid behind the logits. */
  activation?: 'Softmax' | 'Sigmoid'
}

const plain: Style = {
  opset: 13,
  names: 'modules',
  head: 'Gemm',
  vector: 'GlobalAveragePool',
  constants: 'initializers',
  fixedBatch: false,
}

/** Uniform numbers in [-1, 1), the same for a seed. */
export function random(seed: number): () => number {
  const numbers = new Random(seed)
  return () => 2 * numbers.next() - 1
}

/** Builds a network layer by layer; each method returns the name of its value. */
export class Network {
  readonly layers: Layer[] = []
  readonly style: Style
  readonly size: number
  readonly #random: () => number
  #values = 0

  constructor(size: number, style: Partial<Style> = {}, seed = 1) {
    this.size = size
    this.style = { ...plain, ...style }
    this.#random = random(seed)
  }

  conv(
    name: string,
    x: string,
    channels: [number, number],
    options: {
      kernel?: [number, number]
      stride?: number
      dilation?: number
      pads?: [number, number, number, number]
      group?: number
      bias?: boolean
      auto?: Conv['auto']
    } = {},
  ): string {
    const kernel = options.kernel ?? [3, 3]
    const stride = options.stride ?? 1
    const dilation = options.dilation ?? 1
    const group = options.group ?? 1
    const [top, left] = kernel.map((size) => Math.floor((dilation * (size - 1)) / 2)) as [number, number]
    const [inputs, out] = channels
    const count = (out * inputs * kernel[0] * kernel[1]) / group
    const spread = Math.sqrt((3 * out) / count)
    return this.#push({
      op: 'conv',
      name,
      x,
      y: this.#value(),
      in: inputs,
      out,
      kernel,
      stride: [stride, stride],
      dilation: [dilation, dilation],
      pads: options.pads ?? [top, left, top, left],
      group,
      weight: this.#draw(count, spread),
      bias: options.bias ? this.#draw(out, 0.5) : undefined,
      ...(options.auto ? { auto: options.auto } : {}),
    })
  }

  bn(name: string, x: string, channels: number, epsilon = 1e-5): string {
    return this.#push({
      op: 'bn',
      name,
      x,
      y: this.#value(),
      gamma: this.#draw(channels, 0.4).map((value) => 1 + value),
      beta: this.#draw(channels, 0.3),
      mean: this.#draw(channels, 0.3),
      variance: this.#draw(channels, 0.5).map((value) => 1 + value),
      epsilon,
    })
  }

  relu(x: string): string {
    return this.#push({ op: 'relu', x, y: this.#value() })
  }

  /** An Identity (or, at odd positions, a Dropout), as exporters leave them in a graph. */
  identity(x: string): string {
    return this.#push({ op: 'identity', x, y: this.#value() })
  }

  maxpool(x: string, kernel: number, stride: number): string {
    return this.#push({ op: 'maxpool', x, y: this.#value(), kernel, stride })
  }

  add(...xs: string[]): string {
    return this.#push({ op: 'add', xs, y: this.#value() })
  }

  concat(...xs: string[]): string {
    return this.#push({ op: 'concat', xs, y: this.#value() })
  }

  /** Global average pooling to a vector. */
  vector(x: string): string {
    return this.#push({ op: 'gap', x, y: this.#value() })
  }

  linear(name: string, x: string, channels: [number, number]): string {
    const [inputs, out] = channels
    return this.#push({
      op: 'gemm',
      name,
      x,
      y: this.#value(),
      in: inputs,
      out,
      weight: this.#draw(inputs * out, 0.5),
      bias: this.#draw(out, 0.5),
    })
  }

  /** The value the last linear layer reads. */
  get features(): string {
    return this.layers.findLast((layer): layer is Linear => layer.op === 'gemm')!.x
  }

  /** The network as an ONNX file. */
  onnx(): Uint8Array {
    return new Export(this).bytes()
  }

  #push(layer: Layer): string {
    this.layers.push(layer)
    return layer.y
  }

  #value(): string {
    return `v${this.#values++}`
  }

  #draw(count: number, spread: number): Float32Array {
    return Float32Array.from({ length: count }, () => spread * this.#random())
  }
}

const types = onnx.AttributeProto.AttributeType
const ints = (name: string, values: number[]) => ({ name, type: types.INTS, ints: values })
const int = (name: string, value: number) => ({ name, type: types.INT, i: value })
const bytesOf = (array: Float32Array | BigInt64Array) => new Uint8Array(array.buffer)

/** Writes a network as ONNX. */
class Export {
  readonly #network: Network
  readonly #nodes: Onnx.INodeProto[] = []
  readonly #tensors: Onnx.ITensorProto[] = []
  #anonymous = 100

  constructor(network: Network) {
    this.#network = network
  }

  bytes(): Uint8Array {
    const { layers, style, size } = this.#network
    for (const layer of layers) this.#layer(layer)
    let output = layers.at(-1)!.y
    if (style.activation)
      output = this.#node(
        style.activation,
        [output],
        [int('axis', 1)].slice(0, style.activation === 'Softmax' ? 1 : 0),
        'probabilities',
      )
    const batch = style.fixedBatch ? { dimValue: 1 } : { dimParam: 'batch' }
    const value = (name: string, dims: object[]) => ({
      name,
      type: { tensorType: { elemType: 1, shape: { dim: dims } } },
    })
    const image = value('image', [batch, { dimValue: 3 }, { dimValue: size }, { dimValue: size }])
    const asInputs = this.#tensors.map((tensor) => ({
      name: tensor.name!,
      type: {
        tensorType: {
          elemType: tensor.dataType!,
          shape: { dim: tensor.dims!.map((dim) => ({ dimValue: dim })) },
        },
      },
    }))
    return onnx.ModelProto.encode({
      irVersion: style.constants === 'inputs' ? 3 : 7,
      opsetImport: [{ domain: '', version: style.opset }],
      graph: {
        name: 'network',
        node: this.#nodes,
        initializer: style.constants === 'nodes' ? [] : this.#tensors,
        input: style.constants === 'inputs' ? [...asInputs, image] : [image],
        output: [value(output, [batch, { dimParam: 'classes' }])],
      },
    }).finish()
  }

  #layer(layer: Layer): void {
    const { style } = this.#network
    switch (layer.op) {
      case 'conv': {
        const inputs = [
          layer.x,
          this.#floats(`${layer.name}.weight`, layer.weight, [
            layer.out,
            layer.in / layer.group,
            ...layer.kernel,
          ]),
        ]
        if (layer.bias) inputs.push(this.#floats(`${layer.name}.bias`, layer.bias, [layer.out]))
        const padding = layer.auto
          ? { name: 'auto_pad', type: types.STRING, s: new TextEncoder().encode(layer.auto) }
          : ints('pads', layer.pads)
        const attributes = [
          ints('strides', layer.stride),
          ints('dilations', layer.dilation),
          int('group', layer.group),
          padding,
        ]
        this.#node('Conv', inputs, attributes, layer.y, layer.name)
        return
      }
      case 'bn': {
        const parts = {
          weight: layer.gamma,
          bias: layer.beta,
          running_mean: layer.mean,
          running_var: layer.variance,
        }
        const inputs = Object.entries(parts).map(([part, values]) =>
          this.#floats(`${layer.name}.${part}`, values, [values.length]),
        )
        const epsilon = { name: 'epsilon', type: types.FLOAT, f: layer.epsilon }
        this.#node('BatchNormalization', [layer.x, ...inputs], [epsilon], layer.y, layer.name)
        return
      }
      case 'relu':
        this.#node('Relu', [layer.x], [], layer.y)
        return
      case 'identity':
        this.#node(this.#nodes.length % 2 === 0 ? 'Identity' : 'Dropout', [layer.x], [], layer.y)
        return
      case 'maxpool':
        this.#node(
          'MaxPool',
          [layer.x],
          [ints('kernel_shape', [layer.kernel, layer.kernel]), ints('strides', [layer.stride, layer.stride])],
          layer.y,
        )
        return
      case 'add':
        this.#node('Add', layer.xs, [], layer.y)
        return
      case 'concat':
        this.#node('Concat', layer.xs, [int('axis', 1)], layer.y)
        return
      case 'gap':
        if (style.vector === 'ReduceMean') {
          this.#node('ReduceMean', [layer.x], [ints('axes', [2, 3]), int('keepdims', 0)], layer.y)
          return
        }
        this.#node('GlobalAveragePool', [layer.x], [], `${layer.y}_map`)
        if (style.vector === 'Reshape') {
          const target = this.#int64(`${layer.y}_shape`, [style.fixedBatch ? 1 : 0, -1])
          // Newer exporters write `allowzero`: a 0 is then a size.
          const allowZero = style.fixedBatch && style.opset >= 14 ? [int('allowzero', 1)] : []
          this.#node('Reshape', [`${layer.y}_map`, target], allowZero, layer.y)
        } else this.#node('Flatten', [`${layer.y}_map`], [int('axis', 1)], layer.y)
        return
      case 'gemm':
        this.#linear(layer)
    }
  }

  #linear(layer: Linear): void {
    const { head } = this.#network.style
    const bias = this.#floats(`${layer.name}.bias`, layer.bias, [layer.out])
    if (head === 'Gemm') {
      const weight = this.#floats(`${layer.name}.weight`, layer.weight, [layer.out, layer.in])
      this.#node('Gemm', [layer.x, weight, bias], [int('transB', 1)], layer.y, layer.name)
      return
    }
    const transposed = layer.weight.map(
      (_, i) => layer.weight[(i % layer.out) * layer.in + Math.floor(i / layer.out)]!,
    )
    const weight = this.#floats(`${layer.name}.weight`, transposed, [layer.in, layer.out])
    if (head === 'GemmPlain') {
      this.#node('Gemm', [layer.x, weight, bias], [], layer.y, layer.name)
      return
    }
    this.#node('MatMul', [layer.x, weight], [], `${layer.y}_product`, layer.name)
    this.#node('Add', [`${layer.y}_product`, bias], [], layer.y)
  }

  #node(op: string, inputs: string[], attributes: Onnx.IAttributeProto[], output: string, name = ''): string {
    this.#nodes.push({ name, opType: op, input: inputs, output: [output], attribute: attributes })
    return output
  }

  #floats(name: string, values: Float32Array, dims: number[]): string {
    return this.#tensor(name, { dims, dataType: 1, rawData: bytesOf(values.slice()) })
  }

  #int64(name: string, values: number[]): string {
    return this.#tensor(name, {
      dims: [values.length],
      dataType: 7,
      rawData: bytesOf(BigInt64Array.from(values, BigInt)),
    })
  }

  #tensor(wanted: string, tensor: Onnx.ITensorProto): string {
    const { style } = this.#network
    const name = style.names === 'modules' ? wanted : `onnx::Value_${this.#anonymous++}`
    if (style.constants === 'nodes') {
      const attribute = { name: 'value', type: types.TENSOR, t: tensor }
      this.#node('Constant', [], [attribute], name)
    } else this.#tensors.push({ ...tensor, name })
    return name
  }
}
