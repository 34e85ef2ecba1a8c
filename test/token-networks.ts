/**
 * Networks of tokens for the builder's tests, with every place in which exporters have the batch. With a domain's adapter
 * they are written with the formula of each slot as plain operators, to be run for one image at a time.
 */
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { OnnxGraph } from './graphs.js'

type Dims = [number, number]

/** Writes layers, each as the backbone has it or with the adapter of the domain. */
class Layers {
  readonly graph: OnnxGraph
  readonly #domain: ReadonlyMap<string, SlotWeights>
  readonly #series: boolean

  constructor(seed: number, domain?: Pick<Pack, 'slots' | 'design'>, opset = 17) {
    this.graph = new OnnxGraph({ opset, seed })
    this.#domain = domain?.slots ?? new Map()
    this.#series = domain?.design === 'series'
  }

  /** A linear layer. `Gemm` takes vectors, its weights turned round. */
  linear(
    name: string,
    x: string,
    [inputs, out]: Dims,
    op: 'MatMul' | 'Gemm' | 'anonymous' = 'MatMul',
  ): string {
    const { graph } = this
    const dims = op === 'Gemm' ? [out, inputs] : [inputs, out]
    const weight = graph.weight(op === 'anonymous' ? `onnx::MatMul_${name}` : `${name}.weight`, dims)
    const bias = graph.weight(`${name}.bias`, [out])
    const own = this.#domain.get(name)
    const attributes = { transB: 1, alpha: 0.5 }
    if (!own)
      return op === 'Gemm'
        ? graph.add('Gemm', [x, weight, bias], attributes)
        : graph.add('Add', [graph.add('MatMul', [x, weight]), bias])
    const z = op === 'Gemm' ? graph.add('Gemm', [x, weight], attributes) : graph.add('MatMul', [x, weight])
    const y = this.#adapted(own, z, this.#series ? z : x, this.#series ? out : inputs, out)
    return graph.add('Add', [y, this.#constant(own.bias, [out])])
  }

  #adapted(own: SlotWeights, z: string, v: string, columns: number, out: number): string {
    const { graph } = this
    const scaled = graph.add('Mul', [z, this.#constant(own.scale, [out])])
    const times = (value: string, matrix: Float32Array, dims: Dims) => {
      const turned = graph.add('Transpose', [this.#constant(matrix, dims)], { perm: [1, 0] })
      return graph.add('MatMul', [value, turned])
    }
    if (own.matrix) return graph.add('Add', [scaled, times(v, own.matrix, [out, columns])])
    if (!own.up || !own.down) return scaled
    const rank = own.up.length / out
    return graph.add('Add', [scaled, times(times(v, own.down, [rank, columns]), own.up, [out, rank])])
  }

  conv(name: string, x: string, [inputs, out]: Dims, kernel: number, stride: number, group = 1): string {
    const { graph } = this
    const weight = graph.weight(`${name}.weight`, [out, inputs / group, kernel, kernel])
    const bias = graph.weight(`${name}.bias`, [out])
    const pad = stride === 1 ? (kernel - 1) / 2 : 0
    const attributes = { group, strides: [stride, stride], pads: [pad, pad, pad, pad] }
    const own = this.#domain.get(name)
    if (!own) return graph.add('Conv', [x, weight, bias], attributes)
    const z = graph.add('Conv', [x, weight], attributes)
    const scaled = graph.add('Mul', [z, this.#constant(own.scale, [out, 1, 1])])
    return graph.add('Add', [scaled, this.#constant(own.bias, [out, 1, 1])])
  }

  /** A LayerNorm by one operator. */
  layerNorm(name: string, x: string, channels: number): string {
    const inputs = [x, this.#scale(name, [channels]), this.#bias(name, [channels])]
    return this.graph.add('LayerNormalization', inputs, { axis: -1, epsilon: 1e-5 })
  }

  /** A LayerNorm as exporters wrote it before there was an operator. */
  oldLayerNorm(name: string, x: string, channels: number): string {
    const { graph } = this
    const centred = graph.add('Sub', [x, graph.add('ReduceMean', [x], { axes: [-1], keepdims: 1 })])
    const squared = graph.add('Pow', [centred, graph.floats([2], [])])
    const mean = graph.add('ReduceMean', [squared], { axes: [-1], keepdims: 1 })
    const deviation = graph.add('Sqrt', [graph.add('Add', [mean, graph.floats([1e-5], [])])])
    const normalised = graph.add('Div', [centred, deviation])
    return this.#affine(name, normalised, [channels])
  }

  /** A GroupNorm of images, as PyTorch's exporter writes it. */
  groupNorm(name: string, x: string, [channels, groups]: Dims, size: number): string {
    const { graph } = this
    const grouped = graph.add('Reshape', [x, graph.ints(0, groups, -1)])
    const [ones, zeros] = [1, 0].map((value) => graph.floats(Array<number>(groups).fill(value)))
    const normalised = graph.add('InstanceNormalization', [grouped, ones!, zeros!])
    return this.#affine(name, graph.add('Reshape', [normalised, graph.ints(-1, channels, size, size)]), [
      channels,
      1,
      1,
    ])
  }

  /** A GroupNorm by one operator, which has a number for each group up to operator set 20. */
  groupOperator(name: string, x: string, [channels, groups]: Dims): string {
    const { graph } = this
    const count = graph.opset < 21 ? groups : channels
    const own = this.#domain.get(name)
    const [scale, bias] = [
      graph.weight(`${name}.weight`, [count], 0.3, 1),
      graph.weight(`${name}.bias`, [count]),
    ]
    const attributes = { num_groups: groups, epsilon: 1e-5 }
    if (!own) return graph.add('GroupNormalization', [x, scale, bias], attributes)
    const [ones, zeros] = [1, 0].map((value) => graph.floats(Array<number>(count).fill(value)))
    const normalised = graph.add('GroupNormalization', [x, ones!, zeros!], attributes)
    const scaled = graph.add('Mul', [normalised, this.#constant(own.scale, [channels, 1, 1])])
    return graph.add('Add', [scaled, this.#constant(own.bias, [channels, 1, 1])])
  }

  /** A normalisation by the root mean square of the last axis, by an operator or as exporters decompose it. */
  rmsNorm(name: string, x: string, channels: number, form: RootForm): string {
    const { graph } = this
    const own = this.#domain.get(name)
    const drawn = graph.weight(`${name}.weight`, [channels], 0.3, 1)
    const scale = own ? this.#constant(own.scale, [channels]) : drawn
    const scaled = this.#byRoot(x, scale, form)
    return own ? graph.add('Add', [scaled, this.#constant(own.bias, [channels])]) : scaled
  }

  #byRoot(x: string, scale: string, form: RootForm): string {
    const { graph } = this
    if (form === 'RMSNormalization' || form === 'SimplifiedLayerNormalization')
      return graph.add(form, [x, scale], { axis: -1, epsilon: 1e-5 })
    const number = (value: number) => graph.floats([value], [])
    const squared = form === 'product' ? graph.add('Mul', [x, x]) : graph.add('Pow', [x, number(2)])
    const mean = graph.add('ReduceMean', [squared, graph.ints(-1)], { keepdims: 1 })
    const sum = graph.add('Add', [mean, number(1e-5)])
    if (form === 'power')
      return graph.add('Mul', [scale, graph.add('Mul', [x, graph.add('Pow', [sum, number(-0.5)])])])
    const root = graph.add('Sqrt', [sum])
    const normalised =
      form === 'quotient'
        ? graph.add('Div', [x, root])
        : graph.add('Mul', [graph.add('Reciprocal', [root]), x])
    return graph.add('Mul', [normalised, scale])
  }

  #affine(name: string, x: string, dims: number[]): string {
    const scaled = this.graph.add('Mul', [x, this.#scale(name, dims)])
    return this.graph.add('Add', [scaled, this.#bias(name, dims)])
  }

  #scale(name: string, dims: number[]): string {
    const drawn = this.graph.weight(`${name}.weight`, dims, 0.3, 1)
    const own = this.#domain.get(name)
    return own ? this.#constant(own.scale, dims) : drawn
  }

  #bias(name: string, dims: number[]): string {
    const drawn = this.graph.weight(`${name}.bias`, dims)
    const own = this.#domain.get(name)
    return own ? this.#constant(own.bias, dims) : drawn
  }

  #constant(values: Float32Array, dims: number[]): string {
    return this.graph.floats([...values], dims)
  }
}

/** How a normalisation by the root mean square is written; `product` squares by a product and divides by a reciprocal. */
type RootForm = 'RMSNormalization' | 'SimplifiedLayerNormalization' | 'quotient' | 'product' | 'power'

export interface TokenNetwork {
  size: number
  /** As ONNX; `features` is the value that the builder takes for the feature vector. */
  write(domain?: Pick<Pack, 'slots' | 'design'>): { onnx: Uint8Array; features: string }
}

const SIDE = 12
const C = 16

/** A transformer: `[N, T, C]`, the batch in the middle, tokens and batch in one axis, and windows. */
export const transformer: TokenNetwork = {
  size: SIDE,
  write(domain) {
    const layers = new Layers(31, domain)
    const { graph } = layers
    const reshape = (x: string, ...dims: number[]) => graph.add('Reshape', [x, graph.ints(...dims)])
    const transpose = (x: string, ...perm: number[]) => graph.add('Transpose', [x], { perm })
    const patches = reshape(layers.conv('patch', 'image', [3, C], 3, 3), 0, C, 16)
    let x = graph.add('Add', [transpose(patches, 0, 2, 1), graph.weight('positions', [1, 16, C])])
    const add = (y: string) => {
      x = graph.add('Add', [x, y])
    }
    // Attention with queries, keys and values in one layer.
    const fused = layers.linear('one.qkv', layers.layerNorm('one.norm', x, C), [C, 3 * C])
    const [q, k, v] = graph.nodes('Split', [fused, graph.ints(C, C, C)], { axis: -1 }, 3) as [
      string,
      string,
      string,
    ]
    const scores = graph.add('Softmax', [graph.add('MatMul', [q, transpose(k, 0, 2, 1)])], { axis: -1 })
    add(layers.linear('one.proj', graph.add('MatMul', [scores, v]), [C, C], 'anonymous'))
    const wide = layers.linear('one.fc1', layers.oldLayerNorm('one.norm2', x, C), [C, 2 * C])
    add(layers.linear('one.fc2', graph.add('Relu', [wide]), [2 * C, C]))
    // The batch in the middle, and then flattened behind the tokens.
    const middle = layers.linear('two.in', transpose(x, 1, 0, 2), [C, C])
    const flat = layers.linear('two.out', reshape(graph.add('Tanh', [middle]), -1, C), [C, C], 'Gemm')
    add(transpose(reshape(flat, 16, -1, C), 1, 0, 2))
    // Windows of four tokens of each image.
    const windows = layers.layerNorm('three.norm', reshape(x, -1, 4, C), C)
    add(reshape(graph.add('Tanh', [layers.linear('three.window', windows, [C, C])]), -1, 16, C))
    const features = graph.add('ReduceMean', [layers.layerNorm('norm', x, C)], { axes: [1], keepdims: 0 })
    const logits = graph.add('Gemm', [
      features,
      graph.weight('head.weight', [C, 3]),
      graph.weight('head.bias', [3]),
    ])
    return { onnx: graph.onnx([logits], ['batch', 3, SIDE, SIDE]), features }
  },
}

/** Attention with two heads and then windows, as an export for one image has them: sizes in targets count its images. */
export const forOneImage: TokenNetwork = {
  size: SIDE,
  write(domain) {
    const layers = new Layers(34, domain)
    const { graph } = layers
    const reshape = (x: string, ...dims: number[]) => graph.add('Reshape', [x, graph.ints(...dims)])
    const transpose = (x: string, ...perm: number[]) => graph.add('Transpose', [x], { perm })
    const patches = reshape(layers.conv('patch', 'image', [3, C], 3, 3), 1, C, 16)
    const x = layers.layerNorm('norm', transpose(patches, 0, 2, 1), C)
    const q = transpose(reshape(layers.linear('q', x, [C, C]), 1, 16, 2, C / 2), 0, 2, 1, 3)
    // The transposed keys pass through three axes, of which the first counts images and heads.
    const keys = transpose(reshape(layers.linear('k', x, [C, C]), 1, 16, 2, C / 2), 0, 2, 1, 3)
    const k = reshape(transpose(reshape(keys, -1, 16, C / 2), 0, 2, 1), 1, 2, C / 2, 16)
    const scores = graph.add('Softmax', [graph.add('MatMul', [q, k])], { axis: -1 })
    const mixed = transpose(graph.add('MatMul', [scores, q]), 0, 2, 1, 3)
    const joined = layers.linear('proj', reshape(mixed, 1, 16, C), [C, C])
    const windows = layers.linear('window', reshape(joined, 4, 4, C), [C, C])
    const back = reshape(graph.add('Tanh', [windows]), 1, 2, 2, 2, 2, C)
    const tokens = reshape(transpose(back, 0, 1, 3, 2, 4, 5), 1, 16, C)
    const pooled = graph.add('ReduceMean', [graph.add('Tanh', [tokens])], { axes: [1], keepdims: 1 })
    // `as_strided` of all channels.
    const every = reshape(graph.ints(...Array.from({ length: C }, (_, at) => at)), 1, C, 1, 1)
    const features = reshape(graph.add('Gather', [reshape(pooled, -1), every], { axis: 0 }), 1, C)
    const head = [graph.weight('head.weight', [C, 3]), graph.weight('head.bias', [3])]
    return { onnx: graph.onnx([graph.add('Gemm', [features, ...head])], [1, 3, SIDE, SIDE]), features }
  },
}

/** Convolutions with LayerNorm and linear layers over `[N, H, W, C]` between them, and a GroupNorm. */
export const convTokens: TokenNetwork = {
  size: SIDE,
  write(domain) {
    const layers = new Layers(32, domain)
    const { graph } = layers
    const stem = layers.conv('stem', 'image', [3, C], 2, 2)
    const deep = layers.conv('depth', stem, [C, C], 3, 1, C)
    const last = graph.add('Transpose', [deep], { perm: [0, 2, 3, 1] })
    const wide = layers.linear('pw1', layers.layerNorm('norm', last, C), [C, 4 * C])
    const narrow = layers.linear('pw2', graph.add('Relu', [wide]), [4 * C, C])
    const gained = graph.add('Mul', [narrow, graph.weight('gain', [C])])
    const sum = graph.add('Add', [stem, graph.add('Transpose', [gained], { perm: [0, 3, 1, 2] })])
    const pooled = graph.add('GlobalAveragePool', [layers.groupNorm('groups', sum, [C, 4], SIDE / 2)])
    const features = graph.add('Flatten', [pooled], { axis: 1 })
    const logits = graph.add('Gemm', [
      features,
      graph.weight('head.weight', [C, 3]),
      graph.weight('head.bias', [3]),
    ])
    return { onnx: graph.onnx([logits], ['batch', 3, SIDE, SIDE]), features }
  },
}

/** Normalisations by the root mean square in every form, and a GroupNorm by one operator. */
function rootNetwork(opset: number): TokenNetwork {
  const forms: RootForm[] = ['SimplifiedLayerNormalization', 'quotient', 'product', 'power']
  if (opset >= 23) forms.push('RMSNormalization')
  return {
    size: SIDE,
    write(domain) {
      const layers = new Layers(33, domain, opset)
      const { graph } = layers
      const patches = layers.groupOperator('groups', layers.conv('patch', 'image', [3, C], 3, 3), [C, 4])
      const tokens = graph.add('Reshape', [patches, graph.ints(0, C, 16)])
      let x = graph.add('Transpose', [tokens], { perm: [0, 2, 1] })
      for (const [index, form] of forms.entries()) {
        const normalised = layers.rmsNorm(`norm${index}`, x, C, form)
        x = graph.add('Add', [x, graph.add('Tanh', [layers.linear(`fc${index}`, normalised, [C, C])])])
      }
      const features = graph.add('ReduceMean', [x, graph.ints(1)], { keepdims: 0 })
      const head = [graph.weight('head.weight', [C, 3]), graph.weight('head.bias', [3])]
      return {
        onnx: graph.onnx([graph.add('Gemm', [features, ...head])], ['batch', 3, SIDE, SIDE]),
        features,
      }
    },
  }
}

export const rootNetworks = { 18: rootNetwork(18), 23: rootNetwork(23) }
