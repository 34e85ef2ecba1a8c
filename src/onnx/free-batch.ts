/**
 * Exports for a fixed batch size, made to take any. Such a file has the size in its constants: in targets of Reshapes, and
 * in what it joins to every image (a class token).
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
    nodes.push(node)
  }
  graph.setNodes(nodes)
}

/** A 0 in a target takes the input's batch; a -1 takes what is left, where the batch is part of a larger size. */
function freeTarget(graph: Graph, node: Node, batch: number): void {
  const shape = graph.constant(node.inputs[1])
  if (shape?.type !== INT64) return
  const target = integers(shape)
  const first = target[0]!
  if (first !== batch && (target.includes(-1) || first % batch !== 0)) return
  const name = graph.freeName(`${node.inputs[1]}/free_batch`)
  graph.constants.set(name, int64Tensor([first === batch ? 0 : -1, ...target.slice(1)]))
  node.inputs[1] = name
  // With `allowzero` a 0 would mean a size of zero.
  node.attributes = node.attributes.filter((attribute) => attribute.name !== 'allowzero')
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
