/**
 * The bank as a lane sees it: the adapters and heads of the resident domains, one row each, as the trunks' inputs.
 *
 * Typed arrays only: it is given a function that makes a tensor of one, and knows no ONNX Runtime. What it feeds
 * lies in plain `ArrayBuffer`s of its own, because onnxruntime-node refuses shared ones. Tensors are made once.
 */
import { BIAS, SCALE } from '../manifest/layout.js'
import { type BankArray, type BankInput, type BankSpec, arrayType, bankInputs, bytesOf } from './bank-spec.js'
import type { BankMode, HeadTensors, RowTensors, SharedRow } from './messages.js'
import type { Runtime } from './runtime/runtime.js'
import { copyBytes } from './shared-memory.js'

/** Gives memory back at once: these arrays' buffers are not used again. */
export type Free = (arrays: readonly BankArray[]) => void

/** The bank's tensors by input; whoever runs them adds the other inputs. */
type Feeds<T> = Record<string, T>

/** What one run needs. */
export interface BankFeeds<T> {
  /** A tensor per graph input of the bank. */
  tensors: Feeds<T>
  /** Each sample's row in those tensors, `[N]`. */
  rows: ArrayLike<number>
  /** True when every sample is of one row. */
  uniform: boolean
}

/** Rows by number, and whether they may be used. What a row comes in, and how rows become inputs, is the mode's. */
export abstract class Bank<T, Row = RowTensors | SharedRow> {
  protected readonly spec: BankSpec
  protected readonly inputs: readonly BankInput[]
  readonly #runtime: Pick<Runtime<T>, 'tensor'>
  protected readonly free: Free
  /** Shared memory, in which rows may lie. */
  protected readonly segments: SharedArrayBuffer[] = []

  constructor(spec: BankSpec, runtime: Pick<Runtime<T>, 'tensor'>, free: Free) {
    this.spec = spec
    this.#runtime = runtime
    this.free = free
    this.inputs = bankInputs(spec)
  }

  /** A further segment of shared memory. */
  share(segment: SharedArrayBuffer): void {
    this.segments.push(segment)
  }

  /** Brings in a row that fits (`checkRow`); buffers that are not shared are taken over. */
  abstract stage(row: number, content: Row): void

  /** Makes a row unusable until it is staged again, and lets go of its head. */
  abstract clear(row: number): void

  /** Classes of the row's head, 0 without. @throws RangeError for a row that is not staged. */
  abstract classes(row: number): number

  /** The head of a row that has one, right until the next call. */
  abstract head(row: number): HeadTensors

  /**
   * The inputs of a run over these rows, one per sample. The tensors are the bank's own and stay right until
   * its next call.
   * @throws RangeError for a row that is not staged.
   */
  feeds(rows: Int32Array): BankFeeds<T> {
    for (const row of rows) this.classes(row)
    return { ...this.gather(rows), uniform: rows.every((row) => row === rows[0]) }
  }

  /**
   * The inputs of a run of the trunk for one domain, right until the next call.
   * @throws RangeError for a row that is not staged.
   */
  feedsOfOne(row: number): Feeds<T> {
    this.classes(row)
    return this.one(row)
  }

  protected abstract one(row: number): Feeds<T>
  protected abstract gather(rows: Int32Array): Omit<BankFeeds<T>, 'uniform'>

  /** Tensors for the trunk for one domain. @param arrays one row's values, one array per input */
  protected tensorsOfOne([affine, ...matrices]: readonly BankArray[]): Feeds<T> {
    const scales = this.spec.affine - this.spec.biases
    const feeds: Record<string, T> = {
      [SCALE]: this.#tensor(affine!.subarray(0, scales), [1, scales, 1, 1]),
      [BIAS]: this.#tensor(affine!.subarray(scales), [this.spec.biases]),
    }
    for (const [index, { input, rows, columns }] of this.spec.matrices.entries()) {
      feeds[input] = this.#tensor(matrices[index]!, [rows, columns, 1, 1])
    }
    return feeds
  }

  /** Tensors for the trunk for any domains. @param arrays of `rows` rows or more, one per input */
  protected tensorsOfMany(arrays: readonly BankArray[], rows: number): Feeds<T> {
    return Object.fromEntries(
      this.inputs.map(({ name, dims, elements }, index) => {
        return [name, this.#tensor(arrays[index]!.subarray(0, rows * elements), [rows, ...dims])]
      }),
    )
  }

  #tensor(data: BankArray, dims: readonly number[]): T {
    return data instanceof Float32Array
      ? this.#runtime.tensor('float32', data, dims)
      : this.#runtime.tensor('float16', data, dims)
  }

  /** One array per graph input, for so many rows. Fresh zeroed memory takes no page until it is written. */
  protected arraysFor(rows: number): BankArray[] {
    return this.inputs.map(({ elements }) => new (arrayType(this.spec.bankDtype))(rows * elements))
  }
}

function notStaged(row: number): RangeError {
  return new RangeError(`bank row ${row} is not staged`)
}

/** The whole bank is fed to each run, which costs nothing on the CPU: inputs are not copied there. */
class ResidentBank<T> extends Bank<T, RowTensors> {
  readonly #heads = new Map<number, HeadTensors | null>()
  readonly #arrays: readonly BankArray[]
  readonly #tensors: Feeds<T>

  constructor(spec: BankSpec, runtime: Pick<Runtime<T>, 'tensor'>, free: Free) {
    super(spec, runtime, free)
    this.#arrays = this.arraysFor(spec.rows)
    this.#tensors = this.tensorsOfMany(this.#arrays, spec.rows)
  }

