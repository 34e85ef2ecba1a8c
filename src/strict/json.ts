/**
 * A strict JSON parser: objects become Maps that keep the file's order, duplicate keys are reported, depth is
 * bounded, lone surrogates are refused.
 *
 * `JSON.parse` keeps only the last of two equal keys and moves number-like keys to the front. Through it, a
 * file format whose entries must be unique and in order cannot be checked. Nor can it be interrupted, and a
 * text of megabytes would hold its thread.
 */
import { finish, type Steps } from '../concurrency/turns.js'
import { decodeEscapes } from './escapes.js'
import { quoted } from '../shown-text.js'
import { JsonError } from './json-error.js'
import { NumberReader } from './numbers.js'

/** Bytes are strings that are longer than `ParseOptions.textBytes`. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | JsonText
  | JsonValue[]
  | Map<string, JsonValue>

/** An array that was passed over (`ParseOptions.passOver`): its text, brackets included, in UTF-8. */
export class JsonText {
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }
}

export interface ParseOptions {
  /** How many arrays and objects may be nested. */
  maxDepth?: number
  /** How many values there may be, at any depth. Parsing stops at the first one beyond. */
  maxValues?: number
  /** Strings that take more bytes in the text are given as bytes (UTF-8), which cost no copy. */
  textBytes?: number
  /**
   * Arrays under this key are not parsed: only their end is looked for. For long ones of a known form, which their reader
   * reads into less memory than an array of values takes.
   */
  passOver?: string
}

export interface ParsedJson {
  value: JsonValue
  /**
   * Paths such as `$.labels` of keys that were given again, at most a hundred. The first value of a key is
   * kept.
   */
  duplicates: string[]
}

/** Bytes of the longest key, which is always text. */
const MAX_KEY_BYTES = 1 << 20
const MAX_DUPLICATES = 100
/** Characters shown of each key of a path. */
const MAX_STEP_CHARACTERS = 80
/** Most strings are shorter, and are read without a step. */
const SHORT_BYTES = 200
/** Values, and bytes of blanks or of a string, after which the parser may be interrupted. */
const VALUES_A_STEP = 200
const BYTES_A_STEP = 1 << 16

/** What some editors put before a text. JSON has no place for it (RFC 8259, section 8.1), and it is not seen. */
const BYTE_ORDER_MARK = '\ufeff'
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN = { array: 0x5b, object: 0x7b }
const CLOSE = { array: 0x5d, object: 0x7d }
const LITERALS = new Map(
  [
    { word: 'true', value: true },
    { word: 'false', value: false },
    { word: 'null', value: null },
  ].map((literal) => [literal.word.charCodeAt(0), literal]),
)

/**
 * Parses one JSON text, given as text or as its UTF-8. In bytes that are no UTF-8, U+FFFD stands for what
 * cannot be read.
 *
 * @throws JsonError if the text is not JSON or exceeds one of the limits.
 */
export function parseJson(text: string | Uint8Array, options: ParseOptions = {}): ParsedJson {
  return finish(parseJsonSteps(text, options))
}

/** The same, in steps of a fraction of a millisecond. */
export function* parseJsonSteps(text: string | Uint8Array, options: ParseOptions = {}): Steps<ParsedJson> {
  if (typeof text === 'string' && !isWellFormed(text))
    throw new JsonError('a string with half a surrogate pair', text.search(/\p{Surrogate}/u))
  const parser = new Parser(typeof text === 'string' ? Buffer.from(text) : asBuffer(text), options)
  const value = yield* parser.document()
  return { value, duplicates: parser.duplicates }
}

/** Whether the text is valid Unicode. Text with a lone surrogate cannot be encoded as UTF-8. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}

/** Converts Maps to plain objects. A key `__proto__` becomes an own property. */
export function toPlain(value: JsonValue): unknown {
  if (Array.isArray(value)) return value.map(toPlain)
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, toPlain(item)]))
  return value
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/** An array or object that is not closed yet; of an object also the key whose value comes next. */
type Frame = { array: JsonValue[] } | { object: Map<string, JsonValue>; key: string }

class Parser {
  readonly duplicates: string[] = []
  readonly #bytes: Buffer
  readonly #maxDepth: number
  readonly #maxValues: number
  readonly #textBytes: number
  readonly #shortBytes: number
  readonly #passOver: string | undefined
  readonly #numbers = new NumberReader()
  readonly #frames: Frame[] = []
  #at = 0
  #values = 0
  /** Of the string that was scanned last: whether it has escapes, and bytes beyond ASCII. */
  #escaped = false
  #plain = true

