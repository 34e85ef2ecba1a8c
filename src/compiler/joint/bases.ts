/**
 * Chooses the bases of a family by the packs of its domains (joint compression: Rebuffi, Bilen and Vedaldi, CVPR 2018,
 * section 3.3): per slot the singular value decomposition of their stacked matrices.
 *
 * Where images were seen, it is the decomposition of what the matrices make of them: of the stacked matrices times the
 * root of the inputs' mean second moments C, each domain's weighed by the size of its slot's output. `up` is then the least
 * squares solution under the domain's own moments, `up = A C B' (B C B')^-1`, and what is lost of the mean input goes to
 * the bias.
 */
import { CholeskyDecomposition, EigenvalueDecomposition, Matrix, QrDecomposition } from 'ml-matrix'
import type { Slot } from '../../manifest/manifest.js'
import type { Pack, SlotWeights } from '../../pack/pack.js'
import type { Bases, Basis } from '../../pack/projection.js'
import type { DomainMoments, Moments } from './moments.js'
import { ranksFor, type Spectrum, type Want } from './ranks.js'

/** A domain whose pack is compressed. */
export interface JointDomain {
  domain: string
  pack: Pack
}

/** How one slot was compressed. */
export interface SlotReport {
  slot: Slot
  rank: number
  /** The largest rank that it could have: with more, `up` would be larger than the matrix was. */
  most: number
  /** Whether images chose the basis. */
  byImages: boolean
  /** Of each domain with a matrix there: the share of the energy of the matrix's output that is kept. */
  kept: { domain: string; share: number }[]
}

export interface Joint {
  bases: Bases
  /** Each domain's adapter on the bases. */
  adapters: Map<string, Map<string, SlotWeights>>
  slots: SlotReport[]
}

/** A slot's output in one domain counts as this share of the domains' mean at least: where it is constant, no error would do. */
const LEAST_OUTPUT = 1e-3

/** Added to moments, as a share of their mean: directions that no image has have no size otherwise. */
const RIDGE = 1e-6

/**
 * @param slots of the family, as its packs have them
 * @param moments null to choose by the matrices alone
 * @param progress is called with the number of slots that are decomposed
 */
export function chooseBases(
  slots: readonly Slot[],
  domains: readonly JointDomain[],
  moments: Moments | null,
  want: Want,
  progress: (done: number, of: number) => void = () => {},
): Joint {
  const stacks = slots.flatMap((slot) => stackOf(slot, domains, moments) ?? [])
  const decomposed = stacks.map((stack, at) => {
    const found = decompose(stack)
    progress(at + 1, stacks.length)
    return found
  })
  const spectra = decomposed.map(({ energies }, at): Spectrum => {
    const { out, columns } = stacks[at]!.slot
    return { energies, cost: columns + domains.length * out, bytes: out * Float32Array.BYTES_PER_ELEMENT }
  })
  const ranks = ranksFor(spectra, want)
  const bases = new Map<string, Basis>()
  const adapters = new Map(domains.map(({ domain, pack }) => [domain, new Map(pack.slots)]))
  const reports: SlotReport[] = []
  for (const [at, stack] of stacks.entries()) {
    const { slot, parts, metric } = stack
    const basis = orthonormal(decomposed[at]!.rows.subMatrix(0, ranks[at]! - 1, 0, slot.columns - 1))
    bases.set(slot.name, basisOf(stack, basis))
    const kept: SlotReport['kept'] = []
    for (const part of parts) {
      const { up, bias, share } = project(part, basis)
      const { scale } = part.weights
      adapters.get(part.domain)!.set(slot.name, { scale, bias, up })
      kept.push({ domain: part.domain, share })
    }
    reports.push({
      slot,
      rank: ranks[at]!,
      most: spectra[at]!.energies.length,
      byImages: metric !== null,
      kept,
    })
  }
  return { bases, adapters, slots: reports }
}

/** One domain's matrix of a slot. */
interface Part {
  domain: string
  weights: SlotWeights
  /** `[out, columns]` */
  matrix: Matrix
  /** Weight of its error, and the size of its inputs. */
  weight: number
  size: number
  /** Null where no images were seen. */
  moments: DomainMoments | null
}

