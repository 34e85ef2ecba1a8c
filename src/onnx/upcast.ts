/** Models in half precision, made float32: every float16 value becomes a float32 one. */
import type { onnx as Onnx } from 'onnx-proto'
import {
  FLOAT,
  FLOAT16,
  floats,
  intAttribute,
  intOf,
  loadTensor,
  type Model,
  type Node,
  type Tensor,
} from './onnx.js'

/** The same model in float32, or null for a model without half precision. Casts between the two are gone. */
export function upcast(model: Model): Model | null {
  const isHalf =
    [...model.constants.values()].some(({ type }) => type === FLOAT16) ||
    model.inputs.some(({ type }) => type === FLOAT16) ||
    model.nodes.some(
      (node) => castsTo(node) === FLOAT16 || node.attributes.some(({ t }) => t?.dataType === FLOAT16),
    )
  if (!isHalf) return null
  const value = <Value extends { type: number }>(value: Value) =>
    value.type === FLOAT16 ? { ...value, type: FLOAT } : value
  return {
    ...model,
    inputs: model.inputs.map(value),
    outputs: model.outputs.map(value),
    values: model.values.map(value),
    constants: new Map([...model.constants].map(([name, tensor]) => [name, single(tensor)])),
    nodes: withoutCasts(model, model.nodes.map(upcastNode)),
  }
}

function castsTo(node: Node): number | undefined {
  return node.op === 'Cast' ? intOf(node, 'to', FLOAT) : undefined
}

function single(tensor: Tensor): Tensor {
  if (tensor.type !== FLOAT16) return tensor
  return { dims: tensor.dims, type: FLOAT, bytes: new Uint8Array(floats(tensor).buffer) }
}

function upcastNode(node: Node): Node {
  if (castsTo(node) === FLOAT16) return { ...node, attributes: [intAttribute('to', FLOAT)] }
  if (!node.attributes.some(({ t }) => t?.dataType === FLOAT16)) return node
  const attributes = node.attributes.map((attribute): Onnx.IAttributeProto => {
    if (attribute.t?.dataType !== FLOAT16) return attribute
    const { dims, type, bytes } = single(
      loadTensor(attribute.t, `attribute of ${node.name}`, () => undefined),
    )
    return { ...attribute, t: { dims, dataType: type, rawData: bytes } }
  })
  return { ...node, attributes }
}

/** Operators whose outputs are integers or truth values, whatever they read. */
const notFloats = new Set(
  'Shape Size ArgMax ArgMin NonZero Equal Less LessOrEqual Greater GreaterOrEqual Not And Or Xor IsNaN IsInf'.split(
    ' ',
  ),
)

/** Turns casts from float32 to float32 into Identity nodes. */
function withoutCasts(model: Model, nodes: readonly Node[]): Node[] {
  /** Values that are no floats. */
  const others = new Set([...model.constants].filter(([, { type }]) => !isFloat(type)).map(([name]) => name))
  return nodes.map((node) => {
    const input = node.inputs[node.op === 'Where' ? 1 : 0]
    const to = castsTo(node)
    const tensor = node.attributes.find(({ t }) => t)?.t
    const isOther =
      to !== undefined
        ? to !== FLOAT
        : tensor
          ? !isFloat(tensor.dataType ?? FLOAT)
          : notFloats.has(node.op) || (input !== undefined && others.has(input))
    if (isOther) for (const name of node.outputs) others.add(name)
    return to === FLOAT && !others.has(input!) ? { ...node, op: 'Identity', attributes: [] } : node
  })
}

function isFloat(type: number): boolean {
  return type === FLOAT || type === FLOAT16
}
