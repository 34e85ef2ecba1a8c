/**
 * What the builder needs to know of a kind of slot: how it is found in a backbone, and how it is written into
 * the family's graph. Serving's part of a kind is `manifest/kinds/`.
 */
import type { Design, Serves, Slot } from '../../manifest/manifest.js'
import type { BatchPlace } from '../../onnx/batches.js'
import type { Graph } from '../../onnx/graph.js'
import type { Node, Tensor } from '../../onnx/onnx.js'
import type { Shape, Shapes } from '../../onnx/shapes.js'
import type { Writer } from '../../onnx/writer.js'
import type { SlotWeights } from '../../pack/pack.js'
import type { BankValues } from './bank-inputs.js'
import type { Choice } from './choice.js'
import type { CompressWriter, GraphView, MatrixPlace } from './compress.js'

/** A node that may become a slot. */
export interface Candidate {
  node: Node
  /** The name its slot would have. */
  name: string
  /** The node behind it that its slot would take over (`SlotBuilder.takesOver`). */
  next: Node | undefined
}

/** What a kind looks at when it opens a slot. */
export interface Backbone {
  graph: Graph
  shapes: Shapes
  /** Which places are opened. */
  choice: Choice
  /** Where the samples of a value lie; undefined where that is not known. */
  batchOf(value: string): BatchPlace | undefined
}

export interface OpenSlot {
  slot: Slot
  /** The backbone's nodes that the slot stands for. It is written in the place of the first. */
  nodes: readonly [Node, ...Node[]]
  /** Their frozen weights. */
  weights: readonly Tensor[]
  /** What reproduces the backbone. */
  base: SlotWeights
  /** Writes the slot; the value it makes has the name of the last of `nodes`' output. */
  emit(trunk: TrunkWriter): void
  /** The same as one node of Facet's own operator (`compiler/own-operator.ts`), where that computes such a slot. */
  emitOwn?(trunk: TrunkWriter): void
}

/** A node that was looked at and left frozen. */
export interface ClosedSlot {
  name: string
  node: string
  reason: string
  /** It was meant to be opened, but cannot. */
  refused: boolean
}

export interface SlotBuilder {
  /** Whether a node may become such a slot. */
  matches(graph: Graph, node: Node): boolean
  /** The node behind it that belongs to its slot, if it is opened. */
  takesOver(graph: Graph, node: Node): Node | undefined
  /** The constants that may give the slot its name, those preferred first. @param next what its slot would take over */
  namedBy(graph: Graph, node: Node, next: Node | undefined): string[]
  /** @throws BackboneError where the node's weights are not what a backbone must have */
  open(backbone: Backbone, candidate: Candidate): OpenSlot | ClosedSlot
  /** Writes the slot into a dedicated network, with a domain's numbers merged into the frozen weights where that is possible. */
  merge(trunk: MergeWriter, slot: Slot): void
  /**
   * Writes the slot with a shared basis in the place of what its domains had for themselves. Kinds without a matrix have
   * nothing to compress.
   *
   * @param slot as the compressed family has it
   */
  compress?(trunk: CompressWriter, slot: Slot): void
  /** What the slot's matrix multiplies in the graph for one domain; undefined where that has another form. */
  matrixPlace?(graph: GraphView, slot: Slot): MatrixPlace | undefined
}

/** The graph for one domain that is being turned into a dedicated network. */
export interface MergeWriter {
  design: Design
  /** A domain's numbers of a part of a slot; undefined where the slot takes no such part. */
  part(slot: string, part: string): Float32Array | undefined
  /** The node that scales what a slot's layer gives, and the one that makes the slot's result. */
  ends(slot: string): { first: Node; last: Node }
  /** The node that makes a value. */
  maker(value: string): Node | undefined
  /** The node that reads a value that one node reads. */
  reader(value: string): Node
  /** Frozen weights, which a trunk in half precision widens first. */
  frozen(name: string): Tensor
  /** A new constant of a slot. Gives its name. */
  constant(slot: string, part: string, dims: number[], values: Float32Array): string
  /** Puts a node in the place of another, for the same outputs. */
  replace(slot: string, node: Node, op: string, inputs: string[], attributes: Node['attributes']): void
  /** Leaves the slot as the graph has it, with the domain's numbers as constants. */
  keep(slot: Slot): void
}

/** A trunk graph that is being written. */
export interface TrunkWriter {
  writer: Writer
  bank: BankValues
  shapes: Shapes
  serves: Serves
}

/** A candidate that stays frozen. */
export function closed({ node, name }: Candidate, reason: string, refused = false): ClosedSlot {
  return { name, node: node.name, reason, refused }
}

/** Why values of this shape are not one an image, as scale and bias are; undefined where they are. */
export function batchProblem(shape: Shape | undefined): string | undefined {
  if (shape === undefined || shape[0] === null) return undefined
  return `its input has the shape [${shape.map((size) => size ?? 'N').join(', ')}] for N images`
}
