/**
 * The dedicated network of a domain: the family's graph for batches of one domain with the domain's numbers in it as
 * constants, and merged into the frozen weights wherever that is possible. Pixels in, features out, as the trunk.
 *
 * How a slot is merged is its kind's (`slots/`). What cannot be merged stays as the graph has it.
 */
import type { BankLayout } from '../manifest/layout.js'
import { FEATURES, PIXELS, partInput } from '../manifest/layout.js'
import type { Design, FamilyManifest, Slot } from '../manifest/manifest.js'
import { slotParts } from '../manifest/kinds/kinds.js'
import { floatTensor, type Model, type Node, type Tensor } from '../onnx/onnx.js'
import { builderOf } from './slots/builders.js'
import type { MergeWriter } from './slots/kind.js'
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
  for (const slot of manifest.slots) builderOf(slot.kind).merge(merging, slot)
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

/** A domain's network in the making. */
class Merging implements MergeWriter {
  readonly design: Design
  readonly #trunk: Model
  readonly #parts: Parts
  /** The node that stands in the place of another. */
  readonly #replaced = new Map<Node, Node>()
  /** The domain's numbers, by the name of the value that they are. */
  readonly #constants = new Map<string, Tensor>()
  readonly #makers = new Map<string, Node>()
  readonly #readers = new Map<string, Node[]>()

  constructor(trunk: Model, design: Design, parts: Parts) {
    this.#trunk = trunk
    this.design = design
    this.#parts = parts
    for (const node of trunk.nodes) {
      for (const name of node.outputs) this.#makers.set(name, node)
      for (const name of node.inputs) this.#readers.set(name, [...(this.#readers.get(name) ?? []), node])
    }
    for (const part of ['scale', 'shift'])
      this.#constants.set(innerValue(`input/${part}`), floatTensor([1, 3, 1, 1], parts(null, part)!))
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

  part(slot: string, part: string): Float32Array | undefined {
    return this.#parts(slot, part)
  }

  ends(slot: string): { first: Node; last: Node } {
    const value = slotValue(slot, 'scaled')
    const first = this.#makers.get(value)
    const [last, ...others] = this.#readers.get(value) ?? []
    const ends =
      last?.op === 'Add' && others.length === 0 && !last.outputs[0]!.startsWith(slotValue(slot, ''))
    if (first?.op === 'Mul' && ends) return { first, last }
    throw new Error(
      `slot ${slot} of the trunk cannot be merged: the graph was written by another version. Build the family again.`,
    )
  }

  maker(value: string): Node | undefined {
    return this.#makers.get(value)
  }

  reader(value: string): Node {
    return this.#readers.get(value)![0]!
  }

  frozen(name: string): Tensor {
    const { constants } = this.#trunk
    return constants.get(name) ?? constants.get(this.#makers.get(name)?.inputs[0] ?? '')!
  }

  constant(slot: string, part: string, dims: number[], values: Float32Array): string {
    const name = slotValue(slot, `merged_${part}`)
    this.#constants.set(name, floatTensor(dims, values))
    return name
  }

  replace(slot: string, node: Node, op: string, inputs: string[], attributes: Node['attributes']): void {
    this.#replaced.set(node, {
      name: slotValue(slot, `merged_${op}`),
      op,
      inputs,
      outputs: node.outputs,
      attributes,
    })
  }

  keep(slot: Slot): void {
    const { name, out } = slot
    for (const { name: part, singleDims } of slotParts(slot)) {
      const values = this.#parts(name, part)!
      // Scale and bias are pieces of one input, which the graph cuts.
      if (part === 'scale') this.#constants.set(slotValue(name, part), floatTensor([1, out, 1, 1], values))
      else if (part === 'bias') this.#constants.set(slotValue(name, part), floatTensor([out], values))
      else this.#constants.set(partInput(name, part), floatTensor([...singleDims], values))
    }
  }
}
