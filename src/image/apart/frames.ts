/**
 * Messages between the service and a process that decodes: a head, which is JSON, and a body of bytes. Both travel over
 * a pair of connected sockets, so that a large image is written piece by piece and never copied in one go on the thread that does HTTP.
 */

/** Lengths of the head and the body, 32 bits each. */
const PREFIX_BYTES = 8

/** The parts of a message, to be written one after the other. */
export function frame(head: object, body: Uint8Array): [Buffer, Uint8Array] {
  const text = Buffer.from(JSON.stringify(head))
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.writeUInt32BE(text.length, 0)
  prefix.writeUInt32BE(body.byteLength, 4)
  return [Buffer.concat([prefix, text]), body]
}

/** Puts messages together from the chunks in which they come. */
export class FrameReader<Head> {
  readonly #receive: (head: Head, body: Uint8Array) => void
  readonly #check: (headBytes: number, bodyBytes: number) => void
  #part: 'prefix' | 'head' | 'body' = 'prefix'
  /** Bytes of the part that is being read, and how many of them have come. */
  #bytes = new Uint8Array(PREFIX_BYTES)
  #filled = 0
  #bodyLength = 0
  #head: Head | undefined

  /**
   * @param receive given each message; the body is its own
   * @param check given the lengths that a message announces, before memory is taken for it; throws where it is not wanted
   */
  constructor(
    receive: (head: Head, body: Uint8Array) => void,
    check: (headBytes: number, bodyBytes: number) => void = () => {},
  ) {
    this.#receive = receive
    this.#check = check
  }

  /**
   * Nothing more can be taken after an error.
   * @throws SyntaxError where a head is no JSON; what `receive` and `check` throw
   */
  take(chunk: Uint8Array): void {
    let at = 0
    do {
      const taken = Math.min(this.#bytes.length - this.#filled, chunk.length - at)
      this.#bytes.set(chunk.subarray(at, at + taken), this.#filled)
      this.#filled += taken
      at += taken
      // A part of no bytes, as the body of an error, is complete as well.
      while (this.#filled === this.#bytes.length) this.#complete()
    } while (at < chunk.length)
  }

  #complete(): void {
    const bytes = this.#bytes
    if (this.#part === 'prefix') {
      const prefix = new DataView(bytes.buffer)
      const headLength = prefix.getUint32(0)
      this.#bodyLength = prefix.getUint32(4)
      this.#check(headLength, this.#bodyLength)
      this.#expect('head', headLength)
    } else if (this.#part === 'head') {
      this.#head = JSON.parse(new TextDecoder().decode(bytes)) as Head
      this.#expect('body', this.#bodyLength)
    } else {
      this.#expect('prefix', PREFIX_BYTES)
      this.#receive(this.#head!, bytes)
    }
  }

  #expect(part: 'prefix' | 'head' | 'body', length: number): void {
    this.#part = part
    this.#bytes = new Uint8Array(length)
    this.#filled = 0
  }
}
