/**
 * The dedicated network of a domain: the family's graph for batches of one domain with the domain's numbers in it as
 * constants, and merged into the frozen weights wherever that is possible. Pixels in, features out, as the trunk.
 *
 * With the words of `slots/conv.ts`, `y = scale * z + matrix · v + bias` and `z = W x`, a slot becomes one convolution:
 *
 * - without matrix: `W' = diag(scale) W`
 * - parallel: v is x where the kernel's centre falls, so the matrix is added to the centre of `diag(scale) W`
 * - series: v is z, so `W' = (diag(scale) + matrix) W`
 *
 * What cannot be merged stays as the graph has it: the matrix beside or behind a grouped convolution, which mixes
 * groups, and beside a kernel without a centre.
 */
import type { BankLayout } from '../manifest/layout.js'
import { FEATURES, PIXELS, partInput } from '../manifest/layout.js'
import type { Design, FamilyManifest, Slot } from '../manifest/manifest.js'
import { floats, floatTensor, intOf, type Model, type Node, type Tensor } from '../onnx/onnx.js'
import { innerValue, slotValue } from './slots/names.js'

/** What a merge has to know of a family. */
export interface DedicatedFamily {
  manifest: Pick<FamilyManifest, 'design' | 'slots'>
  layout: Pick<BankLayout, 'tensors'>
}

/**
 * @param trunk the family's graph for batches of one domain and an f32 bank
 * @param row the domain's bank row: the numbers of each tensor of the layout
 * @throws Error where the graph has another form than the builder of this version gives it
 */
export function dedicatedNetwork(
  trunk: Model,
  { manifest, layout }: DedicatedFamily,
  row: readonly Float32Array[],
): Model {
  const merging = new Merging(trunk, manifest.design, partsOf(layout, row))
  for (const slot of manifest.slots) merging.slot(slot)
  return merging.model()
}

/** The numbers of a part of a slot, or of the input's normalisation (null). */
type Parts = (slot: string | null, part: string) => Float32Array | undefined

function partsOf({ tensors }: Pick<BankLayout, 'tensors'>, row: readonly Float32Array[]): Parts {
  const found = new Map<string | null, Map<string, Float32Array>>()
  for (const [index, { parts }] of tensors.entries())
    for (const { slot, part, offset, elements } of parts) {
      const ofSlot = found.get(slot) ?? new Map<string, Float32Array>()
      found.set(slot, ofSlot.set(part, row[index]!.subarray(offset, offset + elements)))
    }
  return (slot, part) => found.get(slot)?.get(part)
}

/** The epsilon of a BatchNormalization that names none. */
const EPSILON = 1e-5

/** A domain's network in the making. */
class Merging {
  readonly #trunk: Model
  readonly #design: Design
  readonly #parts: Parts
  /** The node that stands in the place of another. */
  readonly #replaced = new Map<Node, Node>()
  /** The domain's numbers, by the name of the value that they are. */
  readonly #constants = new Map<string, Tensor>()
  readonly #makers = new Map<string, Node>()
  readonly #readers = new Map<string, Node[]>()

  constructor(trunk: Model, design: Design, parts: Parts) {
    this.#trunk = trunk
    this.#design = design
    this.#parts = parts
    for (const node of trunk.nodes) {
      for (const name of node.outputs) this.#makers.set(name, node)
      for (const name of node.inputs) this.#readers.set(name, [...(this.#readers.get(name) ?? []), node])
    }
    for (const part of ['scale', 'shift'])
      this.#constants.set(innerValue(`input/${part}`), floatTensor([1, 3, 1, 1], parts(null, part)!))
  }

  slot(slot: Slot): void {
    if (slot.kind === 'norm') this.#norm(slot)
    else this.#conv(slot)
  }

