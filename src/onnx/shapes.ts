/**
 * Shapes of a backbone's values, as a run finds them: the graph is run for batches of two sizes, and what does not
 * follow the batch is fixed.
 */
import type { Graph } from './graph.js'
import {
  BackboneError,
  type Dim,
  FLOAT,
  floatTensor,
  int64Tensor,
  integers,
  type Node,
  type Tensor,
} from './onnx.js'
import { type RunModel, runNodes } from './run.js'

/** Sizes: a number; null for the batch N; a text such as `64N` for a multiple of it; `?` for any other function of it. */
export type Shape = Dim[]
export type Shapes = ReadonlyMap<string, Shape>

/**
 * Batches that a backbone is run for. With one image a value looks alike whether it holds one thing a batch or one thing
 * an image, so the other is larger; two sizes tell a multiple of the batch from a constant.
 */
const BATCHES = [1, 3] as const

/**
 * Finds the shape of every value, and makes constants of what the graph computes from shapes alone: sizes that are the
 * same for any batch, and targets of Reshapes of which the batch decides one size only.
 *
 * @param input sizes of the image input behind the batch
 * @throws BackboneError where the graph cannot be run for any number of images
 */
export async function measureShapes(graph: Graph, input: number[], run: RunModel): Promise<Shapes> {
  const sizes = sizeValues(graph)
  const values = graph.nodes.flatMap(({ outputs }) => outputs).filter((name) => name !== '')
  const shapeOf = new Map(values.map((name) => [name, graph.freeName(`shape of ${name}`)]))
  const shapeNodes = [...shapeOf].map(
    ([name, output]): Node => ({
      name: output,
      op: 'Shape',
      inputs: [name],
      outputs: [output],
      attributes: [],
    }),
  )
  const outputs = [...shapeOf.values(), ...sizes]
  const feeds = BATCHES.map((batch) => new Map([[graph.input.name, image([batch, ...input])]]))
  const inputs = [{ name: graph.input.name, type: FLOAT, dims: [null, ...input] }]
  const nodes = [...graph.nodes, ...shapeNodes]
  const found = await runNodes(graph, nodes, inputs, outputs, feeds, run).catch(cannotRun)
  const [one, more] = found as [ReadonlyMap<string, Tensor>, ReadonlyMap<string, Tensor>]

  const shapes = new Map<string, Shape>([[graph.input.name, [null, ...input]]])
  for (const [name, tensor] of graph.constants) shapes.set(name, tensor.dims)
  for (const [name, output] of shapeOf) {
    const [a, b] = [integers(one.get(output)!), integers(more.get(output)!)]
    if (a.length === b.length)
      shapes.set(
        name,
        a.map((size, axis) => dimOf(size, b[axis]!)),
      )
  }
  for (const name of sizes)
    if (same(one.get(name)!, more.get(name)!)) graph.constants.set(name, one.get(name)!)
  for (const node of graph.nodes) if (node.op === 'Reshape') settle(graph, node, shapes)
  // What is constant now is not computed any more.
  graph.setNodes(
    graph.nodes.filter(({ outputs }) => !outputs.every((name) => name === '' || graph.constant(name))),
  )
  graph.prune(graph.outputs)
  return shapes
}

function dimOf(one: number, more: number): Dim {
  const [small, large] = BATCHES
  if (one === more) return one
  if (one === small && more === large) return null
  return more * small === one * large ? `${one / small}N` : '?'
}

/** A grey image: nothing that a network divides by becomes 0. */
function image(dims: number[]): Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1)
  return floatTensor(
    dims,
    Float32Array.from({ length: count }, (_, index) => (index % 7) / 7 - 0.4),
  )
}

/** Values made of shapes and constants alone that other nodes read. */
function sizeValues(graph: Graph): string[] {
  const sizes = new Set<string>()
  const made = new Set<Node>()
  for (const node of graph.nodes) {
    const inputs = node.inputs.filter((name) => name !== '')
    const isSize = node.op === 'Shape' || node.op === 'Size'
    if (!isSize && !inputs.every((name) => sizes.has(name) || graph.constant(name))) continue
    made.add(node)
    for (const name of node.outputs) if (name !== '') sizes.add(name)
  }
  const read = new Set(graph.nodes.filter((node) => !made.has(node)).flatMap(({ inputs }) => inputs))
  return [...sizes].filter((name) => read.has(name))
}

function same(a: Tensor, b: Tensor): boolean {
  return `${a.dims}` === `${b.dims}` && Buffer.compare(a.bytes, b.bytes) === 0
}

/** Gives a Reshape a constant target, where the batch decides one size at most. */
function settle(graph: Graph, node: Node, shapes: ReadonlyMap<string, Shape>): void {
  const shape = shapes.get(node.outputs[0]!)
  if (graph.constant(node.inputs[1]) || !shape || shape.filter((dim) => typeof dim !== 'number').length > 1)
    return
  const name = graph.freeName(`${node.inputs[1]}/settled`)
  graph.constants.set(name, int64Tensor(shape.map((dim) => (typeof dim === 'number' ? dim : -1))))
  node.inputs = [node.inputs[0]!, name]
  node.attributes = node.attributes.filter((attribute) => attribute.name !== 'allowzero')
}

function cannotRun(error: Error): never {
  throw new BackboneError(
    `The backbone cannot be run for batches of ${BATCHES.join(' and of ')} images. onnxruntime says: ${error.message.trim()} ` +
      'A family takes any number of images at once: if the model was exported for one number, export it with a free batch size (dynamic_axes or dynamic_shapes of torch.onnx.export).',
    { cause: error },
  )
}
