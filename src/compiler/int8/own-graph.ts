/**
 * A trunk's graph of Facet's own operator with its slots in 8 bits. The operator makes bytes of its input itself, with a
 * step for each sample, and gives float32 again (native/src/slot/bytes.rs): it needs nothing but bytes and steps of the
 * weights. They are those of the graphs in plain ONNX (`int8-graph.ts`).
 */
import { floats, floatTensor, type Model, type Node, type Tensor } from '../../onnx/onnx.js'
import { pruned } from '../../onnx/prune.js'
import { type FrozenConvolution, frozenConvolutions } from './convolutions.js'
import { innerName, weightBytes } from './int8-graph.js'
import type { Ranges } from './ranges.js'
import { quantiseWeights } from './weights.js'

/** Inputs of the operator, by their place in a node's list. */
const WEIGHTS = 1
const STEPS = 6

/** Channels of the input whose products are summed at once: it takes no other number of them. */
const GROUP = 4

/**
 * @param own the graph that is rewritten
 * @param plain the same trunk in plain ONNX, in which the convolutions are found
 * @param ranges of the convolutions that are to be in 8 bits
 */
export function int8OwnGraph(own: Model, plain: Model, ranges: Ranges): Model {
  const chosen = new Map<string, FrozenConvolution>()
  /** Weights of which one convolution or another stays in float32. */
  const left = new Set<string>()
  for (const convolution of frozenConvolutions(plain)) {
    const name = convolution.node.inputs[WEIGHTS]!
    if (ranges.has(convolution.output) && convolution.weight.dims[1]! % GROUP === 0)
      chosen.set(name, convolution)
    else left.add(name)
  }
  const constants = new Map<string, Tensor>(own.constants)
  const nodes = own.nodes.map((node): Node => {
    const name = node.inputs[WEIGHTS]
    const convolution = name === undefined || left.has(name) ? undefined : chosen.get(name)
    if (node.domain === undefined || !convolution) return node
    const { weight, output } = convolution
    const { values, steps } = quantiseWeights(floats(weight), weight.dims[0]!)
    const bytes = weightBytes(convolution, values)
    const stepsName = innerName(output, 'weight_steps')
    constants.set(bytes.name, bytes.tensor)
    constants.set(stepsName, floatTensor([steps.length], steps))
    const missing = Math.max(0, STEPS + 1 - node.inputs.length)
    const inputs = [...node.inputs, ...Array<string>(missing).fill('')]
    return { ...node, inputs: inputs.with(WEIGHTS, bytes.name).with(STEPS, stepsName) }
  })
  return pruned({ ...own, nodes, constants })
}
