/**
 * A normalisation that the backbone's graph does itself, in front of its first layer: Sub and Div, or Mul and Add, with
 * constants a channel. The family normalises pixels anyway, with each domain's own mean and deviation, so the graph's
 * own is taken over as the family's default and leaves the graph: it must not be applied twice.
 */
import type { Graph } from '../onnx/graph.js'
import { BackboneError, FLOAT, floats, intsOf, type Node, UINT8 } from '../onnx/onnx.js'

type Triple = [number, number, number]

/** `(x - mean) / std` a channel, of values from 0 to 1. */
export interface Normalisation {
  mean: Triple
  std: Triple
}

export interface FoundNormalisation extends Normalisation {
  /** What makes pixels into the input that the file itself takes. */
  file: Normalisation
  /** What was taken over, for people; undefined where the graph has none of its own. */
  note?: string
}

const IMAGENET: Normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
/** Of a graph that takes pixels from 0 to 1, and from 0 to 255. */
const UNIT: Normalisation = { mean: [0, 0, 0], std: [1, 1, 1] }
const BYTES: Normalisation = { mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255] }

/**
 * Finds the normalisation and takes it out of the graph.
 *
 * @param given mean and deviation that the caller states for the graph's input
 * @throws BackboneError where a stated one would be applied on top of the graph's own, or the graph's own leaves open
 * which values it takes
 */
export function takeNormalisation(
  graph: Graph,
  channelsLast: boolean,
  given: Partial<Normalisation>,
): FoundNormalisation {
  const stated =
    given.mean || given.std ? { mean: given.mean ?? UNIT.mean, std: given.std ?? UNIT.std } : undefined
  const takesBytes = graph.input.type === UINT8
  const { nodes, scale, shift } = affineInFront(graph, channelsLast)
  if (nodes.length === 0 && !takesBytes) {
    const used = { mean: given.mean ?? IMAGENET.mean, std: given.std ?? IMAGENET.std }
    return { ...used, file: used }
  }
  // `scale * x + shift` is `(x - mean) / std`.
  const own = {
    mean: shift.map((value, at) => -value / scale[at]!),
    std: scale.map((value) => 1 / value),
  } as Normalisation
  const names = nodes.map(({ name, op }) => (name.includes(op) ? name : `${op} ${name}`)).join(', ')
  const what =
    nodes.length === 0 ? 'The graph takes bytes' : `The graph normalises its input itself (${names})`
  const file = takesBytes ? BYTES : fileInput(own, stated, what)
  const unit = 1 / file.std[0]
  const mean = own.mean.map((value) => value / unit) as Triple
  const std = own.std.map((value) => value / unit) as Triple
  if (stated && !near(stated, { mean, std }) && !near(stated, file)) throw twice(what, { mean, std })
  remove(graph, nodes)
  return {
    mean,
    std,
    file,
    note: `${what}: mean ${text(mean)}, std ${text(std)} are the family's, and left the graph, which took values from 0 to ${Math.round(unit)}`,
  }
}

/** Which values the graph takes. */
function fileInput(own: Normalisation, stated: Normalisation | undefined, what: string): Normalisation {
  if (stated) for (const range of [UNIT, BYTES]) if (near(stated, range)) return range
  const within = (low: number, high: number, values: readonly number[]) =>
    values.every((value) => value >= low && value <= high)
  if (within(0.1, 1.001, own.std) && within(-0.001, 1, own.mean)) return UNIT
  const onlyMean = within(0.999, 1.001, own.std) && own.mean.some((value) => value > 2)
  if ((within(20, 300, own.std) || onlyMean) && within(-1, 256, own.mean)) return BYTES
  throw new BackboneError(
    `${what}, by mean ${text(own.mean)} and deviation ${text(own.std)}, which does not tell the values that it takes. ` +
      'State them: --mean 0,0,0 --std 1,1,1 for pixels from 0 to 1, --mean 0,0,0 --std 0.0039216,0.0039216,0.0039216 for pixels from 0 to 255.',
  )
}

