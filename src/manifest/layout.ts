/**
 * Where a family's adapters lie in the bank: the contract between the emitted trunk graphs
 * (`compiler`) and what feeds them (`engine`).
 *
 * Inputs of the trunk for any mix of domains, R rows in the bank, N samples in the batch:
 *
 *   pixels              uint8   [N, H, W, 3]
 *   row                 int64   [N]      bank row of each sample
 *   matrix_row          int64   [N]; or [1] when every sample is of one domain (broadcast, no copies)
 *   affine              float   [R, A]   input scale 3, input shift 3, every slot's scale [out], every slot's bias [out]
 *   matrix.<slot name>  float   [R, out, columns]   one input per slot that takes a matrix
 *
 * Inputs of the trunk for batches of one domain, which are views of one row:
 *
 *   pixels              uint8   [N, H, W, 3]
 *   scale               float   [1, A - B, 1, 1]   the affine row up to the first bias
 *   bias                float   [B]                the rest of it
 *   matrix.<slot name>  float   [out, columns, 1, 1]
 *
 * Output of both: `features` float [N, F]. The input scale and shift are `1/(255 std)` and `-mean/std`, so that
 * `pixel * scale + shift` is the normalised value. With an f16 bank, all but `pixels` and the rows are float16.
 */
import type { FamilyManifest, InputSpec, Slot } from './manifest.js'

export const PIXELS = 'pixels'
export const ROW = 'row'
export const MATRIX_ROW = 'matrix_row'
export const AFFINE = 'affine'
export const SCALE = 'scale'
export const BIAS = 'bias'
export const FEATURES = 'features'

/** Names of the trunk graphs' own inputs and output, but the matrices'. */
export const GRAPH_NAMES: readonly string[] = [PIXELS, ROW, MATRIX_ROW, AFFINE, SCALE, BIAS, FEATURES]
const MATRIX_PREFIX = 'matrix.'
/** In front of every other name that the builder makes up. */
export const INNER_PREFIX = 'facet/'

/** Whether a name in a trunk graph belongs to Facet: a backbone's own value with such a name is renamed. */
export function isReservedName(name: string): boolean {
  return GRAPH_NAMES.includes(name) || name.startsWith(MATRIX_PREFIX) || name.startsWith(INNER_PREFIX)
}

/** The graph input of a slot's matrix. */
export function matrixInput(slot: string): string {
  return MATRIX_PREFIX + slot
}

export interface SlotLayout {
  slot: Slot
  /** Offsets into the affine row, in elements. */
  scale: number
  bias: number
  /** Position among the matrices, or -1 where the slot takes none. */
  matrix: number
}

export interface MatrixLayout {
  /** Graph input name. */
  input: string
  slot: Slot
  rows: number
  columns: number
}

export interface BankLayout {
  /** Offsets of the input scale and shift in the affine row, 3 elements each. */
  inputScale: number
  inputShift: number
  /** Elements A of one affine row. */
  affine: number
  /** Elements B of its end: the biases. */
  biases: number
  slots: SlotLayout[]
  matrices: MatrixLayout[]
  /** Elements of one whole bank row: A plus every matrix. */
  elements: number
}

/** Lays out one bank row for a family. Pure; slots keep the manifest's order. */
export function bankLayout(family: Pick<FamilyManifest, 'slots'>): BankLayout {
  const slots: SlotLayout[] = []
  const matrices: MatrixLayout[] = []
  const biases = family.slots.reduce((sum, { out }) => sum + out, 0)
  let offset = 6
  let elements = 0
  for (const slot of family.slots) {
    let matrix = -1
    if (slot.columns > 0) {
      matrix = matrices.length
      matrices.push({ input: matrixInput(slot.name), slot, rows: slot.out, columns: slot.columns })
      elements += slot.out * slot.columns
    }
    slots.push({ slot, scale: offset, bias: offset + biases, matrix })
    offset += slot.out
  }
  const affine = offset + biases
  return { inputScale: 0, inputShift: 3, affine, biases, slots, matrices, elements: elements + affine }
}

/** Normalisation on the 0-255 scale: `pixel * scale + shift`. */
export function inputAffine(spec: Pick<InputSpec, 'mean' | 'std'>): { scale: number[]; shift: number[] } {
  return {
    scale: spec.std.map((std) => 1 / (255 * std)),
    shift: spec.mean.map((mean, channel) => -mean / spec.std[channel]!),
  }
}
