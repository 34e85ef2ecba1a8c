/**
 * Turns a pack into a row of the bank: the values that the engine feeds to the trunk (layout:
 * `manifest/layout.ts`).
 *
 * Every array of a row is the whole of a plain `ArrayBuffer` of its own, so that the engine can free it.
 */
import type { BankArray } from './bank-spec.js'
import type { HeadTensors, RowTensors } from './batch.js'
import type { BankDtype } from './plan.js'
import { finish, type Steps } from '../concurrency/turns.js'
import { FacetError } from '../errors.js'
import { type BankLayout, type BankPart, type BankTensor, inputAffine } from '../manifest/layout.js'
import type { Family } from '../family/family.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import { encodeFloat16, Float16RangeError } from '../bytes/float16.js'
import { tensorName } from '../pack/expected.js'
import { extentOf, type OwnAdapter } from '../pack/extent.js'
import type { Head, Pack } from '../pack/pack.js'
import { Problems, quote } from '../strict/problems.js'

/**
 * Lays out a whole row: every tensor of the layout, and the head in float32. A slot that the pack leaves out
 * gets the base's values. A part that a slot leaves out gets zeros.
 *
 * @param base the family's base pack, which has every slot; null only to lay out the base itself
 * @throws FacetError `invalid_pack` where a value overflows an f16 bank, or the base lacks a slot
 */
export function packRow(
  pack: Pack,
  base: Pack | null,
  family: FamilyManifest,
  layout: BankLayout,
  dtype: BankDtype,
): RowTensors {
  const form = { adapter: 'whole' as const, halfHead: false, mayTake: () => false }
  return finish(rowSteps(pack, base, { family, layout, dtype, ...form }))
}

/**
 * Lays out what the pack brings itself, the head in its own type, in steps of a fraction of a millisecond.
 *
 * @param mayTake whether the row may have this array of the pack, the whole of its buffer; other arrays are
 * copied
 * @throws FacetError `invalid_pack` where a value overflows an f16 bank
 */
export function ownRowSteps(
  pack: Pack,
  { base, layout, manifest }: Pick<Family, 'base' | 'layout' | 'manifest'>,
  dtype: BankDtype,
  mayTake: (array: Float32Array) => boolean,
): Steps<RowTensors> {
  const { adapter, halfHead } = extentOf(pack, base)
  return rowSteps(pack, base, { family: manifest, layout, dtype, adapter, halfHead, mayTake })
}

/** What a row is to be. */
interface Form {
  family: FamilyManifest
  layout: BankLayout
  dtype: BankDtype
  /** What of the adapter is laid out. */
  adapter: OwnAdapter
  halfHead: boolean
  mayTake(array: Float32Array): boolean
}

function* rowSteps(pack: Pack, base: Pack | null, form: Form): Steps<RowTensors> {
  const { family, layout, dtype, adapter, mayTake } = form
  const problems = new Problems()
  const own = (array: Float32Array) => (mayTake(array) ? array : array.slice())
  const input: Record<string, ArrayLike<number>> = inputAffine(pack)
  const weightsOf = (slot: string) => pack.slots.get(slot) ?? base?.slots.get(slot)
  for (const { name } of family.slots) {
    if (!weightsOf(name))
      problems.add(`slot ${quote(name)} is not in the base pack of family ${quote(family.name)}`)
  }
  const laidOut = (tensor: BankTensor): BankArray => {
    const [first, ...others] = tensor.parts
    const whole = others.length === 0 && first?.slot ? weightsOf(first.slot)?.[first.part] : undefined
    // For f16 the encoding copies.
    if (whole) return dtype === 'f32' ? own(whole) : encode(whole, tensor, problems)
    const values = new Float32Array(tensor.elements)
    for (const { slot, part, offset } of tensor.parts) {
      const given = slot === null ? input[part] : weightsOf(slot)?.[part]
      if (given) values.set(given, offset)
    }
    return dtype === 'f32' ? values : encode(values, tensor, problems)
  }
  const tensors: BankArray[] = []
  const count = { none: 0, affine: 1, whole: layout.tensors.length }[adapter]
  for (const tensor of layout.tensors.slice(0, count)) {
    tensors.push(laidOut(tensor))
    yield
  }
  const head = pack.head && (yield* headOf(pack.head, form))
  if (!problems.empty) {
    const list = problems.list()
    throw new FacetError('invalid_pack', `The pack cannot be laid out in the bank: ${list[0]}`, {
      problems: list,
    })
  }
  return { tensors, head }
}

function* headOf(head: Head, { halfHead, mayTake }: Pick<Form, 'halfHead' | 'mayTake'>): Steps<HeadTensors> {
  const { classes, weight, half } = head
  const bias = mayTake(head.bias) ? head.bias : head.bias.slice()
  if (halfHead && half) return { classes, weight: yield* copied(half, new Uint16Array(half.length)), bias }
  const whole = mayTake(weight) ? weight : yield* copied(weight, new Float32Array(weight.length))
  return { classes, weight: whole, bias }
}

/** Values that are copied in a step. */
const VALUES_A_STEP = 1 << 17

function* copied<T extends BankArray>(array: T, copy: T): Steps<T> {
  for (let at = 0; at < array.length; at += VALUES_A_STEP) {
    copy.set(array.subarray(at, at + VALUES_A_STEP), at)
    yield
  }
  return copy
}

/** In half precision; notes a value that does not fit. */
function encode(values: Float32Array, { parts }: BankTensor, problems: Problems): BankArray {
  try {
    return encodeFloat16(values)
  } catch (error) {
    if (!(error instanceof Float16RangeError)) throw error
    const { index, value } = error
    const part = parts.findLast(({ offset }) => offset <= index)!
    problems.add(`${nameOf(part)} has the value ${value}, which does not fit the f16 bank`)
    return values
  }
}

/** The field or tensor of a pack that a part of a bank row is made of. */
function nameOf({ slot, part }: BankPart): string {
  if (slot !== null) return `tensor ${quote(tensorName(slot, part))}`
  return part === 'scale' ? 'std (as 1/(255 std))' : 'mean and std (as mean/std)'
}