  model(): Model {
    const { nodes, constants, inputs, outputs } = this.#trunk
    const wanted = new Set([FEATURES])
    const kept: Node[] = []
    for (const node of nodes.map((node) => this.#replaced.get(node) ?? node).reverse()) {
      // What made a value that is a constant now goes, and what that alone read.
      if (!node.outputs.some((name) => wanted.has(name) && !this.#constants.has(name))) continue
      for (const name of node.inputs) wanted.add(name)
      kept.push(node)
    }
    const all = [...constants, ...this.#constants]
    return {
      ...this.#trunk,
      nodes: kept.reverse(),
      constants: new Map(all.filter(([name]) => wanted.has(name))),
      inputs: inputs.filter(({ name }) => name === PIXELS),
      outputs: outputs.filter(({ name }) => name === FEATURES),
    }
  }

  /** As a BatchNormalization, which onnxruntime runs in the layout of its convolutions. */
  #norm({ name, out }: Slot): void {
    const { scaled, sum } = this.#ends(name)
    const parts = {
      scale: this.#parts(name, 'scale')!,
      bias: this.#parts(name, 'bias')!,
      mean: new Float32Array(out),
      variance: new Float32Array(out).fill(1 - EPSILON),
    }
    const inputs = Object.entries(parts).map(([part, values]) => this.#constant(name, part, [out], values))
    this.#replace(name, sum, 'BatchNormalization', [scaled.inputs[0]!, ...inputs], [])
  }

  #conv(slot: Slot): void {
    const { name, out, columns } = slot
    const { scaled, sum } = this.#ends(name)
    const z = this.#makers.get(scaled.inputs[0]!)!
    const scale = this.#parts(name, 'scale')!
    const bias = this.#parts(name, 'bias')!
    const matrix = this.#parts(name, 'matrix')
    if (matrix && !canMerge(slot, z, this.#design)) {
      this.#constants.set(slotValue(name, 'scale'), floatTensor([1, out, 1, 1], scale))
      this.#constants.set(slotValue(name, 'bias'), floatTensor([out], bias))
      this.#constants.set(partInput(name, 'matrix'), floatTensor([out, columns, 1, 1], matrix))
      return
    }
    const frozen = this.#weights(z.inputs[1]!)
    const values = merged(slot, floats(frozen), scale, matrix, this.#design)
    const weight = this.#constant(name, 'weight', frozen.dims, values)
    this.#replace(
      name,
      sum,
      'Conv',
      [z.inputs[0]!, weight, this.#constant(name, 'bias', [out], bias)],
      z.attributes,
    )
  }

  /** The node that scales a slot's value, and the sum that is the slot's result. */
  #ends(slot: string): { scaled: Node; sum: Node } {
    const value = slotValue(slot, 'scaled')
    const scaled = this.#makers.get(value)
    const [sum, ...others] = this.#readers.get(value) ?? []
    const ends = sum?.op === 'Add' && others.length === 0 && !sum.outputs[0]!.startsWith(slotValue(slot, ''))
    if (scaled?.op === 'Mul' && ends) return { scaled, sum }
    throw new Error(
      `slot ${slot} of the trunk cannot be merged: the graph was written by another version. Build the family again.`,
    )
  }

  /** A convolution's weights, which a trunk in half precision widens first. */
  #weights(name: string): Tensor {
    const { constants } = this.#trunk
    return constants.get(name) ?? constants.get(this.#makers.get(name)?.inputs[0] ?? '')!
  }

  #constant(slot: string, part: string, dims: number[], values: Float32Array): string {
    const name = slotValue(slot, `merged_${part}`)
    this.#constants.set(name, floatTensor(dims, values))
    return name
  }

  #replace(slot: string, node: Node, op: string, inputs: string[], attributes: Node['attributes']): void {
    this.#replaced.set(node, {
      name: slotValue(slot, 'merged'),
      op,
      inputs,
      outputs: node.outputs,
      attributes,
    })
  }
}

/** Whether one convolution can do what a slot's convolution and matrix do. */
function canMerge({ kernel }: Slot, conv: Node, design: Design): boolean {
  const hasCentre = kernel.every((size) => size % 2 === 1)
  return intOf(conv, 'group', 1) === 1 && (design === 'series' || hasCentre)
}

/** The weights of the one convolution. Takes `weights` over. */
function merged(
  slot: Slot,
  weights: Float32Array,
  scale: Float32Array,
  matrix: Float32Array | undefined,
  design: Design,
): Float32Array {
  if (matrix && design === 'series') return product(slot, scale, matrix, weights)
  multiplyRows(weights, scale)
  if (matrix) addAtCentre(weights, slot, matrix)
  return weights
}

/** `diag(scale) W`, in place. */
function multiplyRows(weights: Float32Array, scale: Float32Array): void {
  const length = weights.length / scale.length
  for (const [row, factor] of scale.entries())
    for (let at = row * length; at < (row + 1) * length; at++) weights[at]! *= factor
}

/** Adds a matrix `[out, in]` to the middle of each kernel. */
function addAtCentre(weights: Float32Array, { kernel: [height, width] }: Slot, matrix: Float32Array): void {
  const area = height * width
  const centre = (area - 1) / 2
  for (const [index, value] of matrix.entries()) weights[index * area + centre]! += value
}

/** `(diag(scale) + matrix) W`. */
function product(
  { out }: Slot,
  scale: Float32Array,
  matrix: Float32Array,
  weights: Float32Array,
): Float32Array {
  const length = weights.length / out
  const result = new Float32Array(weights.length)
  const row = new Float64Array(length)
  for (let to = 0; to < out; to++) {
    row.fill(0)
    for (let from = 0; from < out; from++) {
      const factor = matrix[to * out + from]! + (from === to ? scale[to]! : 0)
      if (factor === 0) continue
      for (let at = 0; at < length; at++) row[at]! += factor * weights[from * length + at]!
    }
    result.set(row, to * length)
  }
  return result
}
