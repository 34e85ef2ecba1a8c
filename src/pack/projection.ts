/**
 * Packs of a family that was compressed, for the compressed one: each slot's matrix is projected on the family's basis,
 * `matrix ≈ up · basis` (joint compression: Rebuffi, Bilen and Vedaldi, CVPR 2018, section 3.3).
 */
import { FLOAT16_MAX } from '../bytes/float16.js'
import { finish, type Steps } from '../concurrency/turns.js'
import { uncompressed } from '../manifest/kinds/matrix.js'
import type { FamilyManifest, Slot } from '../manifest/manifest.js'
import { scanSteps } from '../safetensors/safetensors.js'
import { tensorName } from './expected.js'
import type { Pack, SlotWeights } from './pack.js'
import { readPackSteps } from './read.js'
import { writePackSteps } from './write.js'

/** What a compressed family knows of one slot's matrices. Arrays are row-major. */
export interface Basis {
  /** `[basis, columns]`, with orthonormal rows: the trunk has the same. */
  basis: Float32Array
  /** `[columns, basis]`: `up = matrix · projector` is the least squares solution for the inputs that the family knows. */
  projector: Float32Array
  /** `[columns]`, the mean input: what is lost of it goes to the bias. Absent where the family was made without images. */
  mean?: Float32Array
  /**
   * `[columns, K]`: inputs are such that a matrix's output has the energy `|matrix · sketch|²`, up to the sketch's own
   * error. Absent: all directions count alike.
   */
  sketch?: Float32Array
}

/** Of each slot with a basis, by name. */
export type Bases = ReadonlyMap<string, Basis>

/** What a projection lost. */
export interface Projection {
  /**
   * Each slot that had a matrix, in slot order: what is lost of its output, as a share of it (root of energies), 0 to 1.
   * It is 1 also where more is lost than there was.
   */
  slots: { slot: string; error: number }[]
}

export interface Projected {
  /** The pack for the compressed family. */
  bytes: Uint8Array
  projection: Projection
}

/** What tells whether a pack is to be projected: the family that it names, and which tensors it has. */
export interface Form {
  family: string | undefined
  tensors: ReadonlySet<string>
  /** All tensors of its slots are in half precision. */
  half: boolean
}

/** Looks at the names in a pack; null for bytes that are no pack, of which the reader says what is wrong. */
export function* formSteps(bytes: Uint8Array): Steps<Form | null> {
  const { metadata, tensors, problems } = yield* scanSteps(bytes)
  if (!problems.empty) return null
  const slots = [...tensors].filter(([name]) => !name.startsWith('head.'))
  return {
    family: metadata.family,
    tensors: new Set(tensors.keys()),
    half: slots.length > 0 && slots.every(([, { dtype }]) => dtype === 'F16'),
  }
}

/** Whether a pack has a matrix, or factors of its own, where its family has a basis. */
export function isWhole(
  { tensors }: Pick<Form, 'tensors'>,
  { slots }: Pick<FamilyManifest, 'slots'>,
): boolean {
  return slots.some((slot) => slot.basis !== undefined && givesWhole(slot, tensors))
}

function givesWhole({ name }: Slot, tensors: ReadonlySet<string>): boolean {
  return tensors.has(tensorName(name, 'matrix')) || tensors.has(tensorName(name, 'down'))
}

/**
 * The family as the pack's tensors are those of it: the one that was compressed, or, for a pack that names the compressed
 * one, without a basis at the slots at which it has a matrix.
 */
function familyOfForm(manifest: FamilyManifest, { family: named, tensors }: Form): FamilyManifest {
  const source = manifest.compressed!.fingerprint
  const isOfSource = named === source
  const slots = manifest.slots.map((slot) =>
    isOfSource || givesWhole(slot, tensors) ? uncompressed(slot) : slot,
  )
  return { ...manifest, slots, fingerprint: isOfSource ? source : manifest.fingerprint }
}

/**
 * Projects a pack with whole matrices, or factors of its own, of the family that was compressed or of the compressed one.
 *
 * @param family the compressed one
 * @throws FacetError `invalid_pack` with every problem of the pack
 */
export function* projectedSteps(
  bytes: Uint8Array,
  form: Form,
  { manifest, bases }: { manifest: FamilyManifest; bases: Bases },
): Steps<Projected> {
  const pack = yield* readPackSteps(bytes, familyOfForm(manifest, form))
  const { slots, projection } = yield* projectSteps(pack, manifest.slots, bases)
  const projected = { ...pack, slots, family: manifest.fingerprint }
  // A factor may have larger numbers than its product.
  const half = form.half && (yield* fitsHalfSteps(slots))
  const types = {
    dtype: half ? 'f16' : 'f32',
    head: pack.head?.half ? 'f16' : 'f32',
  } as const
  return { bytes: yield* writePackSteps(projected, manifest, types), projection }
}

/** Whether all numbers of an adapter can be written in half precision. */
export function fitsHalf(slots: ReadonlyMap<string, SlotWeights>): boolean {
  return finish(fitsHalfSteps(slots))
}

