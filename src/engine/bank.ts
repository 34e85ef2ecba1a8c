/**
 * The bank: the adapters and heads of the resident domains, one row each, as the trunks' inputs.
 *
 * Typed arrays only: it is given a function that makes a tensor of one, and knows no ONNX Runtime. It lives
 * in the worker, in plain `ArrayBuffer`s (a shared one is refused as an input). Rows are overwritten in
 * place between runs; tensors are made once.
 */
import { AFFINE, BIAS, SCALE } from '../manifest/layout.js'
import type { BankDtype, BankMode, EngineInit, HeadTensors, RowTensors } from './messages.js'

export type BankArray = Float32Array | Uint16Array
export type MakeTensor<T> = (data: BankArray, dims: readonly number[]) => T
/** Gives memory back at once: these arrays' buffers are not used again. */
export type Free = (arrays: readonly BankArray[]) => void

/** One graph input of the bank: its name, and the shape and elements of one row of it. */
interface BankInput {
  name: string
  dims: readonly number[]
  elements: number
}

/** What one run needs. */
export interface BankFeeds<T> {
  /** A tensor per graph input of the bank. */
  tensors: Readonly<Record<string, T>>
  /** Each sample's row in those tensors, `[N]`. */
  rows: ArrayLike<number>
  /** True when every sample is of one row. */
  uniform: boolean
}

type BankSpec = Pick<EngineInit, 'rows' | 'bankDtype' | 'affine' | 'biases' | 'matrices' | 'features'>

/** Rows by number, their heads, and whether they may be used. How rows become inputs is the mode's. */
export abstract class Bank<T> {
  protected readonly inputs: readonly BankInput[]
  protected readonly makeTensor: MakeTensor<T>
  protected readonly free: Free
  readonly #spec: BankSpec
  /** Heads of the rows that may be used; a row that is not here was never staged, or was cleared. */
  readonly #heads = new Map<number, HeadTensors | null>()

  constructor(spec: BankSpec, makeTensor: MakeTensor<T>, free: Free) {
    this.#spec = spec
    this.makeTensor = makeTensor
    this.free = free
    const matrices = spec.matrices.map(({ input, rows, columns }) => {
      return { name: input, dims: [rows, columns], elements: rows * columns }
    })
    this.inputs = [{ name: AFFINE, dims: [spec.affine], elements: spec.affine }, ...matrices]
  }

  /**
   * Writes a row and takes over the buffers it comes in. Either all of it is written or, when something does
   * not fit, nothing.
   * @throws RangeError naming the row and the tensor.
   */
  stage(row: number, tensors: RowTensors): void {
    const arrays = this.#check(row, tensors)
    const head = tensors.head && ownHead(tensors.head)
    this.#dropHead(row)
    this.write(row, arrays)
    this.#heads.set(row, head)
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
   * the next `stage`, `clear` or `feeds`.
   * @throws RangeError for a row that is not staged.
   */
  feeds(rows: Int32Array): BankFeeds<T> {
    for (const row of rows) this.head(row)
    return { ...this.gather(rows), uniform: rows.every((row) => row === rows[0]) }
  }

  /**
   * The inputs of a run of the trunk for one domain: views of its row.
   * @throws RangeError for a row that is not staged.
   */
  feedsOfOne(row: number): Readonly<Record<string, T>> {
    this.head(row)
    const [affine, ...matrices] = this.view(row)
    const scales = this.#spec.affine - this.#spec.biases
    const feeds: Record<string, T> = {
      [SCALE]: this.makeTensor(affine!.subarray(0, scales), [1, scales, 1, 1]),
      [BIAS]: this.makeTensor(affine!.subarray(scales), [this.#spec.biases]),
    }
    for (const [index, { input, rows, columns }] of this.#spec.matrices.entries()) {
      feeds[input] = this.makeTensor(matrices[index]!, [rows, columns, 1, 1])
    }
    return feeds
  }

  protected abstract write(row: number, arrays: readonly BankArray[]): void
  protected abstract drop(row: number): void
  /** A staged row's values, one array per input. */
  protected abstract view(row: number): readonly BankArray[]
  protected abstract gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'>

  #dropHead(row: number): void {
    const head = this.#heads.get(row)
    if (head) this.free([head.weight, head.bias])
    this.#heads.delete(row)
  }

  #check(row: number, { affine, matrices, head }: RowTensors): readonly BankArray[] {
    const { rows, bankDtype, features } = this.#spec
    if (!Number.isInteger(row) || row < 0 || row >= rows)
      throw new RangeError(`bank row ${row} is outside 0-${rows - 1}`)
    const arrays = [affine, ...matrices]
    if (arrays.length !== this.inputs.length)
      throw new RangeError(`bank row ${row}: ${arrays.length} tensors, the trunk takes ${this.inputs.length}`)
    for (const [index, { name, elements }] of this.inputs.entries()) {
      const array = arrays[index]!
      if (!(array instanceof arrayType(bankDtype)) || array.length !== elements)
        throw new RangeError(
          `bank row ${row}, ${name}: ${array.constructor.name} of ${array.length}, not ${bankDtype} of ${elements}`,
        )
    }
    if (head && (head.weight.length !== head.classes * features || head.bias.length !== head.classes))
      throw new RangeError(`bank row ${row}: the head is not [${head.classes}, ${features}] with a bias`)
    return arrays
  }
}

/**
 * The whole bank is fed to each run, which costs nothing on the CPU: inputs are not copied there.
 *
 * One array per graph input holds all rows. Fresh zeroed memory takes no page until it is written, so that
 * rows cost their bytes when they are staged.
 */
export class ResidentBank<T> extends Bank<T> {
  readonly #arrays: readonly BankArray[]
  readonly #tensors: Readonly<Record<string, T>>

