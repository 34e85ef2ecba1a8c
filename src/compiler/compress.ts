/**
 * A compressed family (joint compression: Rebuffi, Bilen and Vedaldi, CVPR 2018, section 3.3): the same trunk with a basis
 * for each slot's matrices in it, frozen, so that a domain brings `up` alone.
 *
 * The graphs of the family are rewritten. How a slot is, is its kind's (`slots/`); one of Facet's own operator is here.
 */
import { createHash } from 'node:crypto'
import { basesDigest, writeBases } from '../family/bases.js'
import { BASE_FILE, MANIFEST_FILE } from '../family/family.js'
import { fingerprint } from '../manifest/fingerprint.js'
import { isOwn } from '../manifest/graphs.js'
import { adapterElements } from '../manifest/kinds/kinds.js'
import { bankLayout, MATRIX_ROW, partInput } from '../manifest/layout.js'
import {
  BASES_FILE,
  type CompressedRecord,
  type FamilyManifest,
  type GraphVariant,
  type Slot,
} from '../manifest/manifest.js'
import { parseManifest } from '../manifest/schema.js'
import {
  BackboneError,
  FLOAT,
  floatTensor,
  int64Tensor,
  intAttribute,
  type Model,
  type Node,
  type Tensor,
} from '../onnx/onnx.js'
import { pruned } from '../onnx/prune.js'
import type { Pack } from '../pack/pack.js'
import { type Bases, project } from '../pack/projection.js'
import { writePack } from '../pack/write.js'
import { graphFiles, WEIGHTS_FILE } from './graph-files.js'
import { type ReadFile, readGraph, withoutInt8 } from './quantise.js'
import { bankInputs } from './slots/bank-inputs.js'
import { builderOf } from './slots/builders.js'
import type { CompressWriter } from './slots/compress.js'
import { BASIS, innerValue, OWN_DOMAIN, slotValue } from './slots/names.js'

export interface CompressOptions {
  name: string
  /** What it was made of, but for what is known of the family and its bases. */
  record: Omit<CompressedRecord, 'family' | 'fingerprint' | 'bases'>
}

export interface CompressedFamily {
  manifest: FamilyManifest
  /** Every file of the family by name, the manifest included. */
  files: Map<string, Uint8Array>
}

/** The family that is compressed. */
export interface CompressedSource {
  manifest: FamilyManifest
  base: Pack
  read: ReadFile
}

/**
 * Writes the compressed family. Graphs in 8 bits do not come along: they are calibrated anew.
 *
 * @param bases of the slots that get one; the others stay as they are
 * @throws BackboneError where a graph has another form than this version gives it
 * @throws FamilyError for a name that no family may have
 */
export function compressFamily(
  { manifest: source, base, read }: CompressedSource,
  bases: Bases,
  { name, record }: CompressOptions,
): CompressedFamily {
  const slots = source.slots.map((slot): Slot => {
    const basis = bases.get(slot.name)
    return basis ? { ...slot, basis: basis.basis.length / slot.columns } : slot
  })
  const plain = withoutInt8(source)
  const compressed: CompressedRecord = {
    ...record,
    family: source.name,
    fingerprint: source.fingerprint,
    bases: basesDigest(slots, bases),
  }
  const { weights, design, input } = source
  const manifest: FamilyManifest = {
    ...plain,
    name,
    fingerprint: fingerprint({ weights, slots, design, input, compressed }),
    slots,
    compressed,
    parameters: {
      ...source.parameters,
      trunk: source.parameters.trunk + sum([...bases.values()].map(({ basis }) => basis.length)),
      adapter: adapterElements(slots),
    },
    files: {},
  }
  const emitted = plain.graphs!.map((variant) => {
    const writer = new Compressing(readGraph(variant, read), variant, { slots, bases })
    return { file: variant.file, model: writer.model() }
  })
  const files = graphFiles(emitted, WEIGHTS_FILE)
  files.set(BASES_FILE, writeBases(slots, bases))
  const ownBase = { ...base, family: manifest.fingerprint, slots: project(base, slots, bases).slots }
  files.set(BASE_FILE, writePack(ownBase, manifest, { dtype: 'f32', head: base.head?.half ? 'f16' : 'f32' }))
  for (const [file, bytes] of files) {
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    manifest.files[file] = { sha256, bytes: bytes.byteLength }
  }
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  files.set(MANIFEST_FILE, new TextEncoder().encode(text))
  return { manifest: parseManifest(text), files }
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}

