/** The places of a backbone that a domain may adapt, in forward order, and their names. */
import { elementsOf } from '../../manifest/kinds/kinds.js'
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
    const next = builder.takesOver(graph, node)
    const constants = builder.namedBy(graph, node, next).map((name) => graph.originalName(name))
    const name = names.next(constants, owners.get(node))
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

/** Values that the nodes of possible slots read. */
export function slotInputs(graph: Graph): string[] {
  const places = graph.nodes.filter((node) => builders.some(({ matches }) => matches(graph, node)))
  return places.flatMap(({ inputs }) => inputs.filter((name) => name !== '' && !graph.constant(name)))
}

/** Slot names: the initializer's without `.weight`, or `slot<NN>` where it says nothing. */
class SlotNames {
  readonly #used = new Set<string>(['head'])
  #count = 0

  /**
   * @param constants that may give the name, by the backbone's name
   * @param owner the slot that the node would have belonged to: it has no number of its own
   */
  next(constants: readonly string[], owner?: string): string {
    const number = owner === undefined ? this.#count++ : this.#count
    const anonymous = owner === undefined ? `slot${String(number).padStart(2, '0')}` : `${owner}.bn`
    const readable = constants.map(layerName).find((name) => /^[A-Za-z_][A-Za-z0-9_./-]{0,127}$/.test(name))
    const first = readable ?? anonymous
    let unique = first
    for (let copy = 2; this.#used.has(unique); copy++) unique = `${first}_${copy}`
    this.#used.add(unique)
    return unique
  }
}

/** The name of a layer by that of its constant. */
function layerName(constant: string): string {
  return constant.replace(/:0$/, '').replace(/[._/](weight|kernel|gamma|scale|bias|beta)$/, '')
}

/** Operators whose constants count as weights where they stay frozen. */
const layers = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization', 'PRelu'])
/** The same if they are more than one number: positions, class tokens, gains, scale and bias of normalisations. */
const vectors = new Set([
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
  'GroupNormalization',
  'InstanceNormalization',
  'Add',
  'Mul',
  'Concat',
])

/** Weights of a backbone's frozen part: the slots' in slot order, then every other constant of a layer. */
export function frozenWeights(graph: Graph, open: readonly OpenSlot[]): Tensor[] {
  const replaced = new Set(open.flatMap(({ nodes }) => nodes))
  const others = graph.nodes.filter((node) => !replaced.has(node))
  const constants = others.flatMap(({ op, inputs }) => {
    const found = inputs.map((name) => graph.constant(name)).filter((tensor) => tensor?.type === FLOAT)
    if (layers.has(op)) return found
    return vectors.has(op) ? found.filter((tensor) => elementsOf(tensor!.dims) > 1) : []
  })
  return [...open.flatMap(({ weights }) => weights), ...(constants as Tensor[])]
}
