/**
 * The places of a backbone that a domain may adapt, their names, and what the backbone itself has there.
 *
 * Finds slots; writing them into the family's graph is `emit.ts`.
 */
import type { Design, Slot } from '../manifest/manifest.js'
import type { SlotWeights } from '../pack/pack.js'
import type { Graph } from '../onnx/graph.js'
import {
  BackboneError,
  FLOAT,
  floatOf,
  floats,
  intOf,
  intsOf,
  type Node,
  type Tensor,
  textOf,
} from '../onnx/onnx.js'
import type { Shapes } from '../onnx/shapes.js'

/** Where the input is sampled to meet the centres of a convolution's windows (design: section 2). */
export interface Grid {
  /** Per axis: positions to drop (positive) or zeros to add (negative) in front and behind; then every step-th is taken. */
  begin: [number, number]
  end: [number, number]
  step: [number, number]
}

export interface OpenSlot {
  slot: Slot
  /** The frozen convolution; null for a normalisation that stands alone. */
  conv: Node | null
  /** The BatchNorm the slot takes over; null where a convolution has none. */
  norm: Node | null
  /** The frozen weights; null for a lone normalisation. */
  weight: Tensor | null
  /** The value the slot's nodes make, `y` of section 2. */
  output: string
  /** What the matrix is applied to: the convolution's sampled input, its output, or nothing. */
  v: 'x' | 'z' | 'none'
  grid: Grid
  /** What reproduces the backbone. */
  base: SlotWeights
}

/** A convolution or normalisation that was looked at and left frozen. */
export interface ClosedSlot {
  name: string
  node: string
  reason: string
  /** It was meant to be opened, but cannot. */
  refused: boolean
}

interface Affine {
  scale: Float32Array
  bias: Float32Array
}

/**
 * Finds the slots in forward order.
 *
 * Without a pattern: every convolution of group 1 with a kernel larger than 1x1, and every BatchNorm that
 * stands alone. With one: every convolution and BatchNorm whose slot name it matches, whatever its kernel.
 */
export function findSlots(
  graph: Graph,
  shapes: Shapes,
  design: Design,
  pattern?: RegExp,
): { open: OpenSlot[]; closed: ClosedSlot[] } {
  const open: OpenSlot[] = []
  const closed: ClosedSlot[] = []
  const names = new SlotNames()
  const taken = new Set<Node>()
  const convs = new Map<Node, string>()
  for (const node of graph.nodes) {
    if (node.op === 'Conv') {
      const norm = normBehind(graph, node)
      const name = names.next(graph.originalName(node.inputs[1]!))
      if (norm) convs.set(norm, name)
      const found = openConv(graph, shapes, design, node, norm, name, pattern)
      if ('reason' in found) closed.push(found)
      else {
        open.push(found)
        if (norm) taken.add(norm)
      }
    } else if (node.op === 'BatchNormalization' && !taken.has(node)) {
      const name = names.next(graph.originalName(node.inputs[1]!), convs.get(node))
      const found = openNorm(graph, shapes, node, name, pattern)
      if ('reason' in found) closed.push(found)
      else open.push(found)
    }
  }
  return { open, closed }
}

function openConv(
  graph: Graph,
  shapes: Shapes,
  design: Design,
  conv: Node,
  norm: Node | undefined,
  name: string,
  pattern: RegExp | undefined,
): OpenSlot | ClosedSlot {
  const close = (reason: string, refused = false) => ({ name, node: conv.name, reason, refused })
  const weight = graph.weights(conv.inputs[1], 4)
  if (!weight)
    throw new BackboneError(
      `The weights of ${conv.name} are not a constant float32 tensor of four dimensions. ` +
        'Export the network in float32, not quantised, with its weights stored as initializers.',
    )
  const bias = conv.inputs[2] ? graph.weights(conv.inputs[2], 1) : undefined
  if (conv.inputs[2] && !bias)
    throw new BackboneError(
      `The bias of ${conv.name} is not a constant float32 vector. Export it as an initializer.`,
    )
  const group = intOf(conv, 'group', 1)
  const [out, perGroup, ...kernel] = weight.dims as [number, number, number, number]
  if (pattern ? !pattern.test(name) : group !== 1 || Math.max(...kernel) === 1) {
    if (pattern) return close('not named by --slots')
    return close(group === 1 ? 'kernel 1x1' : `group ${group}`)
  }
  const grid = gridOf(conv, kernel, shapes.get(conv.inputs[0]!)?.slice(2))
  if (typeof grid === 'string') return close(grid, true)
  const channels = perGroup * group
  const affine = norm
    ? affineOf(graph, norm)
    : { scale: new Float32Array(out).fill(1), bias: new Float32Array(out) }
  return {
    slot: {
      name,
      kind: 'conv',
      in: channels,
      out,
      kernel,
      stride: grid.step,
      columns: design === 'parallel' ? channels : design === 'series' ? out : 0,
    },
    conv,
    norm: norm ?? null,
    weight,
    output: (norm ?? conv).outputs[0]!,
    v: design === 'parallel' ? 'x' : design === 'series' ? 'z' : 'none',
    grid,
    base: { ...withConvBias(affine, bias), matrix: null },
  }
}

