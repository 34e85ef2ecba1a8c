/**
 * The bank as a lane sees it: the adapters and heads of the resident domains, one row each, as the trunks' inputs.
 *
 * Typed arrays only: it is given a function that makes a tensor of one, and knows no ONNX Runtime. What it feeds
 * lies in plain `ArrayBuffer`s of its own, because onnxruntime-node refuses shared ones. Tensors are made once.
 */
import { BIAS, SCALE } from '../manifest/layout.js'
import { type BankArray, type BankInput, type BankSpec, arrayType, bankInputs } from './bank-spec.js'
import type { BankMode, HeadTensors, RowTensors } from './messages.js'

export type MakeTensor<T> = (data: BankArray, dims: readonly number[]) => T
/** Gives memory back at once: these arrays' buffers are not used again. */
export type Free = (arrays: readonly BankArray[]) => void

type Feeds<T> = Readonly<Record<string, T>>

/** What one run needs. */
export interface BankFeeds<T> {
  /** A tensor per graph input of the bank. */
  tensors: Feeds<T>
  /** Each sample's row in those tensors, `[N]`. */
  rows: ArrayLike<number>
  /** True when every sample is of one row. */
  uniform: boolean
}

/** Rows by number, their heads, and whether they may be used. How rows become inputs is the mode's. */
export abstract class Bank<T> {
  protected readonly spec: BankSpec
  protected readonly inputs: readonly BankInput[]
  protected readonly makeTensor: MakeTensor<T>
  protected readonly free: Free
  /** Heads of the rows that may be used; a row that is not here was never staged, or was cleared. */
  readonly #heads = new Map<number, HeadTensors | null>()

  constructor(spec: BankSpec, makeTensor: MakeTensor<T>, free: Free) {
    this.spec = spec
    this.makeTensor = makeTensor
    this.free = free
    this.inputs = bankInputs(spec)
  }

  /** Writes a row that fits (`checkRow`), and takes over the buffers it comes in. */
  stage(row: number, { affine, matrices, head }: RowTensors): void {
    this.#dropHead(row)
    this.write(row, [affine, ...matrices])
    this.#heads.set(row, head && ownHead(head))
  }

  /** Makes a row unusable until it is staged again, and lets go of its head. */
  clear(row: number): void {
    this.#dropHead(row)
    this.drop(row)
  }

  /** The head of a row, null without. @throws RangeError for a row that is not staged. */
  head(row: number): HeadTensors | null {
    const head = this.#heads.get(row)
    if (head === undefined) throw new RangeError(`bank row ${row} is not staged`)
    return head
  }

  /**
   * The inputs of a run over these rows, one per sample. The tensors are the bank's own and stay right until
   * its next call.
   * @throws RangeError for a row that is not staged.
   */
  feeds(rows: Int32Array): BankFeeds<T> {
    for (const row of rows) this.head(row)
    return { ...this.gather(rows), uniform: rows.every((row) => row === rows[0]) }
  }

  /**
   * The inputs of a run of the trunk for one domain, right until the next call.
   * @throws RangeError for a row that is not staged.
   */
  feedsOfOne(row: number): Feeds<T> {
    this.head(row)
    return this.one(row)
  }

  protected abstract write(row: number, arrays: readonly BankArray[]): void
  protected abstract drop(row: number): void
  protected abstract one(row: number): Feeds<T>
  protected abstract gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'>

  /** Tensors for the trunk for one domain. @param arrays one row's values, one array per input */
  protected tensorsOfOne([affine, ...matrices]: readonly BankArray[]): Feeds<T> {
    const scales = this.spec.affine - this.spec.biases
    const feeds: Record<string, T> = {
      [SCALE]: this.makeTensor(affine!.subarray(0, scales), [1, scales, 1, 1]),
      [BIAS]: this.makeTensor(affine!.subarray(scales), [this.spec.biases]),
    }
    for (const [index, { input, rows, columns }] of this.spec.matrices.entries()) {
      feeds[input] = this.makeTensor(matrices[index]!, [rows, columns, 1, 1])
    }
    return feeds
  }

  /** Tensors for the trunk for any domains. @param arrays of `rows` rows or more, one per input */
  protected tensorsOfMany(arrays: readonly BankArray[], rows: number): Feeds<T> {
    return Object.fromEntries(
      this.inputs.map(({ name, dims, elements }, index) => {
        return [name, this.makeTensor(arrays[index]!.subarray(0, rows * elements), [rows, ...dims])]
      }),
    )
  }