  override stage(row: number, { affine, matrices, head }: RowTensors): void {
    this.clear(row)
    const arrays = [affine, ...matrices]
    for (const [index, { elements }] of this.inputs.entries()) {
      this.#arrays[index]!.set(arrays[index]!, row * elements)
    }
    this.free(arrays)
    this.#heads.set(row, head && ownHead(head))
  }

  override clear(row: number): void {
    const head = this.#heads.get(row)
    if (head) this.free([head.weight, head.bias])
    this.#heads.delete(row)
  }

  override classes(row: number): number {
    const head = this.#heads.get(row)
    if (head === undefined) throw notStaged(row)
    return head?.classes ?? 0
  }

  override head(row: number): HeadTensors {
    return this.#heads.get(row)!
  }

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

/** Where a row lies in shared memory. */
interface StagedRow {
  /** Segment, start and length of each span, one after the other; what lies behind `used` is left of an earlier row. */
  spans: number[]
  used: number
  /** Null while the row is not staged. */
  classes: number | null
}

/**
 * Only the rows of the batch's domains are fed, renumbered: copied from where they lie, which other lanes read
 * too, into buffers that are kept and grow as batches of more domains come.
 */
class GatheringBank<T> extends Bank<T, SharedRow> {
  /** Kept when a row goes, and written over: rows come and go all the time, and what lives for seconds is garbage that only
   * a full collection finds. */
  readonly #rows = new Map<number, StagedRow>()
  #gathered: BankArray[] = []
  #capacity = 0
  /** Which row lies at each place of `#gathered`: what is there already is not copied again. */
  #places: (number | undefined)[] = []
  /** By place. */
  #targets: Uint8Array[][] = []
  /** By number of distinct rows. */
  readonly #tensors = new Map<number, Feeds<T>>()
  #tensorsOne: Feeds<T> | undefined
  /** The head that was asked for last, and whose it is. */
  #head: Float32Array = new Float32Array(0)
  #headOf: number | undefined

  override stage(row: number, { spans, classes }: SharedRow): void {
    this.clear(row)
    let own = this.#rows.get(row)
    if (own === undefined) {
      own = { spans: [], used: 0, classes: null }
      this.#rows.set(row, own)
    }
    own.classes = classes
    for (const { segment, start, length } of spans)
      for (const number of [segment, start, length]) own.spans[own.used++] = number
  }

  override clear(row: number): void {
    const own = this.#rows.get(row)
    if (own) {
      own.classes = null
      own.used = 0
    }
    this.#places = this.#places.map((held) => (held === row ? undefined : held))
    if (this.#headOf === row) this.#headOf = undefined
  }

  override classes(row: number): number {
    const classes = this.#rows.get(row)?.classes ?? null
    if (classes === null) throw notStaged(row)
    return classes
  }

  override head(row: number): HeadTensors {
    const classes = this.classes(row)
    const weights = classes * this.spec.features
    const elements = weights + classes
    if (this.#head.length < elements) {
      this.free([this.#head])
      this.#head = new Float32Array(elements)
      this.#headOf = undefined
    }
    const head = this.#head.subarray(0, elements)
    if (this.#headOf !== row) {
      const adapter = this.inputs.reduce((sum, { elements }) => sum + elements, 0)
      copyBytes(this.#bytes(row), [bytesOf(head)], adapter * arrayType(this.spec.bankDtype).BYTES_PER_ELEMENT)
      this.#headOf = row
    }
    return { classes, weight: head.subarray(0, weights), bias: head.subarray(weights) }
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
    this.#targets[place] ??= this.#bytesAt(place)
    copyBytes(this.#bytes(row), this.#targets[place])
    this.#places[place] = row
  }

  /** What a row at this place of `#gathered` goes to, in the order of its bytes. */
  #bytesAt(place: number): Uint8Array[] {
    const [affine, ...matrices] = this.inputs.map(({ elements }, index) => {
      return bytesOf(this.#gathered[index]!.subarray(place * elements, (place + 1) * elements))
    })
    return [...matrices, affine!]
  }

  #bytes(row: number): Uint8Array[] {
    const { spans, used } = this.#rows.get(row)!
    const bytes: Uint8Array[] = []
    for (let i = 0; i < used; i += 3)
      bytes.push(new Uint8Array(this.segments[spans[i]!]!, spans[i + 1]!, spans[i + 2]!))
    return bytes
  }

  #reserve(rows: number): void {
    if (rows <= this.#capacity) return
    this.free(this.#gathered)
    this.#capacity = 2 ** Math.ceil(Math.log2(rows))
    this.#gathered = this.arraysFor(this.#capacity)
    this.#places = []
    this.#targets = []
    this.#tensors.clear()
    this.#tensorsOne = undefined
  }
}

/** In `resident` mode rows come in tensors, in the others in shared memory. */
export function makeBank<T>(
  mode: BankMode,
  spec: BankSpec,
  runtime: Pick<Runtime<T>, 'tensor'>,
  free: Free,
): Bank<T> {
  return new (mode === 'resident' ? ResidentBank : GatheringBank)(spec, runtime, free)
}

/** The head itself, or a copy where it is a part of a larger buffer, which would be kept alive as a whole. */
function ownHead({ classes, weight, bias }: HeadTensors): HeadTensors {
  const own = (array: Float32Array) => (array.byteLength === array.buffer.byteLength ? array : array.slice())
  return { classes, weight: own(weight), bias: own(bias) }
}
