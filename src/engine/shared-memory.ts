/**
 * An allocator of the bank's memory where all threads share it.
 *
 * The system gets shared memory back only when the garbage collector of every thread has run, so none is
 * given back: large segments are made as they are needed, up to a limit, and freed bytes are used again. A
 * piece may be scattered over several spans, so free bytes can always be used, however fragmented. The banks
 * of several families may lie in one. Knows no rows.
 */
import { noRoom, WORD_BYTES, wholeWords } from './bank-spec.js'

/** Size of a segment, in bytes. What is not written to takes no memory yet. */
const SEGMENT_BYTES = 64 * 2 ** 20

interface Free {
  buffer: SharedArrayBuffer
  start: number
  end: number
}

export class SharedMemory {
  readonly #limit: number
  /** Free pieces in the order of segments and positions. Neighbours are merged. */
  readonly #free: Free[] = []
  readonly #segments: SharedArrayBuffer[] = []
  readonly #watchers: ((segment: SharedArrayBuffer) => void)[] = []
  #total = 0

  /** @param limit bytes at most */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** @param onSegment called with each further segment, before bytes of it are handed out */
  watch(onSegment: (segment: SharedArrayBuffer) => void): void {
    this.#watchers.push(onSegment)
  }

  /** The segments so far, in the order in which they were made. */
  get segments(): readonly SharedArrayBuffer[] {
    return this.#segments
  }

  /**
   * Hands out so many bytes, rounded up to whole words: one span where a free piece is large enough,
   * otherwise several, to be used one after the other. What is in them is undefined.
   * @throws RangeError where the limit leaves no room
   */
  take(bytes: number): Uint8Array[] {
    const wanted = wholeWords(bytes)
    let room = this.#free.reduce((sum, { start, end }) => sum + end - start, 0)
    let whole = this.#free.find(({ start, end }) => end - start >= wanted)
    while (room < wanted) {
      const segment = this.#grow()
      room += segment.end - segment.start
      whole ??= segment.end - segment.start >= wanted ? segment : undefined
    }
    if (whole) return [this.#cut(whole, wanted)]
    const spans: Uint8Array[] = []
    for (let left = wanted; left > 0; left -= spans.at(-1)!.length) {
      const first = this.#free[0]!
      spans.push(this.#cut(first, Math.min(left, first.end - first.start)))
    }
    return spans
  }

  /** Takes spans back. Nobody may read them any more. */
  giveBack(spans: readonly Uint8Array[]): void {
    for (const { buffer, byteOffset, length } of spans) {
      const shared = buffer as unknown as SharedArrayBuffer
      this.#insert({ buffer: shared, start: byteOffset, end: byteOffset + length })
    }
  }

  #grow(): Free {
    const room = Math.floor((this.#limit - this.#total) / WORD_BYTES) * WORD_BYTES
    const bytes = Math.min(SEGMENT_BYTES, room)
    if (bytes <= 0) throw noRoom(this.#limit)
    const buffer = new SharedArrayBuffer(bytes)
    this.#segments.push(buffer)
    this.#total += bytes
    for (const tell of this.#watchers) tell(buffer)
    const free = { buffer, start: 0, end: bytes }
    this.#free.push(free)
    return free
  }

  /** Takes the first bytes of a free piece. */
  #cut(free: Free, bytes: number): Uint8Array {
    const span = new Uint8Array(free.buffer, free.start, bytes)
    free.start += bytes
    if (free.start === free.end) this.#free.splice(this.#free.indexOf(free), 1)
    return span
  }

  #insert(piece: Free): void {
    const number = (free: Free) => this.#segments.indexOf(free.buffer)
    const own = number(piece)
    let index = this.#free.findIndex((free) => {
      return number(free) > own || (free.buffer === piece.buffer && free.start >= piece.end)
    })
    if (index < 0) index = this.#free.length
    const [before, after] = [this.#free[index - 1], this.#free[index]]
    const joinsBefore = before?.buffer === piece.buffer && before.end === piece.start
    const joinsAfter = after?.buffer === piece.buffer && piece.end === after.start
    if (joinsBefore) before.end = joinsAfter ? after.end : piece.end
    else if (joinsAfter) after.start = piece.start
    else this.#free.splice(index, 0, piece)
    if (joinsBefore && joinsAfter) this.#free.splice(index, 1)
  }
}

/**
 * Copies bytes from one list of arrays to another, as if each list were one array.
 * @param skip bytes of `from` to leave out; the copy ends where either list ends
 */
export function copyBytes(from: readonly Uint8Array[], to: readonly Uint8Array[], skip = 0): void {
  let source = 0
  let at = skip
  for (const target of to) {
    for (let done = 0; done < target.length; ) {
      const span = from[source]
      if (span === undefined) return
      if (at >= span.length) {
        at -= span.length
        source++
        continue
      }
      const part = span.subarray(at, at + target.length - done)
      target.set(part, done)
      at += part.length
      done += part.length
    }
  }
}
