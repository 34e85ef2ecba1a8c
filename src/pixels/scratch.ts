/**
 * Memory that is used again by every image: fresh memory costs the kernel and the collector more than what is done
 * with it here. What is taken holds anything, and is good until its owner takes it again.
 */
export class Scratch {
  #bytes = new Uint8Array(0)

  take(size: number): Uint8Array {
    if (this.#bytes.length < size) this.#bytes = new Uint8Array(size)
    return this.#bytes
  }
}
