/**
 * Where each row of the bank lies in shared memory, as a lane knows it.
 *
 * Rows come and go tens of times a second under load, and each stays for seconds. An object a row would be
 * garbage that only a full collection finds, which looks like a leak
 * (docs/experiments/2026-11-25-what-grew-in-the-soak.md). So an entry keeps its spans as plain numbers, and
 * is written over when its row is set again.
 */
import type { SharedRow } from './messages.js'

/** Numbers that one span takes in an entry: segment, start, length. */
const SPAN_NUMBERS = 3

interface Entry {
  /** The spans' numbers, one span after the other. Those from `used` on are left from an earlier row. */
  numbers: number[]
  used: number
  /** Tensors that the row has itself. */
  own: number
  /** 0 without a head; null while the row is empty. */
  classes: number | null
  halfHead: boolean
}

export class RowIndex {
  readonly #segments: SharedArrayBuffer[] = []
  /** Entries stay when their row goes. */
  readonly #entries = new Map<number, Entry>()

  /**
   * A further segment of shared memory. Spans name segments by their position in the order of these calls.
   */
  share(segment: SharedArrayBuffer): void {
    this.#segments.push(segment)
  }

  set(row: number, { spans, own, classes, halfHead }: SharedRow): void {
    let entry = this.#entries.get(row)
    if (entry === undefined) {
      entry = { numbers: [], used: 0, own, classes, halfHead }
      this.#entries.set(row, entry)
    }
    entry.own = own
    entry.classes = classes
    entry.halfHead = halfHead
    entry.used = 0
    for (const { segment, start, length } of spans) {
      entry.numbers[entry.used++] = segment
      entry.numbers[entry.used++] = start
      entry.numbers[entry.used++] = length
    }
  }

  /** Forgets a row. A no-op for one that is empty. */
  delete(row: number): void {
    const entry = this.#entries.get(row)
    if (entry) entry.classes = null
  }

  /** Classes of the row's head, 0 without one. @throws RangeError for a row that is empty */
  classes(row: number): number {
    const classes = this.#entries.get(row)?.classes ?? null
    if (classes === null) throw new RangeError(`bank row ${row} is empty`)
    return classes
  }

  /** Tensors that a row has itself: so many of the layout's first ones. Only for a row that is not empty. */
  own(row: number): number {
    return this.#entries.get(row)!.own
  }

  /** Whether the weights of the row's head are in half precision. Only for a row that is not empty. */
  halfHead(row: number): boolean {
    return this.#entries.get(row)!.halfHead
  }

  /**
   * The row's bytes, in the order of `SharedRow`; to be read as if they were one array. Only for a row that
   * is not empty.
   */
  bytes(row: number): Uint8Array[] {
    const { numbers, used } = this.#entries.get(row)!
    const bytes: Uint8Array[] = []
    for (let at = 0; at < used; at += SPAN_NUMBERS)
      bytes.push(new Uint8Array(this.#segments[numbers[at]!]!, numbers[at + 1]!, numbers[at + 2]!))
    return bytes
  }
}