interface Stack {
  slot: Slot
  parts: Part[]
  /** `[columns, columns]`, mean second moments of inputs of like size; null where no images were seen. */
  metric: Matrix | null
}

/** The matrices of a slot; undefined where no domain has one. */
function stackOf(slot: Slot, domains: readonly JointDomain[], moments: Moments | null): Stack | undefined {
  const { columns } = slot
  const parts = domains.flatMap(({ domain, pack }): Part[] => {
    const weights = pack.slots.get(slot.name)
    const matrix = weights && matrixOf(weights, slot)
    if (!weights || !matrix) return []
    const seen = moments?.of(slot.name, domain) ?? null
    if (!seen) return [{ domain, weights, matrix, weight: 1, size: 1, moments: null }]
    const size = trace(seen.second, columns) / columns
    return [{ domain, weights, matrix, weight: 1, size, moments: seen }]
  })
  if (parts.length === 0) return undefined
  if (!parts.every((part) => part.moments && part.size > 0))
    return {
      slot,
      parts: parts.map((part) => ({ ...part, moments: null, weight: 1, size: 1 })),
      metric: null,
    }
  const outputs = parts.map(({ moments: seen }) => Math.max(0, seen!.output))
  const mean = outputs.reduce((sum, output) => sum + output, 0) / parts.length
  for (const [at, part] of parts.entries())
    part.weight = mean > 0 ? 1 / Math.max(outputs[at]!, LEAST_OUTPUT * mean) : 1
  const metric = Matrix.zeros(columns, columns)
  for (const { moments: seen, size } of parts)
    metric.add(Matrix.mul(matrixFrom(seen!.second, columns), 1 / (size * parts.length)))
  return { slot, parts, metric: metric.add(Matrix.eye(columns, columns, RIDGE)) }
}

function matrixOf({ matrix, up, down }: SlotWeights, { out, columns, rank = 0 }: Slot): Matrix | undefined {
  if (matrix) return matrixFrom(matrix, columns, out)
  return up && down && matrixFrom(up, rank, out).mmul(matrixFrom(down, columns, rank))
}

/** A matrix of row-major values; square unless `rows` says otherwise. */
function matrixFrom(values: ArrayLike<number>, columns: number, rows = columns): Matrix {
  return Matrix.from1DArray(rows, columns, values as number[])
}

function trace(values: Float64Array, size: number): number {
  let sum = 0
  for (let at = 0; at < size; at++) sum += values[at * size + at]!
  return sum
}

/** The best directions of a slot's input, those that save most first, and what each saves of the error of a domain. */
function decompose({ slot, parts, metric }: Stack): { energies: number[]; rows: Matrix } {
  const { out, columns } = slot
  const stacked = new Matrix(parts.length * out, columns)
  for (const [at, { matrix, weight, size }] of parts.entries())
    stacked.setSubMatrix(Matrix.mul(matrix, Math.sqrt((weight * size) / parts.length)), at * out, 0)
  const most = Math.max(1, Math.min(ranksOf(slot) * parts.length, Math.floor(numbersOf(slot) / out), columns))
  // Of the two Gram matrices, that of the smaller side.
  if (stacked.rows <= columns) {
    const inputs = metric ? stacked.mmul(metric) : stacked
    const { values, vectors } = eigen(inputs.mmul(stacked.transpose()))
    return { energies: values.slice(0, most), rows: vectors.transpose().mmul(stacked) }
  }
  const gram = stacked.transpose().mmul(stacked)
  if (!metric) {
    const { values, vectors } = eigen(gram)
    return { energies: values.slice(0, most), rows: vectors.transpose() }
  }
  const inputs = eigen(metric)
  const scaled = (power: number) =>
    inputs.vectors
      .mmul(Matrix.diag(inputs.values.map((value) => Math.max(value, RIDGE) ** power)))
      .mmul(inputs.vectors.transpose())
  const root = scaled(0.5)
  const { values, vectors } = eigen(root.mmul(gram).mmul(root))
  return { energies: values.slice(0, most), rows: vectors.transpose().mmul(scaled(-0.5)) }
}

