/**
 * The rows of the bank in shared memory, as the engine writes them: each row's tensors and head,
 * one after the other.
 *
 * Knows no lanes: the caller sees to it that no run reads a row while it is written or freed.
 */
import { free } from '../bytes/free.js'
import type { Steps } from '../concurrency/turns.js'
import { arraysOf, bytesOf, bytesOfRow } from './bank-spec.js'
import type { RowTensors } from './batch.js'
import type { SharedRow } from './messages.js'
import { copyBytes, type SharedMemory } from './shared-memory.js'

/** Bytes that are copied in a step. */
const COPIED_BYTES = 1 << 19

export class SharedRows {
  readonly #memory: SharedMemory
  readonly #rows = new Map<number, readonly Uint8Array[]>()

  /** @param memory where they lie, each counted by `bytesOfRow` */
  constructor(memory: SharedMemory) {
    this.#memory = memory
  }

  /** The segments so far; spans name them by position. */
  get segments(): readonly SharedArrayBuffer[] {
    return this.#memory.segments
  }

  /**
   * Copies a row that fits the trunk into shared memory, instead of what the row was before, and frees the
   * given arrays. In steps: they must not be continued once the row's bytes are freed.
   * @throws RangeError where the limit leaves no room for it
   */
  *write(row: number, content: RowTensors): Steps<SharedRow> {
    this.free(row)
    const { tensors, head } = content
    const spans = this.#memory.take(bytesOfRow(content))
    this.#rows.set(row, spans)
    const own = tensors.length
    const halfHead = head?.weight instanceof Uint16Array
    const given = [...tensors, ...arraysOf(head)]
    const bytes = given.map(bytesOf)
    let copied = 0
    for (const span of spans)
      for (let at = 0; at < span.length; at += COPIED_BYTES) {
        const piece = span.subarray(at, at + COPIED_BYTES)
        copyBytes(bytes, [piece], copied)
        copied += piece.length
        yield
      }
    free(given)
    const shared = spans.map(({ buffer, byteOffset, length }) => {
      return {
        segment: this.segments.indexOf(buffer as unknown as SharedArrayBuffer),
        start: byteOffset,
        length,
      }
    })
    return { spans: shared, own, classes: head?.classes ?? 0, halfHead }
  }

  /** Frees a row's bytes. A no-op for a row that has none. */
  free(row: number): void {
    this.#memory.giveBack(this.#rows.get(row) ?? [])
    this.#rows.delete(row)
  }

  /** Frees every row but the base's. */
  reset(): void {
    for (const row of [...this.#rows.keys()]) if (row !== 0) this.free(row)
  }
}
