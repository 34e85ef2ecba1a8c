/** Random domains for the builder's tests: modules as they are trained, and the packs that they fold to. */
import type { Slot } from '../src/manifest/manifest.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { type Conv, type Network, type Norm, random } from './networks.js'
import type { Affine, Design, Module } from './reference.js'

/** A domain with a random module at every slot: the modules as trained, and the folded pack. */
export function randomDomain(
  net: Network,
  slots: readonly Slot[],
  design: Design,
  base: Pack,
  seed: number,
): { modules: Map<string, Module>; pack: Pack } {
  const next = random(seed * 1000)
  const draw = (count: number, spread: number, middle = 0) =>
    Float64Array.from({ length: count }, () => middle + spread * next())
  const affine = (channels: number): Affine => ({
    gamma: draw(channels, 0.5, 1),
    beta: draw(channels, 0.5),
    mean: draw(channels, 0.5),
    variance: draw(channels, 0.5, 1),
    epsilon: 1e-5,
  })
  const modules = new Map<string, Module>()
  const weights = new Map<string, SlotWeights>()
  for (const slot of slots) {
    const layer = layerOf(net, slot.name)
    const module: Module = { bn: affine(slot.out) }
    const { columns, rank, out } = slot
    if (columns > 0) {
      const spread = 1 / Math.sqrt(columns)
      if (rank === undefined) module.matrix = draw(out * columns, spread).map(Math.fround)
      else {
        module.factors = { up: draw(out * rank, 1), down: draw(rank * columns, spread), rank }
        module.matrix = productOf(module.factors)
      }
      if (design === 'series') module.inner = affine(out)
    }
    modules.set(layer.name, module)
    weights.set(slot.name, fold(layer, module))
  }
  const mean = [0, 1, 2].map(() => 0.5 + 0.2 * next()) as Pack['mean']
  const std = [0, 1, 2].map(() => 0.3 + 0.1 * next()) as Pack['std']
  return { modules, pack: { ...base, slots: weights, head: null, labels: null, mean, std } }
}

/**
 * The layer of a slot. Anonymous slots are numbered by convolutions and norms that stand alone, in forward
 * order.
 */
function layerOf(net: Network, name: string): Conv | Norm {
  const layers = net.layers.filter((layer) => layer.op === 'conv' || layer.op === 'bn')
  const number = /^slot(\d+)$/.exec(name)?.[1]
  const found = number === undefined ? layers.find((layer) => layer.name === name) : layers[Number(number)]
  return found as Conv | Norm
}

function constants({ gamma, beta, mean, variance, epsilon }: Affine): { g: Float64Array; h: Float64Array } {
  const g = gamma.map((value, i) => value / Math.sqrt(variance[i]! + epsilon))
  return { g, h: beta.map((value, i) => value - mean[i]! * g[i]!) }
}

/** `up · down` */
function productOf({ up, down, rank }: NonNullable<Module['factors']>): Float64Array {
  const columns = down.length / rank
  const matrix = new Float64Array((up.length / rank) * columns)
  for (let at = 0; at < matrix.length; at++) {
    const [row, column] = [Math.floor(at / columns), at % columns]
    for (let r = 0; r < rank; r++) matrix[at]! += up[row * rank + r]! * down[r * columns + column]!
  }
  return matrix
}

/** Folds a trained module into scale, matrix and bias (docs/architecture.md, "The mathematics of a slot"). */
function fold(layer: Conv | Norm, { bn, matrix, factors, inner }: Module): SlotWeights {
  const { g, h } = constants(bn)
  const bias = h.map((value, i) => value + (layer.op === 'conv' ? g[i]! * (layer.bias?.[i] ?? 0) : 0))
  if (!matrix) return { scale: Float32Array.from(g), bias: Float32Array.from(bias) }
  const columns = matrix.length / g.length
  const within = inner && constants(inner)
  const product = new Float32Array(matrix.length)
  for (let i = 0; i < matrix.length; i++) {
    const row = Math.floor(i / columns)
    const column = i % columns
    product[i] = g[row]! * matrix[i]! * (within ? within.g[column]! : 1)
    if (within) bias[row]! += g[row]! * matrix[i]! * within.h[column]!
  }
  const affine = { scale: Float32Array.from(g), bias: Float32Array.from(bias) }
  if (!factors) return { ...affine, matrix: product }
  const { up, down, rank } = factors
  return {
    ...affine,
    up: Float32Array.from(up, (value, i) => value * g[Math.floor(i / rank)]!),
    down: Float32Array.from(down, (value, i) => value * (within ? within.g[i % columns]! : 1)),
  }
}
