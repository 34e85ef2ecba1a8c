/**
 * The bank as a lane sees it: a row for each resident domain, and the trunk's inputs made from the rows of a
 * batch.
 *
 * Rows lie in memory that all lanes share, and onnxruntime-node refuses shared memory as a tensor. So each
 * row of a batch is copied to one of the lane's *places*: place p is the p-th part of each of the lane's own
 * buffers, one buffer a graph input. What holds at all times:
 *
 * - The distinct rows of a batch are in the first places, in the order in which the batch names them first.
 *   So one tensor over the first k places serves every batch of k domains; it is made once.
 * - A place that names a row holds that row's bytes as they were written last, and they are not copied again.
 *   A row that is cleared or written anew is named by no place.
 * - Buffers grow when a batch has more domains than there are places, and then places and tensors are made
 *   anew.
 */
import { free } from '../bytes/free.js'
import { type BankArray, type BankSpec, arrayType, bytesOf } from './bank-spec.js'
import type { HeadTensors } from './batch.js'
import type { SharedRow } from './messages.js'
import { RowIndex } from './row-index.js'
import type { Runtime } from './runtime/runtime.js'
import { copyBytes } from './shared-memory.js'

/** Makes tensors; the bank needs no more of a runtime. */
type TensorMaker<T> = Pick<Runtime<T>, 'tensor'>

/** Tensors by graph input. The caller adds the inputs that are not the bank's. */
type Feeds<T> = Record<string, T>

/** The bank's part of a run of the mixed graph. */
export interface MixedFeeds<T> {
  /** A tensor for each graph input of the bank, over the rows that the batch names. */
  feeds: Feeds<T>
  /** Where in those tensors each sample's row is, `[N]`. */
  places: Int32Array
  /** Whether all samples are of one row. */
  uniform: boolean
}

export class Bank<T> {
  readonly #spec: BankSpec
  readonly #runtime: TensorMaker<T>
  readonly #index = new RowIndex()
  #buffers: RowBuffers<T>
  /** Weights and biases of one head, in a buffer that grows to the largest head asked for. */
  #head: Float32Array = new Float32Array(0)
  /** The row whose head that is. */
  #headRow: number | null = null

  constructor(spec: BankSpec, runtime: TensorMaker<T>) {
    this.#spec = spec
    this.#runtime = runtime
    this.#buffers = new RowBuffers(spec, runtime, 1)
  }

  /** A further segment of shared memory, in which rows may lie from now on. */
  share(segment: SharedArrayBuffer): void {
    this.#index.share(segment)
  }

  /** Makes a row known. It must fit the trunk (`checkRow`). */
  setRow(row: number, content: SharedRow): void {
    this.clear(row)
    this.#index.set(row, content)
  }

