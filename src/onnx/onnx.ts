/**
 * ONNX files as bytes: decoding into the plain structures the builder works on, and encoding again.
 *
 * Knows the protobuf (through the library onnx-proto) and tensor storage: raw, typed and external data,
 * 64-bit integers. Knows nothing of slots and families.
 */
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import { decodeFloat16 } from '../bytes/float16.js'

const { onnx } = onnxProto

/** The backbone cannot be built into a family. The message names the node and the remedy. */
export class BackboneError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'BackboneError'
  }
}

/** Element types of ONNX that the builder handles by name. */
export const FLOAT = 1
export const UINT8 = 2
export const INT8 = 3
export const INT32 = 6
export const INT64 = 7
export const FLOAT16 = 10

/** Bytes of one element, by element type number; strings and the types after 16 are not supported. */
const elementSizes = [0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8, 8, 16, 2]

export interface Tensor {
  dims: number[]
  /** ONNX element type number. */
  type: number
  /** Little-endian, row-major. */
  bytes: Uint8Array
  /** How it was computed (`fold.ts`); undefined for a constant of the model's own. */
  origin?: Origin
}

/** What a constant was computed from. Unlike its values, this is the same on every machine to the last bit. */
export interface Origin {
  /** Float constants of the model. */
  sources: readonly Tensor[]
  /** The operators, in order. */
  operators: readonly string[]
}

export interface Node {
  name: string
  /** Of the operator, where it is none of ONNX. */
  domain?: string
  op: string
  inputs: string[]
  outputs: string[]
  attributes: Onnx.IAttributeProto[]
}

/** One size of a value's shape: a number, a symbol, or null where it is free. */
export type Dim = number | string | null

export interface Value {
  name: string
  /** Element type; 0 leaves it to the runtime. */
  type: number
  /** Undefined where not even the rank is given. */
  dims: Dim[] | undefined
}

/** A decoded model. `nodes` are in topological order. */
export interface Model {
  irVersion: number
  opset: number
  nodes: Node[]
  constants: Map<string, Tensor>
  inputs: Value[]
  outputs: Value[]
  /** Shapes the file itself states for inner values. */
  values: Value[]
  producer: string
  metadata: { key: string; value: string }[]
  doc: string
}

/**
 * Reads the bytes of an external data file by its location beside the model; undefined where there is none.
 */
export type ReadExternal = (location: string) => Uint8Array | undefined

/**
 * Decodes an ONNX file. Constant nodes are left in place (see `graph.ts`).
 *
 * @param ownDomain of operators that may be in it beside those of ONNX
 * @throws BackboneError for what is not a plain ONNX graph: not a protobuf, no graph, functions, foreign
 * operator domains, control flow, sparse tensors, missing external data.
 */
export function loadModel(
  bytes: Uint8Array,
  external: ReadExternal = () => undefined,
  ownDomain?: string,
): Model {
  let proto: Onnx.ModelProto
  try {
    proto = onnx.ModelProto.decode(bytes)
  } catch (error) {
    throw new BackboneError(
      'The file is not an ONNX model: its protobuf cannot be decoded. Is it truncated?',
      {
        cause: error,
      },
    )
  }
  const graph = proto.graph
  if (!graph?.node?.length) throw new BackboneError('The file is not an ONNX model, or its graph is empty.')
  if (proto.functions?.length)
    throw new BackboneError(
      `The model has local functions (${proto.functions[0]!.name}, ...). Export it with functions inlined.`,
    )
  const opset = (proto.opsetImport ?? []).find((entry) => isOnnxDomain(entry.domain))
  if (!opset) throw new BackboneError('The model imports no ONNX operator set. Export it as plain ONNX.')
  if (graph.sparseInitializer?.length)
    throw new BackboneError('The model has sparse initializers. Export it with dense weights.')

  const constants = new Map<string, Tensor>()
  for (const tensor of graph.initializer ?? []) {
    constants.set(tensor.name ?? '', loadTensor(tensor, `initializer ${tensor.name}`, external))
  }
  return {
    irVersion: integer(proto.irVersion),
    opset: integer(opset.version),
    nodes: graph.node.map((node, index) => loadNode(node, index, ownDomain)),
    constants,
    // Up to IR version 3 initializers are listed as inputs too.
    inputs: (graph.input ?? []).map(loadValue).filter((value) => !constants.has(value.name)),
    outputs: (graph.output ?? []).map(loadValue),
    values: (graph.valueInfo ?? []).map(loadValue),
    producer: [proto.producerName, proto.producerVersion].filter(Boolean).join(' '),
    metadata: (proto.metadataProps ?? []).map(({ key, value }) => ({ key: key ?? '', value: value ?? '' })),
    doc: proto.docString ?? '',
  }
}

function isOnnxDomain(domain: string | null | undefined): boolean {
  return !domain || domain === 'ai.onnx'
}

