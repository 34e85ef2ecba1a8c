/**
 * A Pad in front of a MaxPool, written so that it stays one: onnxruntime (1.30) makes the pads the pool's own, and a pool
 * does not pad with zeros. Where all values behind a Pad are below zero, that gives another maximum.
 */
import type { Graph } from './graph.js'
import { INT64, int64Tensor, integers, type Node } from './onnx.js'

/** Pads one row and one column more, and crops them again. */
export function keepPadsApart(graph: Graph): void {
  // Older Pads have no inputs for sizes. onnxruntime merges them all the same, but nobody writes them any more.
  if (graph.opset < 11) return
  graph.setNodes(
    graph.nodes.flatMap((node) => {
      const sizes = graph.constant(node.inputs[1])
      const output = node.outputs[0]!
      const isBeforePool = node.op === 'Pad' && graph.consumers(output).some(({ op }) => op === 'MaxPool')
      if (!isBeforePool || sizes?.type !== INT64 || sizes.dims[0] !== 8 || node.inputs[3]) return [node]
      const constant = (name: string, values: number[]) => {
        const free = graph.freeName(`${output}/${name}`)
        graph.constants.set(free, int64Tensor(values))
        return free
      }
      const pads = integers(sizes).map((amount, axis) => (axis >= 6 ? amount + 1 : amount))
      const padded = graph.freeName(`${output}/padded`)
      const inputs = [
        padded,
        constant('starts', [0, 0]),
        constant('ends', [-1, -1]),
        constant('axes', [2, 3]),
      ]
      const crop: Node = {
        name: graph.freeName(`${output}/crop`),
        op: 'Slice',
        inputs,
        outputs: [output],
        attributes: [],
      }
      return [{ ...node, inputs: node.inputs.with(1, constant('pads', pads)), outputs: [padded] }, crop]
    }),
  )
}
