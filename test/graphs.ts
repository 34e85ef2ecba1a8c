/**
 * ONNX graphs written node by node, for what exporters write beyond `networks.ts`: decomposed and fused normalisations,
 * attention, chains of shapes, half precision.
 */
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import { encodeFloat16 } from '../src/bytes/float16.js'
import { random } from './networks.js'

const { onnx } = onnxProto
const types = onnx.AttributeProto.AttributeType

type Attribute = number | number[] | string | Onnx.ITensorProto

/** Element types of ONNX. */
export const FLOAT = 1
export const UINT8 = 2
export const FLOAT16 = 10

export class OnnxGraph {
  readonly opset: number
  readonly half: boolean
  readonly #nodes: Onnx.INodeProto[] = []
  readonly #tensors: Onnx.ITensorProto[] = []
  readonly #draw: () => number
  #count = 0

  /** @param half weights in half precision */
  constructor({
    opset = 17,
    half = false,
    seed = 1,
  }: { opset?: number; half?: boolean; seed?: number } = {}) {
    this.opset = opset
    this.half = half
    this.#draw = random(seed)
  }

  /** Appends a node; returns the name of its first output. */
  add(op: string, inputs: string[], attributes: Record<string, Attribute> = {}, output = ''): string {
    return this.nodes(op, inputs, attributes, output === '' ? 1 : [output])[0]!
  }

  /** The same for several outputs. */
  nodes(
    op: string,
    inputs: string[],
    attributes: Record<string, Attribute>,
    outputs: number | string[],
  ): string[] {
    const output =
      typeof outputs === 'number' ? Array.from({ length: outputs }, () => `/${op}_${this.#count++}`) : outputs
    this.#nodes.push({
      name: `node${this.#nodes.length}`,
      opType: op,
      input: inputs,
      output,
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    })
    return output
  }

  /** A constant float tensor of random values, uniform within `spread` around `middle`. */
  weight(name: string, dims: number[], spread = 0.5, middle = 0): string {
    const count = dims.reduce((product, dim) => product * dim, 1)
    return this.floats(
      Array.from({ length: count }, () => middle + spread * this.#draw()),
      dims,
      name,
    )
  }

  floats(values: number[], dims: number[] = [values.length], name = `constant_${this.#count++}`): string {
    const data = Float32Array.from(values)
    const bytes = this.half ? encodeFloat16(data) : data
    this.#tensors.push({
      name,
      dims,
      dataType: this.half ? FLOAT16 : FLOAT,
      rawData: new Uint8Array(bytes.buffer),
    })
    return name
  }

  ints(...values: number[]): string {
    const name = `ints_${this.#count++}`
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    this.#tensors.push({ name, dims: [values.length], dataType: 7, rawData })
    return name
  }

  /** A constant int64 scalar. */
  int(value: number): string {
    const name = this.ints(value)
    this.#tensors.at(-1)!.dims = []
    return name
  }

  /**
   * The model as a file.
   * @param dims of the input `image`; a text is a free size
   */
  onnx(outputs: string[], dims: (number | string)[], type = this.half ? FLOAT16 : FLOAT): Uint8Array {
    const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }))
    return onnx.ModelProto.encode({
      irVersion: 8,
      opsetImport: [{ domain: '', version: this.opset }],
      graph: {
        name: 'graph',
        node: this.#nodes,
        initializer: this.#tensors,
        input: [{ name: 'image', type: { tensorType: { elemType: type, shape: { dim } } } }],
        output: outputs.map((name) => ({ name })),
      },
    }).finish()
  }
}

function attribute(name: string, value: Attribute): Onnx.IAttributeProto {
  if (typeof value === 'string') return { name, type: types.STRING, s: new TextEncoder().encode(value) }
  if (Array.isArray(value)) return { name, type: types.INTS, ints: value }
  if (typeof value === 'object') return { name, type: types.TENSOR, t: value }
  return Number.isInteger(value) ? { name, type: types.INT, i: value } : { name, type: types.FLOAT, f: value }
}
