/**
 * Where a family's adapters lie in the bank, as a list of named tensors: the contract between the emitted
 * trunk graphs (`compiler`), what makes a row of a pack (`pack`, `engine/row.ts`), and what feeds rows to the
 * graphs (`engine`).
 *
 * A bank row is a list of tensors. The first is the *affine row*: what is one number for each channel, for
 * all slots, so that a graph gathers it once and splits it. Each further tensor is one part of one slot, such
 * as its matrix.
 *
 * Inputs of a graph for any mix of domains, with R rows in the bank and N samples in the batch:
 *
 *   pixels              uint8   [N, H, W, 3]
 *   row                 int64   [N]      bank row of each sample
 *   matrix_row          int64   [N]; or [1] when every sample is of one domain (broadcast, no copies)
 *   affine              float   [R, A]   input scale 3, input shift 3, every slot's scale [out], then every
 *                                        slot's bias [out]
 *   matrix.<slot name>  float   [R, out, columns]   one input for each slot that takes a whole matrix
 *   up.<slot name>      float   [R, out, rank]      and two where it takes factors
 *   down.<slot name>    float   [R, rank, columns]
 *
 * Inputs of a graph for batches of one domain, which are views of one row:
 *
 *   pixels              uint8   [N, H, W, 3]
 *   scale               float   [1, A - B, 1, 1]   the affine row up to the first bias
 *   bias                float   [B]                the rest of it
 *   matrix.<slot name>  float   [out, columns, 1, 1]   `up` and `down` in the same way
 *
 * Output of both: `features` float [N, F]. The input scale and shift are `1/(255 std)` and `-mean/std`, so
 * that `pixel * scale + shift` is the normalised value. With an f16 bank, all but `pixels` and the rows are
 * float16.
 */
import { elementsOf, extraParts, slotParts } from './kinds/kinds.js'
import type { FamilyManifest, InputSpec } from './manifest.js'

export const PIXELS = 'pixels'
export const ROW = 'row'
export const MATRIX_ROW = 'matrix_row'
export const AFFINE = 'affine'
export const SCALE = 'scale'
export const BIAS = 'bias'
export const FEATURES = 'features'

/** Names of the trunk graphs' own inputs and output, but those of single parts. */
export const GRAPH_NAMES: readonly string[] = [PIXELS, ROW, MATRIX_ROW, AFFINE, SCALE, BIAS, FEATURES]
/** In front of every name that the builder makes up for inner values. */
export const INNER_PREFIX = 'facet/'

/** Whether a name in a trunk graph belongs to Facet: a backbone's own value with such a name is renamed. */
export function isReservedName(name: string): boolean {
  return (
    GRAPH_NAMES.includes(name) ||
    name.startsWith(INNER_PREFIX) ||
    extraParts.some((part) => name.startsWith(`${part}.`))
  )
}

/** The graph input of a part that is not in the affine row. */
export function partInput(slot: string, part: string): string {
  return `${part}.${slot}`
}

/** A piece of a bank tensor: one part of a slot, or of the input's normalisation. */
export interface BankPart {
  /** Name of the slot; null for the input's `scale` and `shift`. */
  slot: string | null
  part: string
  /** Place in the tensor, in elements. */
  offset: number
  elements: number
}

/** An input of the graph for batches of one domain: a piece of a row's tensor, in another shape. */
export interface SingleInput {
  name: string
  dims: readonly number[]
  /** Place in the tensor, in elements. */
  offset: number
  elements: number
}

/**
 * One tensor of a bank row: an input of the graph for any domains, which has a row for each resident domain.
 */
export interface BankTensor {
  /** Name of the graph input. */
  name: string
  /** Shape of one row. */
  dims: readonly number[]
  elements: number
  /** What it is made of, in order and without gaps. */
  parts: readonly BankPart[]
  /** The same numbers as inputs of the graph for one domain. */
  single: readonly SingleInput[]
}

export interface BankLayout {
  /** The affine row first. */
  tensors: readonly BankTensor[]
  /** Elements of one whole bank row. */
  elements: number
}

/** Lays out one bank row for a family. Pure; slots keep the manifest's order. */
export function bankLayout({ slots }: Pick<FamilyManifest, 'slots'>): BankLayout {
  const tensors = [affineRow(slots)]
  for (const slot of slots) {
    for (const { name: part, dims, singleDims } of slotParts(slot)) {
      if (isAffine(part)) continue
      const name = partInput(slot.name, part)
      const elements = elementsOf(dims)
      tensors.push({
        name,
        dims,
        elements,
        parts: [{ slot: slot.name, part, offset: 0, elements }],
        single: [{ name, dims: singleDims, offset: 0, elements }],
      })
    }
  }
  return { tensors, elements: tensors.reduce((sum, { elements }) => sum + elements, 0) }
}

/** Whether a slot's part is a piece of the affine row. */
export function isAffine(part: string): boolean {
  return part === 'scale' || part === 'bias'
}

function affineRow(slots: FamilyManifest['slots']): BankTensor {
  const parts: BankPart[] = []
  let end = 0
  const append = (slot: string | null, part: string, elements: number) => {
    parts.push({ slot, part, offset: end, elements })
    end += elements
  }
  append(null, 'scale', 3)
  append(null, 'shift', 3)
  for (const { name, out } of slots) append(name, 'scale', out)
  const scales = end
  for (const { name, out } of slots) append(name, 'bias', out)
  return {
    name: AFFINE,
    dims: [end],
    elements: end,
    parts,
    single: [
      { name: SCALE, dims: [1, scales, 1, 1], offset: 0, elements: scales },
      { name: BIAS, dims: [end - scales], offset: scales, elements: end - scales },
    ],
  }
}

/** Normalisation on the 0-255 scale: `pixel * scale + shift`. */
export function inputAffine(spec: Pick<InputSpec, 'mean' | 'std'>): { scale: number[]; shift: number[] } {
  return {
    scale: spec.std.map((std) => 1 / (255 * std)),
    shift: spec.mean.map((mean, channel) => -mean / spec.std[channel]!),
  }
}
