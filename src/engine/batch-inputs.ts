/**
 * What differs from run to run in the trunks' inputs: the pixels, and the rows of the samples.
 *
 * In buffers that are kept, with a tensor for each size. A tensor a run, held beside the bank's until the next run of its
 * kind, would be garbage that only a full collection finds: some kilobytes a second that look like a leak
 * (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
import type { Runtime } from './runtime/runtime.js'

export class BatchInputs<T> {
  readonly #runtime: Pick<Runtime<T>, 'tensor'>
  #pixels = new Uint8Array(0)
  readonly #pixelTensors = new Map<string, T>()
  #rows = new BigInt64Array(0)
  readonly #rowTensors = new Map<number, T>()

  constructor(runtime: Pick<Runtime<T>, 'tensor'>) {
    this.#runtime = runtime
  }

  /** Copies the pixels of a batch, right until the next call. @param dims `[N, H, W, 3]`, N those of the batch or more: what
   * lies behind its pixels is undefined then */
  pixels(pixels: Uint8Array, dims: readonly number[]): T {
    const bytes = dims.reduce((product, dim) => product * dim, 1)
    if (this.#pixels.length < bytes) {
      this.#pixels = new Uint8Array(bytes)
      this.#pixelTensors.clear()
    }
    this.#pixels.set(pixels)
    return kept(this.#pixelTensors, dims.join('x'), () => {
      return this.#runtime.tensor('uint8', this.#pixels.subarray(0, bytes), dims)
    })
  }

  /** The row of each sample, `[size]`, right until the next call; samples behind those of the batch get its first one's. */
  rows(rows: ArrayLike<number>, size: number): T {
    if (this.#rows.length < size) {
      this.#rows = new BigInt64Array(size)
      this.#rowTensors.clear()
    }
    for (let n = 0; n < size; n++) this.#rows[n] = BigInt(rows[n < rows.length ? n : 0]!)
    return this.#rowsOf(size)
  }

  /** The first sample's row alone, `[1]`, of the last call of `rows`. */
  firstRow(): T {
    return this.#rowsOf(1)
  }

  #rowsOf(size: number): T {
    return kept(this.#rowTensors, size, () => {
      return this.#runtime.tensor('int64', this.#rows.subarray(0, size), [size])
    })
  }
}

function kept<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}