  constructor(spec: BankSpec, makeTensor: MakeTensor<T>, free: Free) {
    super(spec, makeTensor, free)
    this.#arrays = this.inputs.map(({ elements }) => new (arrayType(spec.bankDtype))(spec.rows * elements))
    this.#tensors = Object.fromEntries(
      this.inputs.map(({ name, dims }, index) => {
        return [name, makeTensor(this.#arrays[index]!, [spec.rows, ...dims])]
      }),
    )
  }

  protected override write(row: number, arrays: readonly BankArray[]): void {
    for (const [index, { elements }] of this.inputs.entries()) {
      this.#arrays[index]!.set(arrays[index]!, row * elements)
    }
    this.free(arrays)
  }

  protected override drop(): void {}

  protected override view(row: number): readonly BankArray[] {
    return this.inputs.map(({ elements }, index) => {
      return this.#arrays[index]!.subarray(row * elements, (row + 1) * elements)
    })
  }

  protected override gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'> {
    return { tensors: this.#tensors, rows }
  }
}

/**
 * Only the rows of the batch's domains are fed, renumbered: for devices to which every input is copied at
 * each run. A batch of one domain feeds that row's own arrays; others are gathered into buffers that are
 * kept and grow as batches of more domains come.
 */
export class CompactBank<T> extends Bank<T> {
  readonly #dtype: BankDtype
  readonly #rows = new Map<number, { arrays: readonly BankArray[]; tensors: Readonly<Record<string, T>> }>()
  #gathered: BankArray[] = []
  #capacity = 0
  /** By number of distinct rows. */
  readonly #gatheredTensors = new Map<number, Readonly<Record<string, T>>>()

  constructor(spec: BankSpec, makeTensor: MakeTensor<T>, free: Free) {
    super(spec, makeTensor, free)
    this.#dtype = spec.bankDtype
  }

  protected override write(row: number, arrays: readonly BankArray[]): void {
    const own = arrays.map((array) => ownArray(array))
    this.drop(row)
    this.#rows.set(row, { arrays: own, tensors: this.#tensorsOf(own, 1) })
  }

  protected override drop(row: number): void {
    this.free(this.#rows.get(row)?.arrays ?? [])
    this.#rows.delete(row)
  }

  protected override view(row: number): readonly BankArray[] {
    return this.#rows.get(row)!.arrays
  }

  protected override gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'> {
    const place = new Map<number, number>()
    for (const row of rows) if (!place.has(row)) place.set(row, place.size)
    const renumbered = rows.map((row) => place.get(row)!)
    if (place.size === 1) return { tensors: this.#rows.get(rows[0]!)!.tensors, rows: renumbered }
    this.#reserve(place.size)
    for (const [row, to] of place) {
      const { arrays } = this.#rows.get(row)!
      for (const [index, { elements }] of this.inputs.entries()) {
        this.#gathered[index]!.set(arrays[index]!, to * elements)
      }
    }
    let tensors = this.#gatheredTensors.get(place.size)
    if (!tensors) {
      tensors = this.#tensorsOf(this.#gathered, place.size)
      this.#gatheredTensors.set(place.size, tensors)
    }
    return { tensors, rows: renumbered }
  }

  #reserve(rows: number): void {
    if (rows <= this.#capacity) return
    this.#capacity = 2 ** Math.ceil(Math.log2(rows))
    this.#gathered = this.inputs.map(
      ({ elements }) => new (arrayType(this.#dtype))(this.#capacity * elements),
    )
    this.#gatheredTensors.clear()
  }

  #tensorsOf(arrays: readonly BankArray[], rows: number): Readonly<Record<string, T>> {
    return Object.fromEntries(
      this.inputs.map(({ name, dims, elements }, index) => {
        return [name, this.makeTensor(arrays[index]!.subarray(0, rows * elements), [rows, ...dims])]
      }),
    )
  }
}

export function makeBank<T>(mode: BankMode, spec: BankSpec, makeTensor: MakeTensor<T>, free: Free): Bank<T> {
  return mode === 'resident'
    ? new ResidentBank(spec, makeTensor, free)
    : new CompactBank(spec, makeTensor, free)
}

function arrayType(dtype: BankDtype): Float32ArrayConstructor | Uint16ArrayConstructor {
  return dtype === 'f32' ? Float32Array : Uint16Array
}

/** The array itself, or a copy where it is a part of a larger buffer, which would be kept alive as a whole. */
function ownArray<A extends BankArray>(array: A): A {
  return (array.byteLength === array.buffer.byteLength ? array : array.slice()) as A
}

function ownHead({ classes, weight, bias }: HeadTensors): HeadTensors {
  return { classes, weight: ownArray(weight), bias: ownArray(bias) }
}