  /** One array per graph input, for so many rows. Fresh zeroed memory takes no page until it is written. */
  protected arraysFor(rows: number): BankArray[] {
    return this.inputs.map(({ elements }) => new (arrayType(this.spec.bankDtype))(rows * elements))
  }

  #dropHead(row: number): void {
    const head = this.#heads.get(row)
    if (head) this.free([head.weight, head.bias])
    this.#heads.delete(row)
  }
}

/** The whole bank is fed to each run, which costs nothing on the CPU: inputs are not copied there. */
class ResidentBank<T> extends Bank<T> {
  readonly #arrays: readonly BankArray[]
  readonly #tensors: Feeds<T>

  constructor(spec: BankSpec, makeTensor: MakeTensor<T>, free: Free) {
    super(spec, makeTensor, free)
    this.#arrays = this.arraysFor(spec.rows)
    this.#tensors = this.tensorsOfMany(this.#arrays, spec.rows)
  }

  protected override write(row: number, arrays: readonly BankArray[]): void {
    for (const [index, { elements }] of this.inputs.entries()) {
      this.#arrays[index]!.set(arrays[index]!, row * elements)
    }
    this.free(arrays)
  }

  protected override drop(): void {}

  protected override one(row: number): Feeds<T> {
    return this.tensorsOfOne(
      this.inputs.map(({ elements }, index) => {
        return this.#arrays[index]!.subarray(row * elements, (row + 1) * elements)
      }),
    )
  }

  protected override gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'> {
    return { tensors: this.#tensors, rows }
  }
}

/**
 * Only the rows of the batch's domains are fed, renumbered: copied from where they lie, which other lanes may
 * read too, into buffers that are kept and grow as batches of more domains come.
 */
class GatheringBank<T> extends Bank<T> {
  readonly #rows = new Map<number, readonly BankArray[]>()
  #gathered: BankArray[] = []
  #capacity = 0
  /** Which row lies at each place of `#gathered`: what is there already is not copied again. */
  #places: (number | undefined)[] = []
  /** By number of distinct rows. */
  readonly #tensors = new Map<number, Feeds<T>>()
  #tensorsOne: Feeds<T> | undefined

  protected override write(row: number, arrays: readonly BankArray[]): void {
    this.drop(row)
    this.#rows.set(row, arrays)
  }

  protected override drop(row: number): void {
    this.#rows.delete(row)
    this.#places = this.#places.map((held) => (held === row ? undefined : held))
  }

  protected override one(row: number): Feeds<T> {
    this.#reserve(1)
    this.#copy(row, 0)
    this.#tensorsOne ??= this.tensorsOfOne(
      this.inputs.map(({ elements }, index) => this.#gathered[index]!.subarray(0, elements)),
    )
    return this.#tensorsOne
  }

  protected override gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'> {
    const places = new Map<number, number>()
    for (const row of rows) if (!places.has(row)) places.set(row, places.size)
    const distinct = places.size
    this.#reserve(distinct)
    for (const [row, place] of places) this.#copy(row, place)
    let tensors = this.#tensors.get(distinct)
    if (!tensors) {
      tensors = this.tensorsOfMany(this.#gathered, distinct)
      this.#tensors.set(distinct, tensors)
    }
    return { tensors, rows: rows.map((row) => places.get(row)!) }
  }

  #copy(row: number, place: number): void {
    if (this.#places[place] === row) return
    const arrays = this.#rows.get(row)!
    for (const [index, { elements }] of this.inputs.entries()) {
      this.#gathered[index]!.set(arrays[index]!, place * elements)
    }
    this.#places[place] = row
  }

  #reserve(rows: number): void {
    if (rows <= this.#capacity) return
    this.free(this.#gathered)
    this.#capacity = 2 ** Math.ceil(Math.log2(rows))
    this.#gathered = this.arraysFor(this.#capacity)
    this.#places = []
    this.#tensors.clear()
    this.#tensorsOne = undefined
  }
}

export function makeBank<T>(mode: BankMode, spec: BankSpec, makeTensor: MakeTensor<T>, free: Free): Bank<T> {
  return new (mode === 'resident' ? ResidentBank : GatheringBank)(spec, makeTensor, free)
}

/** The head itself, or a copy where it is a part of a larger buffer, which would be kept alive as a whole. */
function ownHead({ classes, weight, bias }: HeadTensors): HeadTensors {
  const own = (array: Float32Array) => (array.byteLength === array.buffer.byteLength ? array : array.slice())
  return { classes, weight: own(weight), bias: own(bias) }
}
