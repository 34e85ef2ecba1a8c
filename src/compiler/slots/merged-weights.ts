/**
 * A domain's scale and matrix merged into a layer's frozen weights, `[out, columns, ...kernel]`, for its dedicated network
 * (`compiler/dedicated.ts`).
 */
import type { Slot } from '../../manifest/manifest.js'
import { floats } from '../../onnx/onnx.js'
import type { MergeWriter } from './kind.js'
import { BASIS, slotValue } from './names.js'

/**
 * A domain's matrix of a slot, `[out, columns]`; undefined where it takes none. A slot that takes factors has their product,
 * one of a compressed family that of its factor and the basis.
 */
export function readMatrix(
  trunk: Pick<MergeWriter, 'part' | 'frozen'>,
  slot: Slot,
): Float32Array | undefined {
  const { name, out, columns, basis } = slot
  const rank = basis ?? slot.rank
  if (rank === undefined) return trunk.part(name, 'matrix')
  const up = trunk.part(name, 'up')!
  const down = basis === undefined ? trunk.part(name, 'down')! : floats(trunk.frozen(slotValue(name, BASIS)))
  const matrix = new Float32Array(out * columns)
  const row = new Float64Array(columns)
  for (let to = 0; to < out; to++) {
    row.fill(0)
    for (let r = 0; r < rank; r++) {
      const factor = up[to * rank + r]!
      if (factor === 0) continue
      for (let at = 0; at < columns; at++) row[at]! += factor * down[r * columns + at]!
    }
    matrix.set(row, to * columns)
  }
  return matrix
}

/**
 * The weights of the one layer, `[out, columns, ...kernel]`. Takes `weights` over.
 *
 * - without matrix: `W' = diag(scale) W`
 * - parallel: the matrix is added to the centre of `diag(scale) W`
 * - series: `W' = (diag(scale) + matrix) W`
 */
export function mergedWeights(
  slot: Slot,
  weights: Float32Array,
  scale: Float32Array,
  matrix: Float32Array | undefined,
  series: boolean,
): Float32Array {
  if (matrix && series) return product(slot, scale, matrix, weights)
  multiplyRows(weights, scale)
  if (matrix) addAtCentre(weights, slot, matrix)
  return weights
}

/** `diag(scale) W`, in place. */
function multiplyRows(weights: Float32Array, scale: Float32Array): void {
  const length = weights.length / scale.length
  for (const [row, factor] of scale.entries())
    for (let at = row * length; at < (row + 1) * length; at++) weights[at]! *= factor
}

/** Adds a matrix `[out, in]` to the middle of each kernel. */
function addAtCentre(weights: Float32Array, { kernel: [height, width] }: Slot, matrix: Float32Array): void {
  const area = height * width
  const centre = (area - 1) / 2
  for (const [index, value] of matrix.entries()) weights[index * area + centre]! += value
}

/** `(diag(scale) + matrix) W`. */
function product(
  { out }: Slot,
  scale: Float32Array,
  matrix: Float32Array,
  weights: Float32Array,
): Float32Array {
  const length = weights.length / out
  const result = new Float32Array(weights.length)
  const row = new Float64Array(length)
  for (let to = 0; to < out; to++) {
    row.fill(0)
    for (let from = 0; from < out; from++) {
      const factor = matrix[to * out + from]! + (from === to ? scale[to]! : 0)
      if (factor === 0) continue
      for (let at = 0; at < length; at++) row[at]! += factor * weights[from * length + at]!
    }
    result.set(row, to * length)
  }
  return result
}

/** A matrix `[rows, columns]` as `[columns, rows]`. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column]!
  return out
}
