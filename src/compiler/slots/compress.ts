/**
 * What rewrites a family's graph for shared bases needs of a slot's kind, and what the kinds have in common
 * (`compiler/compress.ts`). Each kind finds in the graph what its `emit` has written.
 */
import type { Serves, Slot } from '../../manifest/manifest.js'
import { intsAttribute, type Node } from '../../onnx/onnx.js'
import { slotValue } from './names.js'

/** A graph that is looked at. */
export interface GraphView {
  /** The node that makes a value. */
  find(value: string): Node | undefined
  /** A node that reads it. */
  reader(value: string): Node | undefined
}

/** What a slot's matrix multiplies in the graph for one domain, and the slot's own value. */
export interface MatrixPlace {
  input: string
  output: string
  /** Channels are the last dimension, as of tokens; otherwise the second, as of images. */
  last: boolean
}

/** A graph of a family that is being compressed. */
export interface CompressWriter extends Pick<GraphView, 'find'> {
  serves: Serves
  /** The node that makes a value. @throws BackboneError where there is none: the graph was written by another version */
  maker(value: string): Node
  /** The slot's first factor as the graph reads it: `[M, out, basis]`, or `[out, basis, 1, 1]` in the graph for one domain. */
  up(slot: Slot): string
  /** The slot's basis as a constant of this shape, which has as many numbers. */
  basis(slot: Slot, dims: number[]): string
  /** A constant int64 vector. */
  ints(values: readonly number[]): string
  /** Puts nodes in the place of one. */
  replace(node: Node, ...nodes: Node[]): void
}

/** A new node of a slot. @param part names the node and its value, unless that is given */
export function slotNode(
  slot: Slot,
  part: string,
  op: string,
  inputs: string[],
  {
    attributes = [],
    output = slotValue(slot.name, part),
  }: { attributes?: Node['attributes']; output?: string } = {},
): Node {
  return { name: slotValue(slot.name, `compressed_${part}`), op, inputs, outputs: [output], attributes }
}

/** Attributes of a 1x1 convolution. */
export const onePixel = (): Node['attributes'] => [intsAttribute('kernel_shape', [1, 1])]
