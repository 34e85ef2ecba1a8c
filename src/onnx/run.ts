/**
 * Parts of a graph, run. What operators compute, and of which shape, is asked of a runtime: no code here says it again
 * (docs/decisions/0030-backbones-are-run-to-be-understood.md).
 */
import type { Graph } from './graph.js'
import { type Node, saveModel, type Tensor, type Value } from './onnx.js'

/**
 * Runs an ONNX model once for each of the feeds.
 *
 * @param feeds tensors by name of an input
 * @returns all outputs by name, for each of the feeds
 * @throws Error of the runtime, with its message
 */
export type RunModel = (
  model: Uint8Array,
  feeds: readonly ReadonlyMap<string, Tensor>[],
) => Promise<ReadonlyMap<string, Tensor>[]>

/**
 * Runs some nodes of a graph.
 *
 * @param nodes in topological order; they may be others than the graph's own
 * @param inputs what they read beside constants
 */
export function runNodes(
  graph: Graph,
  nodes: readonly Node[],
  inputs: Value[],
  outputs: readonly string[],
  feeds: readonly ReadonlyMap<string, Tensor>[],
  run: RunModel,
): Promise<ReadonlyMap<string, Tensor>[]> {
  const constants = new Map<string, Tensor>()
  for (const name of nodes.flatMap((node) => node.inputs)) {
    const tensor = graph.constant(name)
    if (tensor) constants.set(name, tensor)
  }
  const model = {
    irVersion: Math.max(graph.irVersion, 7),
    opset: graph.opset,
    nodes: withOwnNames(nodes),
    constants,
    inputs,
    outputs: outputs.map((name): Value => ({ name, type: 0, dims: undefined })),
    values: [],
    producer: 'facet',
    metadata: [],
    doc: '',
  }
  return run(saveModel(model), feeds)
}

/** Nodes whose names differ, which onnxruntime demands. */
function withOwnNames(nodes: readonly Node[]): Node[] {
  const taken = new Set<string>()
  return nodes.map((node) => {
    let { name } = node
    while (taken.has(name)) name += '_'
    taken.add(name)
    return { ...node, name }
  })
}

/** The numbers of one value of a run. */
export interface RunValues {
  values: Float32Array
  dims: readonly number[]
}
