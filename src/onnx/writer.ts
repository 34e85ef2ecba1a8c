/**
 * Appends nodes and constants to a new graph, each operator in the form that the backbone's operator set has.
 *
 * Knows operators and their versions, not slots.
 */
import type { onnx as Onnx } from 'onnx-proto'
import type { Graph } from './graph.js'
import { halved } from './half.js'
import { FLOAT, int64Tensor, intAttribute, intsAttribute, type Node, type Tensor } from './onnx.js'

/**
 * Weights of at least so many bytes are stored as external data, which a family's graphs share, and as fp16
 * if asked.
 */
export const LARGE_WEIGHT_BYTES = 4096

/** An end beyond every axis, for Slice. */
const END = 2 ** 31 - 1

export class Writer {
  readonly nodes: Node[] = []
  readonly constants = new Map<string, Tensor>()
  readonly #source: Graph
  readonly #prefix: string
  readonly #rename: ReadonlyMap<string, string>
  readonly #nodeNames = new Set<string>()

  /**
   * @param prefix of the names the writer makes up; no value of `source` may begin with it
   * @param rename values of `source` that get another name in the new graph
   */
  constructor(source: Graph, prefix: string, rename: ReadonlyMap<string, string> = new Map()) {
    this.#source = source
    this.#prefix = prefix
    this.#rename = rename
  }

  /** Appends a node and returns the name of its (first) output. Constants of the backbone come along. */
  add(op: string, inputs: string[], attributes: Onnx.IAttributeProto[], ...outputs: string[]): string {
    return this.#append(outputs[0]!, op, inputs, attributes, outputs)
  }

  /** Appends a node of an operator that is none of ONNX. */
  addOwn(
    domain: string,
    op: string,
    inputs: string[],
    attributes: Onnx.IAttributeProto[],
    output: string,
  ): void {
    this.#append(output, op, inputs, attributes, [output], domain)
  }

  /** Appends a node of the backbone unchanged. */
  copy({ name, op, inputs, attributes, outputs }: Node): void {
    this.#append(name, op, inputs, attributes, outputs)
  }

  #append(
    node: string,
    op: string,
    inputs: readonly string[],
    attributes: Onnx.IAttributeProto[],
    outputs: readonly string[],
    domain?: string,
  ): string {
    for (const name of inputs) {
      const tensor = this.#source.constant(name)
      if (tensor) this.constants.set(name, tensor)
    }
    const named = outputs.map((name) => this.#rename.get(name) ?? name)
    this.nodes.push({
      name: this.#nodeName(node),
      ...(domain !== undefined && { domain }),
      op,
      inputs: inputs.map((name) => this.#rename.get(name) ?? name),
      outputs: named,
      attributes,
    })
    return named[0]!
  }

  /** Adds a constant under a name that no other value has, and returns the name. */
  constant(name: string, tensor: Tensor): string {
    this.constants.set(name, tensor)
    return name
  }

  /** The name of a constant int64 vector. */
  ints(values: readonly number[]): string {
    const name = `${this.#prefix}ints(${values.join(',')})`
    this.constants.set(name, int64Tensor(values))
    return name
  }

  cast(input: string, type: number, output: string): string {
    return this.add('Cast', [input], [intAttribute('to', type)], output)
  }

  /** Cuts an axis into consecutive parts of the given sizes. */
  split(input: string, axis: number, sizes: readonly number[], outputs: string[]): void {
    if (this.#source.opset >= 13)
      this.add('Split', [input, this.ints(sizes)], [intAttribute('axis', axis)], ...outputs)
    else
      this.add('Split', [input], [intAttribute('axis', axis), intsAttribute('split', [...sizes])], ...outputs)
  }

  /** Takes so many positions of an axis, from `start` on. */
  slice(input: string, axis: number, start: number, count: number, output: string): string {
    const bounds = { starts: [start], ends: [start + count], axes: [axis] }
    if (this.#source.opset >= 10) {
      const inputs = Object.values(bounds).map((values) => this.ints(values))
      return this.add('Slice', [input, ...inputs], [], output)
    }
    const attributes = Object.entries(bounds).map(([name, values]) => intsAttribute(name, values))
    return this.add('Slice', [input], attributes, output)
  }

  /** Adds zeros around the two spatial axes of `[N, C, H, W]`. */
  pad(input: string, begin: readonly number[], end: readonly number[], output: string): string {
    const pads = [0, 0, ...begin, 0, 0, ...end]
    if (this.#source.opset >= 11) return this.add('Pad', [input, this.ints(pads)], [], output)
    return this.add('Pad', [input], [intsAttribute('pads', pads)], output)
  }

  /** Drops `begin` and `end` positions of the two spatial axes. */
  crop(input: string, begin: readonly number[], end: readonly number[], output: string): string {
    const ends = end.map((drop) => (drop === 0 ? END : -drop))
    const axes = [2, 3]
    if (this.#source.opset >= 10) {
      const inputs = [begin, ends, axes].map((values) => this.ints(values))
      return this.add('Slice', [input, ...inputs], [], output)
    }
    const attributes = Object.entries({ starts: [...begin], ends, axes })
    return this.add(
      'Slice',
      [input],
      attributes.map(([name, values]) => intsAttribute(name, values)),
      output,
    )
  }

  /**
   * Takes every step-th position of the two spatial axes, from the first.
   *
   * Written as a pool of one pixel, which every operator set has. Slice has steps from operator set 10 on,
   * and is slower (docs/experiments/2026-11-22-how-to-write-a-slot.md).
   */
  stride(input: string, steps: readonly number[], output: string): string {
    const attributes = [intsAttribute('kernel_shape', [1, 1]), intsAttribute('strides', [...steps])]
    return this.add('MaxPool', [input], attributes, output)
  }

  /** A name that no other node has, which onnxruntime demands of nodes with names. */
  #nodeName(wanted: string): string {
    let name = wanted
    while (this.#nodeNames.has(name)) name += '_'
    this.#nodeNames.add(name)
    return name
  }

  /**
   * Stores the large float32 constants in half precision. Casts in front of all nodes give float32 values by
   * their names.
   *
   * @throws BackboneError where a weight does not fit
   */
  halve(): void {
    const casts: Node[] = []
    for (const [name, tensor] of [...this.constants]) {
      if (tensor.type !== FLOAT || tensor.bytes.byteLength < LARGE_WEIGHT_BYTES) continue
      const stored = `${this.#prefix}half/${name}`
      this.constants.delete(name)
      const remedy = 'Build without --fp16.'
      const refused = (reason: string) => `The weights ${name} cannot be stored as fp16: ${reason}. ${remedy}`
      this.constants.set(stored, { ...tensor, ...halved(tensor, refused) })
      casts.push({
        name: this.#nodeName(`${this.#prefix}cast/${name}`),
        op: 'Cast',
        inputs: [stored],
        outputs: [name],
        attributes: [intAttribute('to', FLOAT)],
      })
    }
    this.nodes.unshift(...casts)
  }
}
