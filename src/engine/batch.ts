/** What lanes are given and what they give back: rows of the bank, batches, results. */

/** One bank row. f16 values travel as their 16 bits. */
export interface RowTensors {
  /**
   * The first tensors of the family's `BankLayout`, in its order: all of them, the affine row alone, or none. Those
   * left out are the base's, and take no memory.
   */
  tensors: (Float32Array | Uint16Array)[]
  head: HeadTensors | null
}

export interface HeadTensors {
  classes: number
  /** `[classes, F]`, in single precision or the bits of half precision. */
  weight: Float32Array | Uint16Array
  /** `[classes]` */
  bias: Float32Array
}

export interface EngineBatch {
  /** `[N, H, W, 3]` */
  pixels: Uint8Array
  /** Bank row of each sample, `[N]`. */
  rows: Int32Array
}

export interface EngineResult {
  /** `[N, F]` */
  features: Float32Array
  /** For each sample the logits of its domain's head, `[classes]`; null where the row has no head. */
  logits: (Float32Array | null)[]
  /** Milliseconds that the trunk and the heads took. */
  inferenceMs: number
  /** Runs of the trunk in this lane so far, those at its start included. */
  runs: number
  /** A dedicated network ran it, not the trunk. */
  dedicated?: boolean
}

/**
 * The pixels as the whole of a buffer: themselves, or a copy where they are a part of a larger one, all of which would go
 * along with them.
 */
export function ownPixels(pixels: Uint8Array): Uint8Array<ArrayBuffer> {
  // Not `slice`: that of a Node `Buffer` does not copy.
  const whole = pixels.byteLength === pixels.buffer.byteLength
  return whole ? (pixels as Uint8Array<ArrayBuffer>) : new Uint8Array(pixels)
}