function* fitsHalfSteps(slots: ReadonlyMap<string, SlotWeights>): Steps<boolean> {
  for (const slot of slots.values()) {
    for (const values of Object.values(slot))
      if (!values.every((value) => Math.abs(value) <= FLOAT16_MAX)) return false
    yield
  }
  return true
}

/** The adapter of a pack with whole matrices, or factors of its own, on the bases. @param slots of the compressed family */
export function* projectSteps(
  pack: Pick<Pack, 'slots'>,
  slots: readonly Slot[],
  bases: Bases,
): Steps<{ slots: Map<string, SlotWeights>; projection: Projection }> {
  const projected = new Map<string, SlotWeights>()
  const errors: Projection['slots'] = []
  for (const slot of slots) {
    const given = pack.slots.get(slot.name)
    if (!given) continue
    const basis = bases.get(slot.name)
    if (!basis || !(given.matrix || given.down)) {
      projected.set(slot.name, given)
      continue
    }
    const { weights, error } = yield* projectSlot(given, slot, basis)
    projected.set(slot.name, weights)
    errors.push({ slot: slot.name, error })
  }
  return { slots: projected, projection: { slots: errors } }
}

/** The same at once. */
export function project(...of: Parameters<typeof projectSteps>) {
  return finish(projectSteps(...of))
}

/** Products of numbers in a step. */
const PRODUCTS_A_STEP = 1 << 18

function* projectSlot(
  given: SlotWeights,
  slot: Slot,
  { basis, projector, mean, sketch }: Basis,
): Steps<{ weights: SlotWeights; error: number }> {
  const { out, columns } = slot
  const rank = slot.basis!
  const up = new Float32Array(out * rank)
  const bias = given.bias.slice()
  const row = new Float64Array(columns)
  const lost = new Float64Array(columns)
  const own = new Float64Array(rank)
  const outputs = sketch && new Float64Array(sketch.length / columns)
  const products = new Products()
  /** Sums of squares, by the sketch and by the numbers themselves. */
  let [error, energy, plainError, plainEnergy] = [0, 0, 0, 0]
  for (let to = 0; to < out; to++) {
    yield* readRow(given, slot, to, row, products)
    yield* products.multiply(row, projector, own)
    yield* products.multiply(own, basis, lost)
    for (let at = 0; at < columns; at++) lost[at] = row[at]! - lost[at]!
    up.set(own, to * rank)
    if (mean) bias[to]! += dot(lost, mean)
    plainEnergy += squares(row)
    plainError += squares(lost)
    if (!sketch || !outputs) continue
    yield* products.multiply(row, sketch, outputs)
    energy += squares(outputs)
    yield* products.multiply(lost, sketch, outputs)
    error += squares(outputs)
  }
  const weights = { scale: given.scale, bias, up }
  // Inputs of the sketch may all lie where the matrix gives nothing.
  const [missing, whole] = energy > 0 ? [error, energy] : [plainError, plainEnergy]
  return { weights, error: whole === 0 ? 0 : Math.min(1, Math.sqrt(missing / whole)) }
}

/** A row of the matrix, which may be given as factors. */
function* readRow(
  { matrix, up, down }: SlotWeights,
  { columns, rank = 0 }: Slot,
  to: number,
  row: Float64Array,
  products: Products,
): Steps<void> {
  if (matrix) row.set(matrix.subarray(to * columns, (to + 1) * columns))
  else yield* products.multiply(up!.subarray(to * rank, (to + 1) * rank), down!, row)
}

/** Products of vectors and matrices, which ends a step after so many numbers. */
class Products {
  #done = 0;

  /** `result = vector · matrix`, the matrix `[vector.length, result.length]`. */
  *multiply(vector: ArrayLike<number>, matrix: Float32Array, result: Float64Array): Steps<void> {
    const { length } = result
    result.fill(0)
    for (let from = 0; from < vector.length; from++) {
      const factor = vector[from]!
      for (let at = 0; at < length; at++) result[at]! += factor * matrix[from * length + at]!
      this.#done += length
      if (this.#done < PRODUCTS_A_STEP) continue
      this.#done = 0
      yield
    }
  }
}

function dot(a: Float64Array, b: Float32Array): number {
  return a.reduce((sum, value, at) => sum + value * b[at]!, 0)
}

function squares(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0)
}

/** The slot that lost most; undefined where no slot had a matrix. */
export function worstSlot({ slots }: Projection): Projection['slots'][number] | undefined {
  return [...slots].sort((a, b) => b.error - a.error)[0]
}

/** Names of the tensors of a basis in a family's file of bases. */
export function basisTensors(slot: string): Record<keyof Basis, string> {
  return {
    basis: tensorName(slot, 'basis'),
    projector: tensorName(slot, 'projector'),
    mean: tensorName(slot, 'mean'),
    sketch: tensorName(slot, 'sketch'),
  }
}