function twice(what: string, own: Normalisation): BackboneError {
  return new BackboneError(
    `${what}, to mean ${text(own.mean)} and std ${text(own.std)} of pixels from 0 to 1. --mean and --std would come on top of that. ` +
      'Leave them out, or export the network without its normalisation.',
  )
}

function near(a: Normalisation, b: Normalisation): boolean {
  const close = (x: number, y: number) => Math.abs(x - y) <= 1e-3 * Math.max(Math.abs(x), Math.abs(y), 1e-3)
  return (['mean', 'std'] as const).every((part) => a[part].every((value, at) => close(value, b[part][at]!)))
}

function text(values: readonly number[]): string {
  return values.map((value) => String(Number(value.toPrecision(4)))).join(' ')
}

/** Operators that a value passes unchanged, or in another layout. */
const passing = new Set(['Cast', 'Transpose'])

interface Affine {
  /** The nodes that compute it. */
  nodes: Node[]
  scale: number[]
  shift: number[]
}

/** The affine function a channel that the graph computes of its input before anything else. */
function affineInFront(graph: Graph, channelsLast: boolean): Affine {
  const nodes: Node[] = []
  const scale = [1, 1, 1]
  const shift = [0, 0, 0]
  let value = graph.input.name
  let channel = channelsLast ? 3 : 1
  for (;;) {
    const [node, ...others] = graph.consumers(value).filter(({ op }) => op !== 'Shape')
    if (!node || others.length > 0) break
    if (passing.has(node.op)) {
      if (node.op === 'Transpose') channel = (intsOf(node, 'perm') ?? [3, 2, 1, 0]).indexOf(channel)
    } else {
      const left = node.inputs[0] === value
      const constant = perChannel(graph, node.inputs[left ? 1 : 0], channel)
      if (!constant || !apply(node.op, left, constant, scale, shift)) break
      nodes.push(node)
    }
    value = node.outputs[0]!
  }
  const isWhole = scale.every((factor) => factor > 0 && Number.isFinite(factor))
  return isWhole ? { nodes, scale, shift } : { nodes: [], scale: [1, 1, 1], shift: [0, 0, 0] }
}

/** A float constant as three numbers, one a channel; undefined where it is none, or is spread along another axis. */
function perChannel(graph: Graph, name: string | undefined, channel: number): number[] | undefined {
  const tensor = graph.constant(name)
  if (tensor?.type !== FLOAT || tensor.dims.length > 4) return undefined
  const dims = [...Array<number>(4 - tensor.dims.length).fill(1), ...tensor.dims]
  if (!dims.every((size, axis) => size === 1 || (axis === channel && size === 3))) return undefined
  const values = Array.from(floats(tensor))
  return values.length === 1 ? [values[0]!, values[0]!, values[0]!] : values
}

/** Applies an operator with a constant to `scale * x + shift`. @param left the value is the first operand */
function apply(op: string, left: boolean, constant: number[], scale: number[], shift: number[]): boolean {
  for (const [at, value] of constant.entries()) {
    if (op === 'Add') shift[at]! += value
    else if (op === 'Sub' && left) shift[at]! -= value
    else if (op === 'Mul' || (op === 'Div' && left)) {
      const factor = op === 'Mul' ? value : 1 / value
      scale[at]! *= factor
      shift[at]! *= factor
    } else return false
  }
  return true
}

/** Takes nodes of one input out of the graph: who read their output reads their input. */
function remove(graph: Graph, nodes: readonly Node[]): void {
  const gone = new Map(
    nodes.map((node) => [node.outputs[0]!, node.inputs.find((name) => !graph.constant(name))!]),
  )
  const follow = (name: string): string => (gone.has(name) ? follow(gone.get(name)!) : name)
  const kept = graph.nodes.filter((node) => !nodes.includes(node))
  for (const node of kept) node.inputs = node.inputs.map(follow)
  graph.setNodes(kept)
}