function loadNode(proto: Onnx.INodeProto, index: number, ownDomain: string | undefined): Node {
  const name = proto.name || `${proto.opType} number ${index}`
  const isOnnx = isOnnxDomain(proto.domain)
  if (!isOnnx && proto.domain !== ownDomain)
    throw new BackboneError(
      `Node ${name} uses operator ${proto.domain}.${proto.opType}. Export a plain ONNX graph, before any runtime's optimisation.`,
    )
  const attributes = proto.attribute ?? []
  if (attributes.some((attribute) => attribute.g || (attribute.graphs && attribute.graphs.length > 0)))
    throw new BackboneError(
      `Node ${name} (${proto.opType}) has a subgraph. Export the model without control flow (If, Loop, Scan).`,
    )
  return {
    name,
    ...(!isOnnx && { domain: proto.domain! }),
    op: proto.opType ?? '',
    inputs: [...(proto.input ?? [])],
    outputs: [...(proto.output ?? [])],
    attributes,
  }
}

function loadValue(proto: Onnx.IValueInfoProto): Value {
  const tensor = proto.type?.tensorType
  return {
    name: proto.name ?? '',
    type: tensor?.elemType ?? 0,
    dims: tensor?.shape?.dim?.map((dim) => {
      const value = dim.dimValue === null || dim.dimValue === undefined ? 0 : integer(dim.dimValue)
      return value > 0 && !dim.dimParam ? value : null
    }),
  }
}

/** Decodes one tensor, wherever its data lies. `where` names it in errors. */
export function loadTensor(proto: Onnx.ITensorProto, where: string, external: ReadExternal): Tensor {
  const dims = (proto.dims ?? []).map(integer)
  const type = proto.dataType ?? 0
  const size = elementSizes[type]
  if (!size)
    throw new BackboneError(
      `The ${where} has element type ${type}, which is not supported. Export in float32.`,
    )
  const count = dims.reduce((product, dim) => product * dim, 1)
  const bytes =
    proto.dataLocation === onnx.TensorProto.DataLocation.EXTERNAL
      ? externalBytes(proto, where, external)
      : proto.rawData && proto.rawData.length > 0
        ? proto.rawData
        : typedBytes(proto, type)
  if (bytes.byteLength !== count * size)
    throw new BackboneError(
      `The ${where} has ${bytes.byteLength} bytes of data, but its shape [${dims.join(', ')}] needs ${count * size}. The file is damaged.`,
    )
  return { dims, type, bytes }
}

function externalBytes(proto: Onnx.ITensorProto, where: string, external: ReadExternal): Uint8Array {
  const entries = new Map((proto.externalData ?? []).map(({ key, value }) => [key ?? '', value ?? '']))
  const location = entries.get('location') ?? ''
  const file = external(location)
  if (!file)
    throw new BackboneError(
      `The ${where} lies in the external data file "${location}", which is not beside the model. Put it there.`,
    )
  const offset = Number(entries.get('offset') ?? 0)
  const length = entries.has('length') ? Number(entries.get('length')) : file.byteLength - offset
  if (!(offset >= 0 && length >= 0 && offset + length <= file.byteLength))
    throw new BackboneError(
      `The ${where} needs bytes ${offset} to ${offset + length} of "${location}", which has ${file.byteLength}. The file is truncated.`,
    )
  return file.subarray(offset, offset + length)
}

function typedBytes(proto: Onnx.ITensorProto, type: number): Uint8Array {
  const bytes = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  const longs = (values: readonly unknown[]) => BigInt64Array.from(values, (value) => BigInt(String(value)))
  switch (type) {
    case FLOAT:
      return bytes(Float32Array.from(proto.floatData ?? []))
    case 11:
      return bytes(Float64Array.from(proto.doubleData ?? []))
    case INT64:
      return bytes(longs(proto.int64Data ?? []))
    case 12:
      return bytes(Uint32Array.from(proto.uint64Data ?? [], integer))
    case 13:
      return bytes(longs(proto.uint64Data ?? []))
    case 14:
      return bytes(Float32Array.from(proto.floatData ?? []))
    case 15:
      return bytes(Float64Array.from(proto.doubleData ?? []))
    case INT32:
      return bytes(Int32Array.from(proto.int32Data ?? []))
    case 4:
    case 5:
    case FLOAT16:
    case 16:
      return bytes(Uint16Array.from(proto.int32Data ?? []))
    default:
      return bytes(Uint8Array.from(proto.int32Data ?? []))
  }
}

/** A protobuf integer (number or Long) as a number. */
function integer(value: unknown): number {
  return typeof value === 'number' ? value : Number(String(value ?? 0))
}

/** The attribute `name` of a node as an integer. */
export function intOf(node: Node, name: string, otherwise: number): number {
  const attribute = node.attributes.find((entry) => entry.name === name)
  return attribute ? integer(attribute.i) : otherwise
}

