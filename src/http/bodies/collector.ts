/**
 * Collects the chunks of a body in few buffers, however many chunks there are. A client chooses their number:
 * a list of them would grow with it.
 */
import { free } from '../../bytes/free.js'
import { type Steps, turns } from '../../concurrency/turns.js'
import { FacetError } from '../../errors.js'
import { areTiny, MIN_AVERAGE_BYTES } from '../exchange/rest-of-body.js'

/**
 * Size of the first buffer, at most for a body whose sender has said how long it is. Each further one is as large as
 * those before it: a sender gets memory for what it sends, not for what it announces. 500 bodies that announced 16 MiB
 * and sent one byte had V8 collect its heap for four seconds.
 */
const FIRST_BUFFER_BYTES = 64 * 1024
const FIRST_ANNOUNCED_BYTES = 256 * 1024
/** Bytes that are copied at a time when the buffers are joined. */
const COPIED_BYTES = 1 << 20
/** Chunks whose memory is given back together. */
const FREED_CHUNKS = 32

/** The chunks are too small: reading the rest would cost more than the body is worth. */
export class TinyChunks extends FacetError {
  constructor() {
    super(
      'malformed_request',
      `The body comes in very small chunks, ${MIN_AVERAGE_BYTES} bytes on average is the least. Send larger ones.`,
    )
  }
}

export class Collector {
  readonly #announced: number | undefined
  readonly #buffers: Buffer[] = []
  /** Bytes of the last buffer in use. */
  #filled = 0
  #chunks = 0
  /** Chunks that have been copied and are not needed. */
  #spent: Buffer[] = []
  length = 0

  /** @param announced bytes of the body, where its sender has said how many */
  constructor(announced: number | undefined) {
    this.#announced = announced
  }

  /** Copies a chunk. @throws TinyChunks */
  add(chunk: Buffer): void {
    this.#chunks++
    this.length += chunk.length
    if (areTiny(this.#chunks, this.length)) throw new TinyChunks()
    for (let done = 0; done < chunk.length; ) {
      const buffer = this.#room(chunk.length - done)
      const copied = chunk.copy(buffer, this.#filled, done)
      this.#filled += copied
      done += copied
    }
    this.#spent.push(chunk)
    // A single chunk is small. Without a socket, as in tests, it may still belong to the sender.
    if (this.#spent.length >= FREED_CHUNKS) this.#freeSpent()
  }

  /**
   * The bytes of all chunks: the whole of a buffer, unless they are very few.
   * @param owner whose turns the copying takes
   */
  async join(owner: string): Promise<Buffer> {
    if (this.#chunks > 1) this.#freeSpent()
    const [only] = this.#buffers
    if (only === undefined) return Buffer.alloc(0)
    if (only.length === this.length) return only
    return turns.run(this.#joined(), { owner })
  }

  /** Gives the memory back at once. */
  drop(): void {
    if (this.#chunks > 1) this.#freeSpent()
    free(this.#buffers)
    this.#buffers.length = 0
  }

  /** A buffer that has room. */
  #room(wanted: number): Buffer {
    const last = this.#buffers.at(-1)
    if (last !== undefined && this.#filled < last.length) return last
    const before = this.#buffers.reduce((sum, { length }) => sum + length, 0)
    const buffer = Buffer.allocUnsafe(this.#nextSize(wanted, before))
    this.#buffers.push(buffer)
    this.#filled = 0
    return buffer
  }

  /** @param before bytes of the buffers so far */
  #nextSize(wanted: number, before: number): number {
    if (this.#announced === undefined) return Math.max(wanted, before, FIRST_BUFFER_BYTES)
    // More than was announced is an error, which the end of the body finds.
    const left = Math.max(wanted, this.#announced - before)
    return Math.min(left, Math.max(before, FIRST_ANNOUNCED_BYTES))
  }

  *#joined(): Steps<Buffer> {
    const joined = Buffer.allocUnsafe(this.length)
    let at = 0
    for (const buffer of this.#buffers) {
      const bytes = Math.min(buffer.length, this.length - at)
      for (let done = 0; done < bytes; done += COPIED_BYTES) {
        buffer.copy(joined, at + done, done, Math.min(done + COPIED_BYTES, bytes))
        yield
      }
      at += bytes
      free([buffer])
    }
    return joined
  }

  #freeSpent(): void {
    free(this.#spent)
    this.#spent = []
  }
}
