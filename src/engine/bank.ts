/**
 * The bank as a lane sees it: a row for each resident domain, and the trunk's inputs made from the rows of a
 * batch.
 *
 * Rows lie in memory that all lanes share, and onnxruntime-node refuses shared memory as a tensor. So each
 * row of a batch is copied to one of the lane's *places*: place p is the p-th part of each of the lane's own
 * buffers, one buffer a graph input. The affine rows have places of their own, and so have all further tensors
 * together (matrices), because a row may have either of its own or the base's. What holds at all times:
 *
 * - The distinct rows of a batch are in the first places, in the order in which the batch names them first.
 *   So one tensor over the first k places serves every batch of k rows; it is made once.
 * - A place that names a row holds that row's bytes as they were written last, and they are not copied again.
 *   A row that is cleared or written anew is named by no place.
 * - Buffers grow when a batch has more rows than there are places, and then places and tensors are made
 *   anew.
 */
import { decodeFloat16 } from '../bytes/float16.js'
import { free } from '../bytes/free.js'
import { type BankArray, type BankSpec, arrayType, bytesOf } from './bank-spec.js'
import type { FloatHead } from './heads.js'
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
  /** Where in the affine rows each sample's is, `[N]`. */
  places: Int32Array
  /** The same for its matrices; `[1]` where all samples have the same ones. */
  matrixPlaces: Int32Array
}

export class Bank<T> {
  readonly #spec: BankSpec
  readonly #index = new RowIndex()
  readonly #affine: Places<T>
  readonly #matrices: Places<T>
  readonly #head: HeadBuffer

  constructor(spec: BankSpec, runtime: TensorMaker<T>) {
    this.#spec = spec
    this.#affine = new Places({ ...spec, tensors: spec.tensors.slice(0, 1) }, 0, runtime, this.#index)
    const affine = bytesPerRow({ ...spec, tensors: spec.tensors.slice(0, 1) })
    this.#matrices = new Places({ ...spec, tensors: spec.tensors.slice(1) }, affine, runtime, this.#index)
    this.#head = new HeadBuffer(spec.features)
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
    this.#affine.forget(row)
    this.#matrices.forget(row)
    this.#head.forget(row)
  }

  /** Classes of the row's head, 0 without one. @throws RangeError for a row that is empty */
  classes(row: number): number {
    return this.#index.classes(row)
  }

  /** The head of a row that has one. It stays right until the next call. */
  head(row: number): FloatHead {
    const classes = this.classes(row)
    const { bankDtype, tensors } = this.#spec
    const before = bytesPerRow({ bankDtype, tensors: tensors.slice(0, this.#index.own(row)) })
    return this.#head.read(row, { classes, half: this.#index.halfHead(row), before }, this.#index)
  }

  /**
   * Whether all these rows have the same adapter: they are one row, or have nothing but heads of their own.
   * @throws RangeError for a row that is empty
   */
  hasOneAdapter(rows: Int32Array): boolean {
    const [first] = rows
    return rows.every((row) => {
      return (
        this.#affineRow(row) === this.#affineRow(first!) && this.#matrixRow(row) === this.#matrixRow(first!)
      )
    })
  }

  /**
   * The inputs of the mixed graph for a batch of any rows. They are the bank's own and stay right until its
   * next call.
   * @param rows bank row of each sample, `[N]`
   * @throws RangeError for a row that is empty
   */
  mixedFeeds(rows: Int32Array): MixedFeeds<T> {
    const affine = this.#affine.of(rows.map((row) => this.#affineRow(row)))
    const matrices = this.#matrices.of(rows.map((row) => this.#matrixRow(row)))
    return {
      feeds: { ...affine.feeds, ...matrices.feeds },
      places: affine.places,
      // One matrix for all samples is broadcast; the graph then copies none.
      matrixPlaces: matrices.count === 1 ? matrices.places.subarray(0, 1) : matrices.places,
    }
  }

  /**
   * The inputs of the graph for batches of one domain. They are the bank's own and stay right until its next
   * call.
   * @throws RangeError for a row that is empty
   */
  singleFeeds(row: number): Feeds<T> {
    return {
      ...this.#affine.single(this.#affineRow(row)),
      ...this.#matrices.single(this.#matrixRow(row)),
    }
  }

  /** The row that has the affine row of this one: itself, or the base's. */
  #affineRow(row: number): number {
    this.classes(row)
    return this.#index.own(row) > 0 ? row : 0
  }

  /** The same for its matrices. */
  #matrixRow(row: number): number {
    this.classes(row)
    return this.#index.own(row) > 1 ? row : 0
  }
}

function bytesPerRow({ bankDtype, tensors }: Pick<BankSpec, 'bankDtype' | 'tensors'>): number {
  const elements = tensors.reduce((sum, tensor) => sum + tensor.elements, 0)
  return elements * arrayType(bankDtype).BYTES_PER_ELEMENT
}

/** The last head that was asked for, in buffers that grow to the largest one. */
class HeadBuffer {
  readonly #features: number
  #weight = new Float32Array(0)
  #half = new Uint16Array(0)
  #bias = new Float32Array(0)
  #row: number | null = null

