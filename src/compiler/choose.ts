/**
 * Chooses what a family opens in a network for which its builder asked for no certain slots: what suits the layers in
 * which it does most of its work.
 */
import type { Design, Kind } from '../manifest/manifest.js'
import { elementsOf } from '../manifest/kinds/kinds.js'
import type { Graph } from '../onnx/graph.js'
import { intsOf, type Node } from '../onnx/onnx.js'
import type { Shapes } from '../onnx/shapes.js'
import type { MatrixPlaces } from './places.js'
import type { Choice, Normalised } from './slots/choice.js'
import { formOf } from './slots/convolution.js'
import { layerOf } from './slots/linear.js'

/** What was asked for; the rest is chosen. */
export interface Wishes {
  design?: Design
  /** Of the matrices' factors, or whole matrices. */
  rank?: number | 'full'
  /** Opens exactly the slots whose names match. */
  open?: RegExp
  /** Where matrices are, of the slots that take one; at all of them if not given. */
  slots?: MatrixPlaces
}

export interface Chosen {
  choice: Choice
  /** What was chosen and why, a sentence. */
  why: string
}

/** The rank where none is asked for: that of the trial in docs/decisions/0031-kinds-of-slot-factors-and-what-is-opened.md. */
const DEFAULT_RANK = 8

/**
 * A network with more than this share of its work in k x k convolutions takes matrices beside those: each is a ninth of
 * a 3x3 layer. Others have too few of them.
 */
const CONV_SHARE = 0.2

const ALL: ReadonlySet<Normalised> = new Set(['alone', 'behind', 'folded'])
const ALONE: ReadonlySet<Normalised> = new Set(['alone'])

/** Where most of a network's work is done. */
type Sort = 'conv' | 'pointwise' | 'linear'

/** What each sort of network opens without being told. */
const bySort: Record<Sort, Pick<Choice, 'matrices' | 'affine' | 'rank'>> = {
  conv: { matrices: new Set<Kind>(['conv']), affine: ALONE, rank: undefined },
  pointwise: { matrices: new Set<Kind>(['pointwise']), affine: ALL, rank: DEFAULT_RANK },
  linear: { matrices: new Set<Kind>(['linear']), affine: new Set(['alone', 'behind']), rank: DEFAULT_RANK },
}

/** Chooses what to open in a network. */
export function choose(graph: Graph, shapes: Shapes, { design = 'parallel', rank, open }: Wishes): Chosen {
  const asked = rank === 'full' ? undefined : rank
  if (open) {
    const choice: Choice = {
      design,
      pattern: open,
      matrices: new Set(),
      affine: ALL,
      rank: asked,
      widens: false,
    }
    return { choice, why: `design ${design}: the slots that --open names` }
  }
  if (design === 'bn') {
    const choice: Choice = { design, matrices: new Set(), affine: ALL, rank: undefined, widens: true }
    return { choice, why: 'design bn: scale and bias of every normalisation' }
  }
  const shares = sharesOf(graph, shapes)
  const sort: Sort =
    shares.conv > CONV_SHARE || shares.pointwise + shares.linear === 0
      ? 'conv'
      : shares.pointwise >= shares.linear
        ? 'pointwise'
        : 'linear'
  const usual = bySort[sort]
  const choice: Choice = { ...usual, design, rank: rank === undefined ? usual.rank : asked, widens: true }
  return { choice, why: whyOf(sort, shares, choice) }
}

/** Where a network does its work, as shares of the multiplications of all its layers. */
function sharesOf(graph: Graph, shapes: Shapes): Record<Sort, number> {
  const counts = { conv: 0, pointwise: 0, linear: 0, other: 0 }
  for (const node of graph.nodes) {
    const sort = sortOf(graph, shapes, node)
    if (sort) counts[sort] += elementsOf(graph.constant(node.inputs[1])!.dims) * placesOf(shapes, node)
  }
  const all = Math.max(1, counts.conv + counts.pointwise + counts.linear + counts.other)
  return { conv: counts.conv / all, pointwise: counts.pointwise / all, linear: counts.linear / all }
}

/** At how many places of an image a layer's weights are used: pixels of a convolution's output, or tokens. */
function placesOf(shapes: Shapes, { op, outputs }: Node): number {
  const shape = shapes.get(outputs[0]!) ?? []
  const places = op === 'Conv' ? shape.slice(2) : shape.slice(0, -1)
  // `64N` is 64 of each image; the batch itself and what is not known count once.
  return places.reduce<number>((all, size) => all * (Number.parseInt(String(size), 10) || 1), 1)
}

/**
 * What a layer with weights is; undefined for another node. Layers of one vector an image are left out of the account, and
 * a convolution whose windows do not overlap only cuts images to patches, in whatever network it stands.
 */
function sortOf(graph: Graph, shapes: Shapes, node: Node): Sort | 'other' | undefined {
  const form = node.op === 'Conv' ? formOf(graph, node) : undefined
  const strides = intsOf(node, 'strides') ?? [1, 1]
  const isPointwise = form?.kernel.every((size) => size === 1)
  if (form && !isPointwise && form.kernel.every((size, axis) => size <= strides[axis]!)) return 'other'
  if (form?.group === 1) return isPointwise ? 'pointwise' : 'conv'
  if (form) return 'other'
  const isVector = shapes.get(node.inputs[0]!)?.length === 2 && shapes.get(node.inputs[0]!)![0] === null
  return layerOf(graph, node) && !isVector ? 'linear' : undefined
}

const words: Record<Sort, string> = {
  conv: 'convolutions larger than 1x1',
  pointwise: 'pointwise convolutions',
  linear: 'linear layers',
}

function whyOf(sort: Sort, shares: Record<Sort, number>, { design, rank, affine }: Choice): string {
  if (design === 'feature') return 'design feature: no slots, domains differ in their heads alone'
  const share = `${Math.round(100 * shares[sort])}% of its multiplications are those of ${words[sort]}`
  const matrices = rank === undefined ? 'whole matrices' : `factors of rank ${rank}`
  const norms = affine === ALONE ? 'normalisations that stand alone' : 'scale and bias of every normalisation'
  return `design ${design}: ${matrices} at ${words[sort]}, and ${norms}, since ${share}`
}
