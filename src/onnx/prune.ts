/** A model without what nothing reads. */
import type { Model, Node } from './onnx.js'

/** Without nodes that nothing reads, and constants that no node does. */
export function pruned(model: Model): Model {
  const read = new Set(model.outputs.map(({ name }) => name))
  const nodes: Node[] = []
  for (const node of [...model.nodes].reverse()) {
    if (!node.outputs.some((name) => read.has(name))) continue
    nodes.push(node)
    for (const name of node.inputs) read.add(name)
  }
  const constants = new Map([...model.constants].filter(([name]) => read.has(name)))
  return { ...model, nodes: nodes.reverse(), constants }
}