/** The attribute `name` of a node as integers; undefined where the node has none. */
export function intsOf(node: Node, name: string): number[] | undefined {
  return node.attributes.find((entry) => entry.name === name)?.ints?.map(integer)
}

/** The attribute `name` of a node as a float. */
export function floatOf(node: Node, name: string, otherwise: number): number {
  return node.attributes.find((entry) => entry.name === name)?.f ?? otherwise
}

/** The attribute `name` of a node as text. */
export function textOf(node: Node, name: string, otherwise: string): string {
  const bytes = node.attributes.find((entry) => entry.name === name)?.s
  return bytes ? new TextDecoder().decode(bytes) : otherwise
}

/** A copy of the values of a float32 or float16 tensor. */
export function floats(tensor: Tensor): Float32Array {
  if (tensor.type === FLOAT16) return decodeFloat16(new Uint16Array(copy(tensor.bytes))).floats
  if (tensor.type !== FLOAT) throw new TypeError(`not a float32 or float16 tensor: type ${tensor.type}`)
  return new Float32Array(copy(tensor.bytes))
}

/** The values of an integer tensor, as numbers. */
export function integers(tensor: Tensor): number[] {
  const buffer = copy(tensor.bytes)
  if (tensor.type === INT64) return Array.from(new BigInt64Array(buffer), Number)
  if (tensor.type === INT32) return Array.from(new Int32Array(buffer))
  throw new TypeError(`not an integer tensor: type ${tensor.type}`)
}

/** The bytes in a buffer of their own, aligned for any element type. */
function copy(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer
}

/** A float32 tensor of the given values. */
export function floatTensor(dims: number[], values: Iterable<number>): Tensor {
  const array = Float32Array.from(values)
  return { dims, type: FLOAT, bytes: new Uint8Array(array.buffer) }
}

/** A tensor of the given values, as they lie in memory. @param type that of the array's elements */
export function tensorOf(
  dims: number[],
  type: number,
  { buffer, byteOffset, byteLength }: ArrayBufferView,
): Tensor {
  return { dims, type, bytes: new Uint8Array(buffer, byteOffset, byteLength) }
}

/** A one-dimensional int64 tensor. */
export function int64Tensor(values: readonly number[]): Tensor {
  const array = BigInt64Array.from(values, BigInt)
  return { dims: [values.length], type: INT64, bytes: new Uint8Array(array.buffer) }
}

const attributeType = onnx.AttributeProto.AttributeType

export function intAttribute(name: string, i: number): Onnx.IAttributeProto {
  return { name, type: attributeType.INT, i }
}

export function intsAttribute(name: string, ints: number[]): Onnx.IAttributeProto {
  return { name, type: attributeType.INTS, ints }
}

/** Where a tensor's bytes lie in an external data file. */
export interface Place {
  location: string
  offset: number
}

/** Encodes a model. Constants with an entry in `places` are written as references to external data. */
export function saveModel(model: Model, places: ReadonlyMap<string, Place> = new Map()): Uint8Array {
  const domains = new Set(model.nodes.flatMap(({ domain }) => domain ?? []))
  return onnx.ModelProto.encode({
    irVersion: model.irVersion,
    opsetImport: [
      { domain: '', version: model.opset },
      ...[...domains].map((domain) => ({ domain, version: 1 })),
    ],
    producerName: model.producer,
    docString: model.doc,
    metadataProps: model.metadata,
    graph: {
      name: 'trunk',
      node: model.nodes.map((node) => ({
        name: node.name,
        ...(node.domain !== undefined && { domain: node.domain }),
        opType: node.op,
        input: node.inputs,
        output: node.outputs,
        attribute: node.attributes,
      })),
      initializer: [...model.constants].map(([name, tensor]) => saveTensor(name, tensor, places.get(name))),
      input: model.inputs.map(saveValue),
      output: model.outputs.map(saveValue),
      valueInfo: model.values.map(saveValue),
    },
  }).finish()
}

function saveTensor(name: string, tensor: Tensor, place: Place | undefined): Onnx.ITensorProto {
  const head = { name, dims: tensor.dims, dataType: tensor.type }
  if (!place) return { ...head, rawData: tensor.bytes }
  return {
    ...head,
    dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: place.location },
      { key: 'offset', value: String(place.offset) },
      { key: 'length', value: String(tensor.bytes.byteLength) },
    ],
  }
}

function saveValue(value: Value): Onnx.IValueInfoProto {
  if (value.type === 0) return { name: value.name }
  return {
    name: value.name,
    type: {
      tensorType: {
        elemType: value.type,
        ...(value.dims && {
          shape: {
            dim: value.dims.map((dim) =>
              typeof dim === 'number' ? { dimValue: dim } : { dimParam: dim ?? '' },
            ),
          },
        }),
      },
    },
  }
}
