/**
 * What a row of the bank consists of: for the engine, which checks rows, and for the lanes, which feed them
 * to the trunk.
 */
import type { BankLayout } from '../manifest/layout.js'
import type { RowTensors } from './batch.js'
import type { BankDtype, TrunkPlan } from './plan.js'

export type BankArray = Float32Array | Uint16Array

export type BankSpec = Pick<TrunkPlan, 'bankDtype' | 'tensors' | 'features'>

/**
 * Rows are counted in words of so many bytes, since they begin and end at multiples of them: V8 copies shared memory byte
 * by byte where words do not align.
 */
export const WORD_BYTES = 8

/** `bytes`, rounded up to whole words. */
export function wholeWords(bytes: number): number {
  return Math.ceil(bytes / WORD_BYTES) * WORD_BYTES
}

/** Rows take all the memory that the bank has. @param bytes of it */
export function noRoom(bytes: number): RangeError {
  return new RangeError(`the bank's ${bytes} bytes (--bank-memory) are in use`)
}

export function arrayType(dtype: BankDtype): Float32ArrayConstructor | Uint16ArrayConstructor {
  return dtype === 'f32' ? Float32Array : Uint16Array
}

/** Bytes that a row and its head count in the bank's memory: the adapter in the bank's type, the head in f32. */
export function rowBytes(
  { elements }: Pick<BankLayout, 'elements'>,
  dtype: BankDtype,
  features: number,
  classes: number,
): number {
  const head = (classes * features + classes) * Float32Array.BYTES_PER_ELEMENT
  return wholeWords(elements * arrayType(dtype).BYTES_PER_ELEMENT + head)
}

export function bytesOf({ buffer, byteOffset, byteLength }: BankArray): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** @throws RangeError naming the row and the tensor that does not fit the trunk */
export function checkRow(row: number, { tensors, head }: RowTensors, spec: BankSpec): void {
  const { bankDtype, features } = spec
  if (tensors.length !== spec.tensors.length)
    throw new RangeError(`bank row ${row}: ${tensors.length} tensors, the trunk takes ${spec.tensors.length}`)
  for (const [index, { name, elements }] of spec.tensors.entries()) {
    const array = tensors[index]!
    if (!(array instanceof arrayType(bankDtype)) || array.length !== elements)
      throw new RangeError(
        `bank row ${row}, ${name}: ${array.constructor.name} of ${array.length}, not ${bankDtype} of ${elements}`,
      )
  }
  if (head && (head.weight.length !== head.classes * features || head.bias.length !== head.classes))
    throw new RangeError(`bank row ${row}: the head is not [${head.classes}, ${features}] with a bias`)
}
