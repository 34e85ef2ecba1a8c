/** Any number of packs with the same weights and different versions, so that all their answers are known. */
import { createHash } from 'node:crypto'
import { readSafetensors, writeSafetensors } from '../../src/safetensors/safetensors.js'

export interface NumberedPack {
  /** SHA-256 of the bytes. */
  version: string
  bytes: Uint8Array
}

const MARK = 'soak 0000000000'

/** Copies of one pack: a number in the description makes each a version of its own. */
export class NumberedPacks {
  readonly #bytes: Uint8Array
  readonly #at: number

  constructor(pack: Uint8Array) {
    const { tensors, metadata } = readSafetensors(pack)
    this.#bytes = writeSafetensors(tensors, { ...metadata, description: MARK })
    this.#at = Buffer.from(this.#bytes).indexOf(MARK)
  }

  /** @param number below 10^10 */
  copy(number: number): NumberedPack {
    const bytes = new Uint8Array(this.#bytes)
    const digits = String(number).padStart(10, '0')
    bytes.set(Buffer.from(`soak ${digits}`), this.#at)
    return { version: createHash('sha256').update(bytes).digest('hex'), bytes }
  }
}
