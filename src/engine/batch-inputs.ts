/**
 * The trunk's inputs that differ from run to run: the pixels, and the rows of each sample.
 *
 * Buffers, and a tensor for each size, are kept. New tensors for each run would be garbage that only a full
 * collection finds, which looks like a leak (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
import type { Runtime } from './runtime/runtime.js'

type TensorMaker<T> = Pick<Runtime<T>, 'tensor'>

export class BatchInputs<T> {
  readonly #runtime: TensorMaker<T>
  #pixels = new Uint8Array(0)
  readonly #pixelTensors = new Map<string, T>()
  readonly #rows: RowNumbers<T>
  readonly #matrixRows: RowNumbers<T>

  constructor(runtime: TensorMaker<T>) {
    this.#runtime = runtime
    this.#rows = new RowNumbers(runtime)
    this.#matrixRows = new RowNumbers(runtime)
  }

  /**
   * Copies the pixels of a batch. They stay right until the next call.
   * @param dims `[N, H, W, 3]`; N may be more than the batch has, and the pixels of those samples are
   * undefined
   */
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

  /**
   * The affine row of each sample, `[size]`, right until the next call.
   * @param size samples of the run; those beyond the batch's get the row of its first
   */
  rows(rows: ArrayLike<number>, size: number): T {
    return this.#rows.tensor(rows, size)
  }

  /** The same of the matrices. @param size 1 where all samples have the same ones */
  matrixRows(rows: ArrayLike<number>, size: number): T {
    return this.#matrixRows.tensor(rows, size)
  }
}

/** An input of one number for each sample. */
class RowNumbers<T> {
  readonly #runtime: TensorMaker<T>
  #numbers = new BigInt64Array(0)
  readonly #tensors = new Map<number, T>()

  constructor(runtime: TensorMaker<T>) {
    this.#runtime = runtime
  }

  tensor(rows: ArrayLike<number>, size: number): T {
    if (this.#numbers.length < size) {
      this.#numbers = new BigInt64Array(size)
      this.#tensors.clear()
    }
    for (let n = 0; n < size; n++) this.#numbers[n] = BigInt(rows[n < rows.length ? n : 0]!)
    return kept(this.#tensors, size, () => {
      return this.#runtime.tensor('int64', this.#numbers.subarray(0, size), [size])
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
