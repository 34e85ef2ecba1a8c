/**
 * The numbers of a tensor as pixels: bytes from 0 to 255, which are the network's input.
 *
 * A JSON array is read from its text into bytes. As an array of numbers it would take eight times as much, and megabytes
 * of text cannot be parsed at once.
 */
import type { Steps } from '../concurrency/turns.js'
import { quoted } from '../shown-text.js'
import { JsonError } from '../strict/json-error.js'
import { NumberReader } from '../strict/numbers.js'
import { INPUT } from './model.js'
import { malformed } from './request.js'

export const FLOAT_BYTES = 4
/** Numbers that are read in a step. */
const NUMBERS_A_STEP = 4096
/** Levels of nesting: images, rows, columns, channels. */
const MAX_DEPTH = 4

const COMMA = 0x2c
const OPEN = 0x5b
const CLOSE = 0x5d

/**
 * @param text a JSON array that is whole: flat, or nested as the shape is. The order of the numbers is the same
 * @param count numbers that it must have
 * @param whole whether they must be whole numbers
 * @throws FacetError `malformed_request`
 */
export function* pixelsOfText(text: Uint8Array, count: number, whole: boolean): Steps<Uint8Array> {
  // A number takes two characters at least, one of them a comma or a bracket.
  if (text.length < 2 * count) throw malformed(`The data of '${INPUT}' has fewer than ${count} numbers.`)
  try {
    return yield* new ArrayReader(text, count, whole).read()
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw malformed(`The data of '${INPUT}' is no list of ${count} numbers: ${error.message} of the list.`)
  }
}

/** @param data FP32, little-endian, whole */
export function* pixelsOfFloats(data: Uint8Array): Steps<Uint8Array> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const pixels = new Uint8Array(data.length / FLOAT_BYTES)
  for (let index = 0; index < pixels.length; index++) {
    if (index % NUMBERS_A_STEP === NUMBERS_A_STEP - 1) yield
    pixels[index] = pixelOf(view.getFloat32(index * FLOAT_BYTES, true), index)
  }
  return pixels
}

class ArrayReader {
  readonly #bytes: Buffer
  readonly #pixels: Uint8Array
  readonly #whole: boolean
  readonly #numbers = new NumberReader()
  #at = 0
  #count = 0
  #depth = 0
  /** Brackets around each number; 0 before the first one. */
  #level = 0

  constructor(text: Uint8Array, count: number, whole: boolean) {
    this.#bytes = Buffer.from(text.buffer, text.byteOffset, text.byteLength)
    this.#pixels = new Uint8Array(count)
    this.#whole = whole
  }

  *read(): Steps<Uint8Array> {
    do {
      while (this.#take(OPEN)) this.#depth++
      this.#number()
      if (this.#count % NUMBERS_A_STEP === 0) yield
    } while (this.#goesOn())
    const { length } = this.#pixels
    if (this.#count < length) throw new JsonError(`the end after ${this.#count}`, this.#at)
    return this.#pixels
  }

  #number(): void {
    const at = this.#at
    const value = this.#numbers.read(this.#bytes, at)
    if (value === undefined) throw this.#unexpected('a number')
    if (this.#level === 0) this.#level = this.#depth
    if (this.#depth !== this.#level || this.#depth > MAX_DEPTH) throw new JsonError('uneven nesting', at)
    if (this.#count === this.#pixels.length) throw new JsonError('one more', at)
    if (this.#whole && !Number.isInteger(value)) throw new JsonError('a number that is not whole', at)
    this.#pixels[this.#count] = pixelOf(value, this.#count)
    this.#count++
    this.#at = this.#numbers.end
  }

  /** What follows a number: a comma, and the next one; or brackets, the last of which is the end. */
  #goesOn(): boolean {
    while (this.#take(CLOSE)) if (--this.#depth === 0) return false
    if (this.#take(COMMA)) return true
    throw this.#unexpected('"," or "]"')
  }

  /** Passes over blanks, and over this character if it is next; then over blanks again. */
  #take(byte: number): boolean {
    this.#blanks()
    if (this.#bytes[this.#at] !== byte) return false
    this.#at++
    this.#blanks()
    return true
  }

  #blanks(): void {
    for (; ; this.#at++) {
      const byte = this.#bytes[this.#at]
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return
    }
  }

  #unexpected(expected: string): JsonError {
    const [found] = this.#bytes.toString('utf8', this.#at, this.#at + 4)
    return new JsonError(
      `expected ${expected}, found ${found === undefined ? 'the end' : quoted(found)}`,
      this.#at,
    )
  }
}

/** @throws FacetError for what is no pixel: some clients send normalised values */
function pixelOf(value: number, index: number): number {
  if (value > -0.5 && value < 255.5) return Math.round(value)
  throw malformed(
    `Value ${index} of '${INPUT}' is ${value}. Pixels are RGB from 0 to 255; the service normalises them itself, as the domain's training did.`,
  )
}