function openNorm(
  graph: Graph,
  shapes: Shapes,
  norm: Node,
  name: string,
  pattern: RegExp | undefined,
): OpenSlot | ClosedSlot {
  const close = (reason: string, refused = false) => ({ name, node: norm.name, reason, refused })
  const before = graph.producer(norm.inputs[0]!)
  if (pattern && !pattern.test(name)) return close('not named by --slots')
  if (!pattern && before?.op === 'Conv' && graph.consumers(norm.inputs[0]!).length === 1)
    return close(`behind ${before.name}, which stays frozen`)
  const rank = shapes.get(norm.inputs[0]!)?.length
  if (rank !== 2 && rank !== 4)
    return close(`its input has ${rank ?? 'an unknown number of'} dimensions, not 2 or 4`, true)
  const affine = affineOf(graph, norm)
  const channels = affine.scale.length
  return {
    slot: { name, kind: 'norm', in: channels, out: channels, kernel: [1, 1], stride: [1, 1], columns: 0 },
    conv: null,
    norm,
    weight: null,
    output: norm.outputs[0]!,
    v: 'none',
    grid: { begin: [0, 0], end: [0, 0], step: [1, 1] },
    base: { ...affine, matrix: null },
  }
}

/** The BatchNorm behind a convolution that has that one consumer, and is no output itself. */
function normBehind(graph: Graph, conv: Node): Node | undefined {
  const value = conv.outputs[0]!
  const consumers = graph.consumers(value)
  const next = consumers[0]
  return consumers.length === 1 && next?.op === 'BatchNormalization' && next.inputs[0] === value
    ? next
    : undefined
}

/** `g = gamma / sqrt(var + eps)`, `h = beta - mean * g` of a BatchNorm. */
function affineOf(graph: Graph, norm: Node): Affine {
  if (intOf(norm, 'training_mode', 0) === 1 || norm.outputs.filter(Boolean).length > 1)
    throw new BackboneError(
      `${norm.name} (BatchNormalization) is in training mode. Export the network in evaluation mode.`,
    )
  const [gamma, beta, mean, variance] = norm.inputs.slice(1).map((name) => {
    const tensor = graph.weights(name, 1)
    if (!tensor)
      throw new BackboneError(
        `The parameter ${name} of ${norm.name} is not a constant float32 vector. Export it as an initializer.`,
      )
    return floats(tensor)
  }) as [Float32Array, Float32Array, Float32Array, Float32Array]
  const epsilon = floatOf(norm, 'epsilon', 1e-5)
  const scale = gamma.map((value, index) => value / Math.sqrt(variance[index]! + epsilon))
  const bias = beta.map(
    (value, index) => value - (mean[index]! * gamma[index]!) / Math.sqrt(variance[index]! + epsilon),
  )
  return { scale, bias }
}

/** A bias b in the backbone's convolution adds `g * b`. */
function withConvBias(affine: Affine, bias: Tensor | undefined): Affine {
  if (!bias) return affine
  const values = floats(bias)
  return {
    scale: affine.scale,
    bias: affine.bias.map((value, index) => value + affine.scale[index]! * values[index]!),
  }
}

/** The sampling grid of a convolution's input, or the reason why there is none. */
function gridOf(conv: Node, kernel: number[], sizes: readonly unknown[] | undefined): Grid | string {
  const strides = intsOf(conv, 'strides') ?? [1, 1]
  const dilations = intsOf(conv, 'dilations') ?? [1, 1]
  const auto = textOf(conv, 'auto_pad', 'NOTSET')
  const given = intsOf(conv, 'pads') ?? [0, 0, 0, 0]
  const begin: number[] = []
  const end: number[] = []
  for (const axis of [0, 1]) {
    const span = dilations[axis]! * (kernel[axis]! - 1) + 1
    let pads = [given[axis]!, given[axis + 2]!]
    if (auto === 'VALID') pads = [0, 0]
    else if (auto !== 'NOTSET') {
      const size = sizes?.[axis]
      if (typeof size !== 'number') return `auto_pad ${auto} on an input of unknown size`
      const stride = strides[axis]!
      const total = Math.max((Math.ceil(size / stride) - 1) * stride + span - size, 0)
      const small = Math.floor(total / 2)
      pads = auto === 'SAME_UPPER' ? [small, total - small] : [total - small, small]
    }
    const offset = (span - 1) / 2 - pads[0]!
    if (!Number.isInteger(offset))
      return `the windows of its ${kernel.join('x')} kernel have no centre on a pixel of the input`
    begin.push(offset)
    end.push((span - 1) / 2 - pads[1]!)
  }
  return {
    begin: begin as [number, number],
    end: end as [number, number],
    step: strides as [number, number],
  }
}

/** Slot names by section 5: the initializer's without `.weight`, or `slot<NN>` where it says nothing. */
class SlotNames {
  readonly #used = new Set<string>(['head'])
  #count = 0

  /** @param conv the slot name of the convolution a BatchNorm belongs to: it has no number of its own */
  next(initializer: string, conv?: string): string {
    const number = conv === undefined ? this.#count++ : this.#count
    const name = initializer.replace(/:0$/, '').replace(/[._/](weight|kernel|gamma|scale)$/, '')
    const readable = /^[A-Za-z_][A-Za-z0-9_./-]*$/.test(name) && name.length <= 128
    const anonymous = conv === undefined ? `slot${String(number).padStart(2, '0')}` : `${conv}.bn`
    const first = readable ? name : anonymous
    let unique = first
    for (let copy = 2; this.#used.has(unique); copy++) unique = `${first}_${copy}`
    this.#used.add(unique)
    return unique
  }
}

/** Parameters of a backbone's frozen part: the slots' weights in slot order, then every other constant of a layer. */
export function frozenWeights(graph: Graph, open: readonly OpenSlot[]): Tensor[] {
  const replaced = new Set(open.flatMap((slot) => [slot.conv, slot.norm]))
  const tensors = open.flatMap((slot) => (slot.weight ? [slot.weight] : []))
  const layers = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization', 'PRelu'])
  for (const node of graph.nodes) {
    if (replaced.has(node) || !layers.has(node.op)) continue
    for (const name of node.inputs) {
      const tensor = graph.constant(name)
      if (tensor?.type === FLOAT) tensors.push(tensor)
    }
  }
  return tensors
}
