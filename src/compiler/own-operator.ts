/**
 * Facet's own operator in a trunk graph: `facet.Slot`, which only the native runtime has (native/src/slot/operator.rs
 * says what it computes).
 *
 * The kinds write a node of it for each slot as if it took images `[N, C, H, W]` and were one slot's alone. This makes
 * of it what the operator is: it takes in the sum and the Relu behind a slot, and its images are `[N, H, W, C]`. Where a
 * value is read by nodes of both sorts, one more node turns it for the others.
 */
import { intAttribute, type Node } from '../onnx/onnx.js'
import type { Shapes } from '../onnx/shapes.js'
import { innerValue, OWN_DOMAIN, SLOT_OPERATOR } from './slots/names.js'

/** Its inputs: places in a node's list. */
const IMAGES = 0
const RESIDUAL = 5

/** @param output the graph's */
export function finishSlots(nodes: readonly Node[], shapes: Shapes, output: string): Node[] {
  return layOut(join(nodes, shapes, output), output)
}

function isSlot({ domain, op }: Node): boolean {
  return domain === OWN_DOMAIN && op === SLOT_OPERATOR
}

/** Joins each slot with the sum and the Relu behind it, where nobody else reads what is between. */
function join(nodes: readonly Node[], shapes: Shapes, output: string): Node[] {
  const readers = new Map<string, Node[]>()
  for (const node of nodes)
    for (const name of node.inputs) readers.set(name, [...(readers.get(name) ?? []), node])
  const only = (name: string) => {
    const [reader, ...others] = readers.get(name) ?? []
    return others.length === 0 && name !== output ? reader : undefined
  }
  const made = new Map<Node, Node>()
  const gone = new Set<Node>()
  for (const slot of nodes.filter(isSlot)) {
    let { inputs, outputs, attributes } = slot
    /** The last node that was joined: what it reads is there in its place. */
    let last = slot
    const sum = only(outputs[0]!)
    if (sum?.op === 'Add' && !made.has(sum) && !gone.has(sum)) {
      const other = sum.inputs.find((name) => name !== outputs[0])
      if (other !== undefined && same(shapes.get(other), shapes.get(outputs[0]!))) {
        inputs = inputs.with(RESIDUAL, other)
        outputs = sum.outputs
        gone.add(last)
        last = sum
      }
    }
    const relu = only(outputs[0]!)
    if (relu?.op === 'Relu') {
      attributes = [...attributes.filter(({ name }) => name !== 'relu'), intAttribute('relu', 1)]
      outputs = relu.outputs
      gone.add(last)
      last = relu
    }
    made.set(last, { ...slot, inputs, outputs, attributes })
  }
  return nodes.filter((node) => made.has(node) || !gone.has(node)).map((node) => made.get(node) ?? node)
}

function same(a: ReturnType<Shapes['get']>, b: ReturnType<Shapes['get']>): boolean {
  return (
    a?.length === 4 &&
    b?.length === 4 &&
    a.every((dim, axis) => axis === 0 || (typeof dim === 'number' && dim === b[axis]))
  )
}

/** Writes what turns images between slots and other nodes, each once. */
function layOut(nodes: readonly Node[], output: string): Node[] {
  const laidOut: Node[] = []
  /** Values that are there with their channels last, and under which name. */
  const last = new Map<string, string>()
  /** Values that are there with their channels last alone. */
  const lastOnly = new Set<string>()
  const turn = (input: string, op: string, output: string) =>
    laidOut.push({
      name: `${output}/${op}`,
      domain: OWN_DOMAIN,
      op,
      inputs: [input],
      outputs: [output],
      attributes: [],
    })
  const channelsLast = (value: string): string => {
    const known = last.get(value)
    if (known !== undefined || value === '') return known ?? ''
    const name = innerValue(`last/${value}`)
    turn(value, 'ChannelsLast', name)
    last.set(value, name)
    return name
  }
  const channelsFirst = (value: string) => {
    if (lastOnly.delete(value)) turn(last.get(value)!, 'ChannelsFirst', value)
  }
  for (const node of nodes) {
    if (!isSlot(node)) {
      for (const input of node.inputs) channelsFirst(input)
      laidOut.push(node)
      continue
    }
    const value = node.outputs[0]!
    const inputs = node.inputs.map((name, at) =>
      at === IMAGES || at === RESIDUAL ? channelsLast(name) : name,
    )
    last.set(value, innerValue(`last/${value}`))
    lastOnly.add(value)
    laidOut.push({ ...node, inputs, outputs: [last.get(value)!] })
  }
  channelsFirst(output)
  return laidOut
}