/** The most that a domain's matrix of a slot can have. */
function ranksOf({ out, columns, rank }: Slot): number {
  return Math.min(out, columns, rank ?? columns)
}

/** Numbers that a domain's matrix of a slot has in a pack. Where `up` had more, nothing would be gained. */
function numbersOf({ out, columns, rank }: Slot): number {
  return rank === undefined ? out * columns : rank * (out + columns)
}

/** Eigenvalues of a symmetric matrix, the largest first and none below zero, and their vectors as columns. */
function eigen(matrix: Matrix): { values: number[]; vectors: Matrix } {
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(symmetric(matrix), {
    assumeSymmetric: true,
  })
  return {
    values: [...realEigenvalues].reverse().map((value) => Math.max(0, value)),
    vectors: eigenvectorMatrix.flipRows(),
  }
}

/** A product that is symmetric up to rounding, which the library does not take. */
function symmetric(matrix: Matrix): Matrix {
  return Matrix.add(matrix, matrix.transpose()).mul(0.5)
}

/** Rows that span the same space, of length 1 and at right angles. */
function orthonormal(rows: Matrix): Matrix {
  const columns = rows.transpose()
  for (const [at, row] of rows.to2DArray().entries())
    columns.mulColumn(at, 1 / Math.max(Math.hypot(...row), 1e-30))
  return new QrDecomposition(columns).orthogonalMatrix.transpose()
}

/** `[columns, rank]`: what a matrix is multiplied by for the least squares solution under these moments. */
function projectorOf(basis: Matrix, second: Matrix | null): Matrix {
  if (!second) return basis.transpose()
  const inputs = second.mmul(basis.transpose())
  const gram = basis.mmul(inputs)
  const ridge = (RIDGE * gram.trace()) / gram.rows
  gram.add(Matrix.eye(gram.rows, gram.rows, ridge))
  // The solution of X gram = inputs, both sides turned.
  return new CholeskyDecomposition(symmetric(gram)).solve(inputs.transpose()).transpose()
}

/** What the family keeps of a slot, for packs to come. */
function basisOf({ slot, parts, metric }: Stack, basis: Matrix): Basis {
  const shared = { basis: flat(basis), projector: flat(projectorOf(basis, metric)) }
  if (!metric) return shared
  const { columns } = slot
  const mean = new Float32Array(columns)
  const samples = parts.flatMap(({ moments, size }) =>
    moments!.samples.map((vector) => vector.map((value) => value / Math.sqrt(size))),
  )
  for (const { moments } of parts)
    for (const [at, value] of moments!.mean.entries()) mean[at]! += value / parts.length
  const sketch = new Float32Array(columns * samples.length)
  for (const [index, vector] of samples.entries())
    for (const [at, value] of vector.entries())
      sketch[at * samples.length + index] = value / Math.sqrt(samples.length)
  return { ...shared, mean, sketch }
}

/** A domain's matrix on the basis, by its own moments. */
function project(
  { matrix, moments, weights }: Part,
  basis: Matrix,
): { up: Float32Array; bias: Float32Array; share: number } {
  const second = moments && matrixFrom(moments.second, basis.columns)
  const up = matrix.mmul(projectorOf(basis, second))
  const lost = Matrix.sub(matrix, up.mmul(basis))
  const bias = weights.bias.slice()
  if (moments)
    for (const [at, value] of lost.mmul(Matrix.columnVector(moments.mean)).to1DArray().entries())
      bias[at]! += value
  const energy = (of: Matrix) => of.mul(second ? of.mmul(second) : of).sum()
  const [whole, missing] = [energy(matrix.clone()), energy(lost)]
  return { up: flat(up), bias, share: whole === 0 ? 1 : 1 - missing / whole }
}

function flat(matrix: Matrix): Float32Array {
  return Float32Array.from(matrix.to1DArray())
}
