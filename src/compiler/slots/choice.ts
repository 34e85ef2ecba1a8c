/**
 * Which places of a backbone a family opens, and which of them take a matrix, whole or as factors. The kinds find the
 * places and say what they are; this decides.
 */
import { largestRank } from '../../manifest/kinds/matrix.js'
import type { Design, Kind, Slot } from '../../manifest/manifest.js'
import { BackboneError } from '../../onnx/onnx.js'

/**
 * Where a place has its scale and bias from: a normalisation that stands alone, one behind its layer, or one that the
 * exporter folded into the layer.
 */
export type Normalised = 'alone' | 'behind' | 'folded'

export interface Choice {
  design: Design
  /** Opens exactly the places whose names match, each with the matrix that it can take. */
  pattern?: RegExp | undefined
  /** Without a pattern: kinds that take a matrix, where the design has one. */
  matrices: ReadonlySet<Kind>
  /** Without a pattern: the places that are opened without a matrix too. */
  affine: ReadonlySet<Normalised>
  /** Of the slots that take a matrix, those that get one, the others scale and bias; all if not given. */
  matricesAt?: ReadonlySet<string> | undefined
  /** Rank of the factors; undefined for whole matrices. */
  rank?: number | undefined
  /** A layer for which factors would be no smaller takes the whole matrix. Otherwise one that is too narrow is an error. */
  widens: boolean
}

/** A place as its kind finds it. */
export interface FoundPlace extends Pick<Slot, 'name' | 'kind' | 'in' | 'out'> {
  normalised: Normalised | undefined
  /** Why it can have no matrix. */
  noMatrix?: string | undefined
  /** Why it has no matrix unless a pattern names it. */
  unusualMatrix?: string | undefined
}

/** What the slot at a place takes. */
export type Allocation = Pick<Slot, 'columns' | 'rank'>

/**
 * What a place gets, or why it stays frozen.
 *
 * @throws BackboneError where a layer is narrower than the rank
 */
export function allocate(choice: Choice, place: FoundPlace): Allocation | string {
  const { pattern, matrices, affine } = choice
  const { name, kind, normalised, noMatrix, unusualMatrix } = place
  if (pattern) {
    if (!pattern.test(name)) return 'not named by --open'
    return noMatrix === undefined ? withMatrix(choice, place) : { columns: 0 }
  }
  const without = noMatrix ?? unusualMatrix
  if (matrices.has(kind) && without === undefined) return withMatrix(choice, place)
  if (normalised !== undefined && affine.has(normalised)) return { columns: 0 }
  return without ?? `${kind}: opened only if --open names it`
}

function withMatrix(choice: Choice, { name, in: channels, out }: FoundPlace): Allocation {
  const { design, matricesAt, rank, widens } = choice
  if (matricesAt && !matricesAt.has(name)) return { columns: 0 }
  const columns = design === 'parallel' ? channels : design === 'series' ? out : 0
  if (columns === 0 || rank === undefined) return { columns }
  if (widens && rank * (out + columns) >= out * columns) return { columns }
  if (rank > largestRank({ out, columns })) throw tooHigh(rank, { name, out, columns })
  return { columns, rank }
}

/** Refuses a rank that none of the slots with a matrix is wide enough for. @throws BackboneError */
export function checkRank({ rank, pattern }: Choice, slots: readonly Slot[]): void {
  const withMatrices = slots.filter(({ columns }) => columns > 0)
  if (pattern || rank === undefined || withMatrices.some((slot) => slot.rank !== undefined)) return
  const [widest] = withMatrices.sort((a, b) => largestRank(b) - largestRank(a))
  if (widest && rank > largestRank(widest)) throw tooHigh(rank, widest)
}

function tooHigh(rank: number, slot: Pick<Slot, 'name' | 'out' | 'columns'>): BackboneError {
  const { name, out, columns } = slot
  return new BackboneError(
    `The rank ${rank} (--rank) is above the width of the layer ${name}, whose matrix has ${out} rows and ${columns} columns. Lower it to ${largestRank(slot)}, or leave the layer out (--open, --slots).`,
  )
}
