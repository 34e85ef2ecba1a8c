/**
 * Turns a pack into a row of the bank: the values that the engine feeds to the trunk (layout:
 * `manifest/layout.ts`).
 *
 * Every array of a row is the whole of a plain `ArrayBuffer` of its own, so that the engine can free it.
 */
import type { BankDtype, RowTensors } from './messages.js'
import { FacetError } from '../errors.js'
import { type BankLayout, inputAffine } from '../manifest/layout.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import { encodeFloat16, Float16RangeError } from '../bytes/float16.js'
import type { Pack, SlotWeights } from '../pack/pack.js'
import { Problems, quote } from '../strict/problems.js'

/**
 * Lays out one row: `affine [A]`, a matrix `[out, columns]` for each slot that takes one, and the head
 * (always float32). A slot that the pack leaves out gets the base's values. A slot without a matrix gets
 * zeros.
 *
 * @param base the family's base pack, which has every slot; null only to lay out the base itself
 * @param mayTake whether the row may have this array of the pack, the whole of its buffer; other arrays are
 * copied
 * @throws FacetError `invalid_pack` where a value overflows an f16 bank, or the base lacks a slot
 */
export function packRow(
  pack: Pack,
  base: Pack | null,
  family: FamilyManifest,
  layout: BankLayout,
  dtype: BankDtype,
  mayTake: (array: Float32Array) => boolean = () => false,
): RowTensors {
  const problems = new Problems()
  const own = (array: Float32Array) => (mayTake(array) ? array : array.slice())
  const affine = new Float32Array(layout.affine)
  const input = inputAffine(pack)
  affine.set(input.scale, layout.inputScale)
  affine.set(input.shift, layout.inputShift)
  const found: (SlotWeights | undefined)[] = []
  for (const place of layout.slots) {
    const weights = pack.slots.get(place.slot.name) ?? base?.slots.get(place.slot.name)
    found.push(weights)
    if (!weights) {
      problems.add(`slot ${quote(place.slot.name)} is not in the base pack of family ${quote(family.name)}`)
      continue
    }
    affine.set(weights.scale, place.scale)
    affine.set(weights.bias, place.bias)
  }
  const encode = (values: Float32Array, name: (index: number) => string) => {
    if (dtype === 'f32') return values
    try {
      return encodeFloat16(values)
    } catch (error) {
      if (!(error instanceof Float16RangeError)) throw error
      problems.add(`${name(error.index)} has the value ${error.value}, which does not fit the f16 bank`)
      return values
    }
  }
  const row: RowTensors = {
    affine: encode(affine, (index) => affineName(index, layout)),
    matrices: [],
    head: null,
  }
  for (const [index, place] of layout.slots.entries()) {
    if (place.matrix < 0) continue
    const matrix = found[index]?.matrix ?? new Float32Array(place.slot.out * place.slot.columns)
    // For f16 the encoding copies.
    const values = dtype === 'f32' ? own(matrix) : matrix
    row.matrices[place.matrix] = encode(values, () => `tensor ${quote(`${place.slot.name}.matrix`)}`)
  }
  if (pack.head) {
    const { classes, weight, bias } = pack.head
    row.head = { classes, weight: own(weight), bias: own(bias) }
  }
  if (!problems.empty) {
    const list = problems.list()
    throw new FacetError('invalid_pack', `The pack cannot be laid out in the bank: ${list[0]}`, {
      problems: list,
    })
  }
  return row
}

/** The field or tensor that an element of the affine row comes from. */
function affineName(index: number, layout: BankLayout): string {
  if (index < layout.inputShift) return 'std (as 1/(255 std))'
  const first = layout.slots[0]
  if (!first || index < first.scale) return 'mean and std (as mean/std)'
  const part = index < layout.affine - layout.biases ? 'scale' : 'bias'
  const place = layout.slots.findLast((slot) => slot[part] <= index)!
  return `tensor ${quote(`${place.slot.name}.${part}`)}`
}
