/**
 * The rows that all lanes read: one shared buffer a row, made when the row is first used and used again for
 * each version that comes into it. (A buffer a version would be given back only when every lane's garbage
 * collector had come by, and shared memory does not hasten one.)
 *
 * Knows no lanes: that no run reads a row while it is written is the caller's business.
 */
import { arrayType, type BankArray, type BankSpec, bankInputs } from './bank-spec.js'
import { free } from '../free.js'
import type { RowTensors } from './messages.js'

export class SharedRows {
  readonly #spec: BankSpec
  readonly #rows = new Map<number, readonly BankArray[]>()

  constructor(spec: BankSpec) {
    this.#spec = spec
  }

  /** Copies a row that fits into its place and frees what it came in. The answer's adapter is shared, its head the one
   * given. */
  write(row: number, { affine, matrices, head }: RowTensors): RowTensors {
    let arrays = this.#rows.get(row)
    if (!arrays) {
      arrays = this.#make()
      this.#rows.set(row, arrays)
    }
    const given = [affine, ...matrices]
    for (const [index, array] of arrays.entries()) array.set(given[index]!)
    free(given)
    const [sharedAffine, ...sharedMatrices] = arrays
    return { affine: sharedAffine!, matrices: sharedMatrices, head }
  }

  /** Views of one buffer, one per graph input. */
  #make(): BankArray[] {
    const inputs = bankInputs(this.#spec)
    const Type = arrayType(this.#spec.bankDtype)
    const total = inputs.reduce((sum, { elements }) => sum + elements, 0)
    const buffer = new SharedArrayBuffer(total * Type.BYTES_PER_ELEMENT)
    let offset = 0
    return inputs.map(({ elements }) => {
      const array = new Type(buffer, offset, elements)
      offset += array.byteLength
      return array
    })
  }
}
