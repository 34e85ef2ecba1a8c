/**
 * What a row of the bank consists of: for the engine, which checks rows, and for the lanes, which feed them
 * to the trunk.
 */
import type { BankLayout, BankTensor } from '../manifest/layout.js'
import type { Extent, OwnAdapter } from '../pack/extent.js'
import type { HeadTensors, RowTensors } from './batch.js'
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

/** What the size of a row depends on, beside what it holds. */
export interface RowSizes {
  layout: Pick<BankLayout, 'elements'> & { tensors: readonly Pick<BankTensor, 'elements'>[] }
  dtype: BankDtype
  /** Length of the feature vector. */
  features: number
}

/** Bytes of the adapter that a row has itself, in the bank's type. */
export function adapterBytes({ layout, dtype }: Omit<RowSizes, 'features'>, adapter: OwnAdapter): number {
  const affine = layout.tensors[0]?.elements ?? 0
  const elements = { none: 0, affine, whole: layout.elements }[adapter]
  return elements * arrayType(dtype).BYTES_PER_ELEMENT
}

/** Rows of a bank that a device has, the base's among them. Their memory is taken when the engine starts. */
export interface DeviceRows {
  /** Affine rows, and all rows of the bank: on a device each has an affine row to itself. */
  rows: number
  /** Rows of matrices. */
  matrices: number
}

/**
 * On a device a row has its memory whether or not something is in it. So of the memory for adapters, all could have
 * matrices, and for each of those there are so many affine rows: packs without matrices are more, and their rows small.
 */
const AFFINE_ROWS_FOR_EACH_MATRIX = 8

/** The rows that a device has for so many bytes of adapters. @param most rows of any kind */
export function deviceRows(
  { layout, dtype }: Omit<RowSizes, 'features'>,
  memory: number,
  most: number,
): DeviceRows {
  const [affine, whole] = (['affine', 'whole'] as const).map((adapter) =>
    adapterBytes({ layout, dtype }, adapter),
  )
  const fitting = (bytes: number) => Math.max(1, Math.min(most, Math.floor(memory / bytes)))
  const matrices = fitting(whole!)
  return { matrices, rows: Math.min(fitting(affine!), AFFINE_ROWS_FOR_EACH_MATRIX * matrices) }
}

/** Bytes of a head: its weights in their own type, and its biases in f32. @param features length of the feature vector */
export function headBytes(features: number, { classes, halfHead }: Omit<Extent, 'adapter'>): number {
  const weight = halfHead ? Uint16Array.BYTES_PER_ELEMENT : Float32Array.BYTES_PER_ELEMENT
  return classes * (features * weight + Float32Array.BYTES_PER_ELEMENT)
}

/** Bytes that a row and its head count in the bank's memory: what they hold themselves. */
export function rowBytes(sizes: RowSizes, extent: Extent): number {
  return wholeWords(adapterBytes(sizes, extent.adapter) + headBytes(sizes.features, extent))
}

/** The same of a row that is to be written. */
export function bytesOfRow({ tensors, head }: RowTensors): number {
  return wholeWords([...tensors, ...arraysOf(head)].reduce((sum, { byteLength }) => sum + byteLength, 0))
}

/** In the order in which they lie in memory. */
export function arraysOf(head: HeadTensors | null): BankArray[] {
  return head === null ? [] : [head.weight, head.bias]
}

export function bytesOf({ buffer, byteOffset, byteLength }: BankArray): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** @throws RangeError naming the row and the tensor that does not fit the trunk */
export function checkRow(row: number, { tensors, head }: RowTensors, spec: BankSpec): void {
  const { bankDtype, features } = spec
  if (![0, 1, spec.tensors.length].includes(tensors.length))
    throw new RangeError(
      `bank row ${row}: ${tensors.length} tensors, the trunk takes ${spec.tensors.length}, or the affine row alone, or none`,
    )
  for (const [index, array] of tensors.entries()) {
    const { name, elements } = spec.tensors[index]!
    if (!(array instanceof arrayType(bankDtype)) || array.length !== elements)
      throw new RangeError(
        `bank row ${row}, ${name}: ${array.constructor.name} of ${array.length}, not ${bankDtype} of ${elements}`,
      )
  }
  if (head && (head.weight.length !== head.classes * features || head.bias.length !== head.classes))
    throw new RangeError(`bank row ${row}: the head is not [${head.classes}, ${features}] with a bias`)
}