  /** @param features length of the feature vector */
  constructor(features: number) {
    this.#features = features
  }

  forget(row: number): void {
    if (this.#row === row) this.#row = null
  }

  /** @param before bytes of the row in front of its head */
  read(
    row: number,
    { classes, half, before }: { classes: number; half: boolean; before: number },
    index: RowIndex,
  ): FloatHead {
    const weights = classes * this.#features
    if (this.#bias.length < classes) {
      free([this.#weight, this.#bias])
      this.#weight = new Float32Array(weights)
      this.#bias = new Float32Array(classes)
      this.#row = null
    }
    const weight = this.#weight.subarray(0, weights)
    const bias = this.#bias.subarray(0, classes)
    if (this.#row !== row) {
      if (half && this.#half.length < weights) this.#half = new Uint16Array(weights)
      const stored = half ? this.#half.subarray(0, weights) : weight
      copyBytes(index.bytes(row), [bytesOf(stored), bytesOf(bias)], before)
      if (stored instanceof Uint16Array) decodeFloat16(stored, weight)
      this.#row = row
    }
    return { classes, weight, bias }
  }
}

/** Rows of some tensors, each in a place of its own; there are as many places as a batch had distinct rows. */
class Places<T> {
  readonly #spec: BankSpec
  /** Bytes of a row in front of these tensors. */
  readonly #before: number
  readonly #runtime: TensorMaker<T>
  readonly #index: RowIndex
  #buffers: RowBuffers<T>

  constructor(spec: BankSpec, before: number, runtime: TensorMaker<T>, index: RowIndex) {
    this.#spec = spec
    this.#before = before
    this.#runtime = runtime
    this.#index = index
    this.#buffers = new RowBuffers(spec, runtime, 1)
  }

  forget(row: number): void {
    this.#buffers.forget(row)
  }

  /**
   * Tensors over the distinct ones of these rows, and the place of each.
   * @param rows `[N]`, each of which has these tensors itself
   */
  of(rows: Int32Array): { feeds: Feeds<T>; places: Int32Array; count: number } {
    const placeOf = new Map<number, number>()
    for (const row of rows) if (!placeOf.has(row)) placeOf.set(row, placeOf.size)
    this.#reserve(placeOf.size)
    for (const [row, place] of placeOf) this.#put(row, place)
    return {
      feeds: this.#buffers.mixedFeeds(placeOf.size),
      places: rows.map((row) => placeOf.get(row)!),
      count: placeOf.size,
    }
  }

  /** Tensors of this row as the graph for batches of one domain takes them. */
  single(row: number): Feeds<T> {
    this.#put(row, 0)
    return this.#buffers.singleFeeds()
  }

  #put(row: number, place: number): void {
    this.#buffers.put(row, place, (parts) => copyBytes(this.#index.bytes(row), parts, this.#before))
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

  /** Sees to it that the place holds the row. @param copy copies the row's bytes to these parts */
  put(row: number, place: number, copy: (parts: readonly Uint8Array[]) => void): void {
    this.#places[place] ??= { row: null, parts: this.#partsOf(place) }
    const target = this.#places[place]
    if (target.row === row) return
    copy(target.parts)
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
