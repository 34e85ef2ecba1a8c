/**
 * Exports for a fixed batch size, made to take any. Such a file has the size in its constants: in targets of Reshapes, in
 * what it joins to every image (a class token), and in indices that take all elements in their order.
 */
import type { Graph } from './graph.js'
import { INT64, int64Tensor, integers, intAttribute, intOf, type Node } from './onnx.js'

/**
 * Frees the batch where the model's input fixes it. Whether the graph then runs for any batch is seen when it runs
 * (`shapes.ts`).
 */
export function freeBatch(graph: Graph): void {
  const batch = graph.input.dims?.[0]
  if (typeof batch !== 'number') return
  const nodes: Node[] = []
  for (const node of graph.nodes) {
    if (node.op === 'Reshape') freeTarget(graph, node, batch)
    if (node.op === 'Concat') nodes.push(...spreadConstants(graph, node, batch))
    nodes.push(asReshape(graph, node, batch) ?? node)
  }
  graph.setNodes(nodes)
}

/**
 * A -1 as the first size takes what is left: the batch or a multiple of it. Where the target has its -1 elsewhere, a 0 takes
 * the first size of the input.
 */
function freeTarget(graph: Graph, node: Node, batch: number): void {
  const shape = graph.constant(node.inputs[1])
  if (shape?.type !== INT64) return
  const target = integers(shape)
  const first = target[0]!
  const takesRest = target.includes(-1)
  if (takesRest ? first !== batch : first % batch !== 0) return
  const name = graph.freeName(`${node.inputs[1]}/free_batch`)
  graph.constants.set(name, int64Tensor([takesRest ? 0 : -1, ...target.slice(1)]))
  node.inputs[1] = name
  // With `allowzero` a 0 would mean a size of zero.
  node.attributes = node.attributes.filter((attribute) => attribute.name !== 'allowzero')
}

/**
 * A Gather that takes the elements 0, 1, 2 and so on of a value that was made flat, as PyTorch's exporter writes
 * `as_strided`, as the Reshape that it is for the batch of the export.
 */
function asReshape(graph: Graph, node: Node, batch: number): Node | undefined {
  if (node.op !== 'Gather' || intOf(node, 'axis', 0) !== 0) return undefined
  const flat = graph.producer(node.inputs[0]!)
  const target = flat?.op === 'Reshape' ? graph.constant(flat.inputs[1]) : undefined
  const indices = graph.constant(node.inputs[1])
  if (!flat || target?.type !== INT64 || indices?.type !== INT64) return undefined
  const isFlat = `${integers(target)}` === '-1'
  if (!isFlat || indices.dims[0] !== batch || integers(indices).some((index, at) => index !== at))
    return undefined
  const name = graph.freeName(`${node.name}/sizes`)
  graph.constants.set(name, int64Tensor([-1, ...indices.dims.slice(1)]))
  return { ...node, op: 'Reshape', inputs: [flat.inputs[0]!, name], attributes: [] }
}

/** Nodes that repeat the constants of a Concat for as many images as its other inputs have. */
function spreadConstants(graph: Graph, node: Node, batch: number): Node[] {
  const images = node.inputs.find((name) => !graph.constant(name))
  if (batch !== 1 || images === undefined || intOf(node, 'axis', 0) === 0) return []
  const nodes: Node[] = []
  const add = (op: string, inputs: string[], attributes: Node['attributes'] = []) => {
    const output = graph.freeName(`${node.name}/${op}_${nodes.length}`)
    nodes.push({ name: output, op, inputs, outputs: [output], attributes })
    return output
  }
  const constant = (values: readonly number[]) => {
    const name = graph.freeName(`${node.name}/sizes`)
    graph.constants.set(name, int64Tensor(values))
    return name
  }
  node.inputs = node.inputs.map((name) => {
    const dims = graph.constant(name)?.dims
    if (dims?.[0] !== 1 || dims.length < 2) return name
    const count = add('Gather', [add('Shape', [images]), constant([0])])
    const sizes = add('Concat', [count, constant(dims.slice(1))], [intAttribute('axis', 0)])
    return add('Expand', [name, sizes])
  })
  return nodes
}