  constructor(bytes: Buffer, options: ParseOptions) {
    const { maxDepth = 16, maxValues = Infinity, textBytes = Infinity, passOver } = options
    this.#bytes = bytes
    this.#maxDepth = maxDepth
    this.#maxValues = maxValues
    this.#textBytes = textBytes
    this.#passOver = passOver
    this.#shortBytes = Math.min(SHORT_BYTES, textBytes)
  }

  *document(): Steps<JsonValue> {
    for (let step = 1; ; step++) {
      if (step % VALUES_A_STEP === 0) yield
      while (this.#blanks()) yield
      if (++this.#values > this.#maxValues)
        throw new JsonError(`more than ${this.#maxValues} values`, this.#at, 'values')
      const next = this.#bytes[this.#at]
      let value: JsonValue
      if (next === OPEN.object) {
        this.#enter({ object: new Map(), key: '' })
        while (this.#blanks()) yield
        if (!this.#take(CLOSE.object)) {
          if (!this.#shortKey()) yield* this.#key()
          continue
        }
        value = this.#leave()
      } else if (next === OPEN.array && this.#isPassedOver()) value = yield* this.#arrayText()
      else if (next === OPEN.array) {
        this.#enter({ array: [] })
        while (this.#blanks()) yield
        if (!this.#take(CLOSE.array)) continue
        value = this.#leave()
      } else if (next === QUOTE) value = this.#shortString() ?? (yield* this.#string(this.#textBytes))
      else value = this.#scalar(next)

      // The value, and whatever ends with it.
      for (;;) {
        while (this.#blanks()) yield
        const frame = this.#frames.at(-1)
        if (frame === undefined) {
          if (this.#at < this.#bytes.length) throw this.#unexpected('the end of the text')
          return value
        }
        this.#put(frame, value)
        const isArray = 'array' in frame
        if (this.#take(COMMA)) {
          if (!isArray && !this.#shortKey()) yield* this.#key()
          break
        }
        if (!this.#take(isArray ? CLOSE.array : CLOSE.object))
          throw this.#unexpected(isArray ? '"," or "]"' : '"," or "}"')
        value = this.#leave()
      }
    }
  }

  #put(frame: Frame, value: JsonValue): void {
    if ('array' in frame) frame.array.push(value)
    else if (frame.object.has(frame.key)) this.#duplicate()
    else frame.object.set(frame.key, value)
  }

  /** What `#key` does, for a key as most are; false, and nothing has happened, for any other. */
  #shortKey(): boolean {
    const start = this.#at
    if (this.#bytes[start] !== QUOTE) return false
    const key = this.#shortString()
    if (key !== undefined && this.#take(COLON)) {
      const frame = this.#frames.at(-1) as { key: string }
      frame.key = key
      return true
    }
    this.#at = start
    return false
  }

  /** The key of the object that was opened last, up to the colon. */
  *#key(): Steps<void> {
    while (this.#blanks()) yield
    const start = this.#at
    if (this.#bytes[start] !== QUOTE) throw this.#unexpected('a string')
    const key = yield* this.#string(MAX_KEY_BYTES)
    if (typeof key !== 'string') throw new JsonError(`a key of more than ${MAX_KEY_BYTES} bytes`, start)
    const frame = this.#frames.at(-1) as { key: string }
    frame.key = key
    while (this.#blanks()) yield
    if (!this.#take(COLON)) throw this.#unexpected('":"')
  }

  /** What `#string` gives for a short string without escapes; undefined, and nothing has happened, for any other. */
  #shortString(): string | undefined {
    const bytes = this.#bytes
    const start = this.#at + 1
    const end = Math.min(start + this.#shortBytes, bytes.length)
    let beyond = 0
    for (let at = start; at < end; at++) {
      const byte = bytes[at]!
      if (byte === QUOTE) {
        this.#at = at + 1
        return bytes.toString(beyond < 0x80 ? 'latin1' : 'utf8', start, at)
      }
      if (byte === BACKSLASH || byte < 0x20) return undefined
      beyond |= byte
    }
    return undefined
  }

  /** @param textBytes a longer string is given as bytes */
  *#string(textBytes: number): Steps<string | Uint8Array> {
    const start = this.#at
    this.#escaped = false
    this.#plain = true
    this.#at++
    while (!this.#scan(start)) yield
    const end = this.#at++
    const literal = this.#bytes.subarray(start + 1, end)
    if (!this.#escaped) {
      if (literal.length > textBytes) return literal
      return literal.toString(this.#plain ? 'latin1' : 'utf8')
    }
    const value = yield* decodeEscapes(literal, (what) => new JsonError(what, start))
    return literal.length > textBytes ? value : value.toString()
  }

  /**
   * Looks for the quote that ends the string at `start`, from the position on.
   *
   * @returns true where the position is that of the quote; false where it is to be called again
   */
  #scan(start: number): boolean {
    const bytes = this.#bytes
    const end = Math.min(this.#at + BYTES_A_STEP, bytes.length)
    let beyond = 0
    let at = this.#at
    for (; at < end; at++) {
      const byte = bytes[at]!
      if (byte === QUOTE) break
      if (byte === BACKSLASH) {
        this.#escaped = true
        at++
      } else if (byte < 0x20) throw new JsonError('a control character in a string', at)
      else beyond |= byte
    }
    if (beyond >= 0x80) this.#plain = false
    this.#at = at
    if (at < end) return true
    if (at >= bytes.length) throw new JsonError('a string without an end', start)
    return false
  }

  #isPassedOver(): boolean {
    const frame = this.#frames.at(-1)
    return (
      this.#passOver !== undefined && frame !== undefined && 'key' in frame && frame.key === this.#passOver
    )
  }

  /** The array that begins here, as text. Of what is in it, strings and brackets are looked at. */
  *#arrayText(): Steps<JsonText> {
    const bytes = this.#bytes
    const start = this.#at
    let depth = 0
    for (let next = start + BYTES_A_STEP; ; this.#at++) {
      if (this.#at >= next) {
        yield
        next = this.#at + BYTES_A_STEP
      }
      const byte = bytes[this.#at]
      if (byte === undefined) throw new JsonError('an array without an end', start)
      if (byte === QUOTE) {
        const string = this.#at++
        while (!this.#scan(string)) yield
      } else if (byte === OPEN.array) depth++
      else if (byte === CLOSE.array && --depth === 0) break
      if (this.#frames.length + depth > this.#maxDepth) throw this.#tooDeep()
    }
    this.#at++
    return new JsonText(bytes.subarray(start, this.#at))
  }

  #scalar(next: number | undefined): JsonValue {
    const literal = next === undefined ? undefined : LITERALS.get(next)
    const { word } = literal ?? {}
    if (word === undefined || this.#bytes.toString('latin1', this.#at, this.#at + word.length) !== word)
      return this.#number()
    this.#at += word.length
    return literal!.value
  }

  #number(): number {
    const number = this.#numbers.read(this.#bytes, this.#at)
    if (number === undefined) throw this.#unexpected('a value')
    this.#at = this.#numbers.end
    return number
  }

  /** Bounded in number and length: one long key must not be repeated for each of thousands of children. */
  #duplicate(): void {
    if (this.duplicates.length === MAX_DUPLICATES) return
    const steps = this.#frames.map((frame) => ('array' in frame ? frame.array.length : frame.key))
    this.duplicates.push(`$.${steps.map((step) => String(step).slice(0, MAX_STEP_CHARACTERS)).join('.')}`)
  }

  #enter(frame: Frame): void {
    if (this.#frames.push(frame) > this.#maxDepth) throw this.#tooDeep()
    this.#at++
  }

  #tooDeep(): JsonError {
    return new JsonError(`more than ${this.#maxDepth} levels of nesting`, this.#at, 'depth')
  }

  #leave(): JsonValue {
    const frame = this.#frames.pop()!
    return 'array' in frame ? frame.array : frame.object
  }

  /** Passes over blanks. @returns whether there may be more of them */
  #blanks(): boolean {
    const bytes = this.#bytes
    const end = Math.min(this.#at + BYTES_A_STEP, bytes.length)
    let at = this.#at
    for (; at < end; at++) {
      const byte = bytes[at]
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break
    }
    this.#at = at
    return at === end && at < bytes.length
  }

  #take(byte: number): boolean {
    if (this.#bytes[this.#at] !== byte) return false
    this.#at++
    return true
  }

  #unexpected(expected: string): JsonError {
    // The first character of up to four bytes.
    const [found] = this.#bytes.toString('utf8', this.#at, this.#at + 4)
    const shown =
      found === BYTE_ORDER_MARK
        ? 'a byte order mark (write the text as UTF-8 without BOM)'
        : found === undefined
          ? 'the end'
          : quoted(found)
    return new JsonError(`expected ${expected}, found ${shown}`, this.#at)
  }
}