/** A graph with bases in the making. */
class Compressing implements CompressWriter {
  readonly serves: GraphVariant['serves']
  readonly #graph: Model
  readonly #variant: GraphVariant
  readonly #slots: readonly Slot[]
  readonly #bases: Bases
  readonly #makers = new Map<string, Node>()
  /** What stands in the place of a node. */
  readonly #replaced = new Map<Node, readonly Node[]>()
  /** What reads the bank for slots that did not read `up` before. */
  readonly #first: Node[] = []
  readonly #constants = new Map<string, Tensor>()

  constructor(
    graph: Model,
    variant: GraphVariant,
    { slots, bases }: { slots: readonly Slot[]; bases: Bases },
  ) {
    this.serves = variant.serves
    this.#graph = graph
    this.#variant = variant
    this.#slots = slots
    this.#bases = bases
    for (const node of graph.nodes) for (const name of node.outputs) this.#makers.set(name, node)
  }

  model(): Model {
    for (const slot of this.#slots) {
      if (slot.basis === undefined) continue
      const own = this.#graph.nodes.find(
        ({ domain, inputs }) => domain === OWN_DOMAIN && inputs.includes(partInput(slot.name, 'matrix')),
      )
      if (own) this.#ownSlot(own, slot)
      else builderOf(slot.kind).compress?.(this, slot)
    }
    const nodes = [...this.#first, ...this.#graph.nodes.flatMap((node) => this.#replaced.get(node) ?? node)]
    const [, height, width] = this.#graph.inputs.find(({ name }) => name === 'pixels')!.dims as number[]
    const { bank } = this.#variant
    const how = { serves: this.serves, bank, own: isOwn(this.#variant) }
    return pruned({
      ...this.#graph,
      nodes,
      constants: new Map([...this.#graph.constants, ...this.#constants]),
      inputs: bankInputs(bankLayout({ slots: [...this.#slots] }), how, height!, width!),
    })
  }

  find(value: string): Node | undefined {
    return this.#makers.get(value)
  }

  maker(value: string): Node {
    const node = this.#makers.get(value)
    if (node) return node
    throw new BackboneError(
      `The graph ${this.#variant.file} has no ${value}: it was written by another version. Build the family again from its backbone (facet family build), and compress that.`,
    )
  }

  up({ name }: Slot): string {
    const input = partInput(name, 'up')
    const half = this.#variant.bank === 'f16'
    const wide = slotValue(name, 'up')
    if (this.serves === 'one') {
      if (half && !this.#makers.has(wide)) this.#read(wide, 'Cast', [input], [intAttribute('to', FLOAT)])
      return half ? wide : input
    }
    const rows = slotValue(name, 'up_rows')
    if (!this.#makers.has(rows)) {
      this.#read(rows, 'Gather', [input, MATRIX_ROW], [intAttribute('axis', 0)])
      if (half) this.#read(wide, 'Cast', [rows], [intAttribute('to', FLOAT)])
    }
    return half ? wide : rows
  }

  #read(output: string, op: string, inputs: string[], attributes: Node['attributes']): void {
    this.#first.push({ name: output, op, inputs, outputs: [output], attributes })
  }

  basis({ name }: Slot, dims: number[]): string {
    const value = slotValue(name, BASIS)
    this.#constants.set(value, floatTensor(dims, this.#bases.get(name)!.basis))
    return value
  }

  ints(values: readonly number[]): string {
    const name = innerValue(`ints(${values.join(',')})`)
    this.#constants.set(name, int64Tensor(values))
    return name
  }

  replace(node: Node, ...nodes: Node[]): void {
    this.#replaced.set(node, nodes)
  }

  /** One node of Facet's own operator takes the basis as its last input, and reads `up` where it read the matrix. */
  #ownSlot(node: Node, slot: Slot): void {
    const { name, basis, columns } = slot
    const at = node.inputs.indexOf(partInput(name, 'matrix'))
    const inputs = [...node.inputs, ...Array<string>(OWN_BASIS - node.inputs.length).fill('')]
    inputs[at] = partInput(name, 'up')
    this.replace(node, { ...node, inputs: [...inputs, this.basis(slot, [basis!, columns])] })
  }
}

/** The basis's place among the inputs of Facet's own operator (native/src/slot/node.rs). */
const OWN_BASIS = 7
