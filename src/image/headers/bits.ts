/** Reads numbers of any number of bits, the highest bit first. Beyond the end it throws a RangeError. */
export class BitReader {
  readonly #view: DataView
  #position: number

  /** @param at byte at which to begin */
  constructor(bytes: Uint8Array, at = 0) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#position = at * 8
  }

  /** @param count at most 32 */
  take(count: number): number {
    let value = 0
    for (let bit = 0; bit < count; bit++, this.#position++)
      value = value * 2 + ((this.#view.getUint8(this.#position >> 3) >> (7 - (this.#position & 7))) & 1)
    return value
  }

  flag(): boolean {
    return this.take(1) === 1
  }

  skip(count: number): void {
    this.#position += count
  }
}
