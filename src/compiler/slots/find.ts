/** The places of a backbone that a domain may adapt, in forward order, and their names. */
import { FLOAT, type Node, type Tensor } from '../../onnx/onnx.js'
import type { Graph } from '../../onnx/graph.js'
import { builders } from './builders.js'
import type { Backbone, ClosedSlot, OpenSlot } from './kind.js'

/** Finds the places in forward order, and opens those of the choice. */
export function findSlots(backbone: Backbone): { open: OpenSlot[]; closed: ClosedSlot[] } {
  const { graph } = backbone
  const open: OpenSlot[] = []
  const closed: ClosedSlot[] = []
  const names = new SlotNames()
  const taken = new Set<Node>()
  /** Names of the slots that nodes would belong to. */
  const owners = new Map<Node, string>()
  for (const node of graph.nodes) {
    const builder = builders.find(({ matches }) => matches(graph, node))
    if (!builder || taken.has(node)) continue
    const name = names.next(graph.originalName(node.inputs[1]!), owners.get(node))
    const next = builder.takesOver(graph, node)
    if (next) owners.set(next, name)
    const found = builder.open(backbone, { node, name, next })
    if ('reason' in found) closed.push(found)
    else {
      open.push(found)
      for (const node of found.nodes) taken.add(node)
    }
  }
  return { open, closed }
}

/** Slot names: the initializer's without `.weight`, or `slot<NN>` where it says nothing. */
class SlotNames {
  readonly #used = new Set<string>(['head'])
  #count = 0

  /**
   * @param initializer the node's weights, by the backbone's name
   * @param owner the slot that the node would have belonged to: it has no number of its own
   */
  next(initializer: string, owner?: string): string {
    const number = owner === undefined ? this.#count++ : this.#count
    const name = initializer.replace(/:0$/, '').replace(/[._/](weight|kernel|gamma|scale)$/, '')
    const readable = /^[A-Za-z_][A-Za-z0-9_./-]*$/.test(name) && name.length <= 128
    const anonymous = owner === undefined ? `slot${String(number).padStart(2, '0')}` : `${owner}.bn`
    const first = readable ? name : anonymous
    let unique = first
    for (let copy = 2; this.#used.has(unique); copy++) unique = `${first}_${copy}`
    this.#used.add(unique)
    return unique
  }
}

/** Operators whose constants count as weights where they stay frozen. */
const layers = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization', 'PRelu'])

/** Weights of a backbone's frozen part: the slots' in slot order, then every other constant of a layer. */
export function frozenWeights(graph: Graph, open: readonly OpenSlot[]): Tensor[] {
  const replaced = new Set(open.flatMap(({ nodes }) => nodes))
  const others = graph.nodes.filter((node) => !replaced.has(node) && layers.has(node.op))
  const constants = others.flatMap(({ inputs }) => inputs.map((name) => graph.constant(name)))
  return [
    ...open.flatMap(({ weights }) => weights),
    ...constants.filter((tensor): tensor is Tensor => tensor?.type === FLOAT),
  ]
}