  /** Makes a row unusable until it is set again. */
  clear(row: number): void {
    this.#index.delete(row)
    this.#buffers.forget(row)
    if (this.#headRow === row) this.#headRow = null
  }

  /** Classes of the row's head, 0 without one. @throws RangeError for a row that is empty */
  classes(row: number): number {
    return this.#index.classes(row)
  }

  /** The head of a row that has one. It stays right until the next call. */
  head(row: number): HeadTensors {
    const classes = this.classes(row)
    const weights = classes * this.#spec.features
    const elements = weights + classes
    if (this.#head.length < elements) {
      free([this.#head])
      this.#head = new Float32Array(elements)
      this.#headRow = null
    }
    const head = this.#head.subarray(0, elements)
    if (this.#headRow !== row) {
      const adapter = this.#spec.tensors.reduce((sum, { elements }) => sum + elements, 0)
      const skipped = adapter * arrayType(this.#spec.bankDtype).BYTES_PER_ELEMENT
      copyBytes(this.#index.bytes(row), [bytesOf(head)], skipped)
      this.#headRow = row
    }
    return { classes, weight: head.subarray(0, weights), bias: head.subarray(weights) }
  }

  /**
   * The inputs of the mixed graph for a batch of any rows. They are the bank's own and stay right until its
   * next call.
   * @param rows bank row of each sample, `[N]`
   * @throws RangeError for a row that is empty
   */
  mixedFeeds(rows: Int32Array): MixedFeeds<T> {
    const placeOf = new Map<number, number>()
    for (const row of rows) {
      if (placeOf.has(row)) continue
      this.classes(row)
      placeOf.set(row, placeOf.size)
    }
    this.#reserve(placeOf.size)
    for (const [row, place] of placeOf) this.#buffers.put(row, place, this.#index)
    return {
      feeds: this.#buffers.mixedFeeds(placeOf.size),
      places: rows.map((row) => placeOf.get(row)!),
      uniform: placeOf.size === 1,
    }
  }

  /**
   * The inputs of the graph for batches of one domain. They are the bank's own and stay right until its next
   * call.
   * @throws RangeError for a row that is empty
   */
  singleFeeds(row: number): Feeds<T> {
    this.classes(row)
    this.#buffers.put(row, 0, this.#index)
    return this.#buffers.singleFeeds()
  }

  #reserve(places: number): void {
    if (places <= this.#buffers.capacity) return
    this.#buffers.free()
    this.#buffers = new RowBuffers(this.#spec, this.#runtime, 2 ** Math.ceil(Math.log2(places)))
  }
}

interface Place {
  /** The row whose bytes are here, or null. */
  row: number | null
  /** This place's part of each buffer, in the order of a row's bytes. */
  readonly parts: readonly Uint8Array[]
}

/**
 * Buffers with places for so many rows, and the tensors over them. Views and tensors are made when first
 * needed and kept.
 */
class RowBuffers<T> {
  readonly capacity: number
  readonly #spec: BankSpec
  readonly #runtime: TensorMaker<T>
  /** One for each tensor of a row, `[capacity, ...dims]`. Fresh memory takes no page until it is written to. */
  readonly #arrays: readonly BankArray[]
  readonly #places: Place[] = []
  /** By number of places. */
  readonly #mixedFeeds = new Map<number, Feeds<T>>()
  #singleFeeds: Feeds<T> | undefined

  constructor(spec: BankSpec, runtime: TensorMaker<T>, capacity: number) {
    this.capacity = capacity
    this.#spec = spec
    this.#runtime = runtime
    this.#arrays = spec.tensors.map(({ elements }) => new (arrayType(spec.bankDtype))(capacity * elements))
  }

  /** Sees to it that the place holds the row. */
  put(row: number, place: number, index: RowIndex): void {
    this.#places[place] ??= { row: null, parts: this.#partsOf(place) }
    const target = this.#places[place]
    if (target.row === row) return
    copyBytes(index.bytes(row), target.parts)
    target.row = row
  }

  /** The row's bytes are no longer those in any place. */
  forget(row: number): void {
    for (const place of this.#places) if (place.row === row) place.row = null
  }

  /** Tensors over the first places, `[places, ...dims]` each. */
  mixedFeeds(places: number): Feeds<T> {
    let feeds = this.#mixedFeeds.get(places)
    if (feeds === undefined) {
      feeds = Object.fromEntries(
        this.#spec.tensors.map(({ name, dims, elements }, input) => {
          return [name, this.#tensor(this.#arrays[input]!.subarray(0, places * elements), [places, ...dims])]
        }),
      )
      this.#mixedFeeds.set(places, feeds)
    }
    return feeds
  }

  /** Tensors over the first place, as the graph for batches of one domain takes them. */
  singleFeeds(): Feeds<T> {
    this.#singleFeeds ??= Object.fromEntries(
      this.#spec.tensors.flatMap(({ single }, input) =>
        single.map(({ name, dims, offset, elements }) => {
          return [name, this.#tensor(this.#arrays[input]!.subarray(offset, offset + elements), dims)]
        }),
      ),
    )
    return this.#singleFeeds
  }

  /** Frees the buffers. Nothing of this may be used afterwards. */
  free(): void {
    free(this.#arrays)
  }

  #partsOf(place: number): Uint8Array[] {
    return this.#spec.tensors.map(({ elements }, input) => {
      return bytesOf(this.#arrays[input]!.subarray(place * elements, (place + 1) * elements))
    })
  }

  #tensor(data: BankArray, dims: readonly number[]): T {
    return data instanceof Float32Array
      ? this.#runtime.tensor('float32', data, dims)
      : this.#runtime.tensor('float16', data, dims)
  }
}
