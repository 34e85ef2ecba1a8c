/**
 * Constants that nodes compute become constants: weights that an exporter transposes, weight standardisation, tables of
 * positions, masks. They are computed by a run of these nodes alone.
 */
import type { Graph } from './graph.js'
import { FLOAT, type Node, type Tensor } from './onnx.js'
import { type RunModel, runNodes } from './run.js'

/** Operators whose results differ from run to run. */
export const random: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Multinomial',
  'Bernoulli',
])

/**
 * Replaces every value that depends on constants alone.
 *
 * A folded float value that comes from weights takes the name of the largest of them, where nothing else has a use for
 * it: slots are called by it.
 */
export async function foldConstants(graph: Graph, run: RunModel): Promise<void> {
  const made = constantValues(graph)
  if (made.size === 0) return
  const folded = new Set([...made.values()].map(({ node }) => node))
  const kept = graph.nodes.filter((node) => !folded.has(node))
  const read = new Set([...kept.flatMap(({ inputs }) => inputs), ...graph.outputs])
  const wanted = [...made.keys()].filter((name) => read.has(name))
  const [found] = wanted.length > 0 ? await runNodes(graph, [...folded], [], wanted, [new Map()], run) : []
  const names = new Map<string, string>()
  for (const name of wanted) {
    const sources = floatSources(graph, made.get(name)!.constants)
    const [largest] = sources
    const given = largest === undefined || read.has(largest) || graph.outputs.includes(name) ? name : largest
    read.add(given)
    names.set(name, given)
    const origin = {
      sources: sources.map((source) => graph.constants.get(source)!),
      operators: made.get(name)!.operators,
    }
    graph.constants.set(given, { ...found!.get(name)!, ...(sources.length > 0 && { origin }) })
  }
  for (const node of kept) node.inputs = node.inputs.map((name) => names.get(name) ?? name)
  graph.setNodes(kept)
}

interface Made {
  node: Node
  /** The constants that it was made of. */
  constants: Set<string>
  operators: string[]
}

/** Values that nodes make of constants alone. */
function constantValues(graph: Graph): Map<string, Made> {
  const made = new Map<string, Made>()
  for (const node of graph.nodes) {
    const inputs = node.inputs.filter((name) => name !== '')
    if (random.has(node.op) || !inputs.every((name) => graph.constant(name) || made.has(name))) continue
    const constants = new Set(inputs.flatMap((name) => [...(made.get(name)?.constants ?? [name])]))
    const operators = [...inputs.flatMap((name) => made.get(name)?.operators ?? []), node.op]
    for (const name of node.outputs) if (name !== '') made.set(name, { node, constants, operators })
  }
  return made
}

/** The float constants of more than one element among the names, the largest first. */
function floatSources(graph: Graph, names: ReadonlySet<string>): string[] {
  const size = (tensor: Tensor) => tensor.dims.reduce((product, dim) => product * dim, 1)
  return [...names]
    .map((name) => ({ name, tensor: graph.constants.get(name)! }))
    .filter(({ tensor }) => tensor.type === FLOAT && size(tensor) > 1)
    .sort((a, b) => size(b.tensor) - size(a.tensor))
    .map(({ name }) => name)
}
