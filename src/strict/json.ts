/**
 * A strict JSON parser: objects become Maps that keep the file's order, duplicate keys are reported, depth is
 * bounded, lone surrogates are refused.
 *
 * `JSON.parse` keeps only the last of two equal keys and moves number-like keys to the front. Through it, a
 * file format whose entries must be unique and in order cannot be checked.
 */

export type JsonValue = null | boolean | number | string | JsonValue[] | Map<string, JsonValue>

/** The text is not JSON, or exceeds a limit. The message names the position. */
export class JsonError extends Error {
  /** The limit that the text exceeds; null where it is not JSON. */
  readonly limit: 'depth' | 'values' | null

  constructor(what: string, position: number, limit: 'depth' | 'values' | null = null) {
    super(`${what} at character ${position}`)
    this.name = 'JsonError'
    this.limit = limit
  }
}

export interface ParsedJson {
  value: JsonValue
  /**
   * Paths such as `$.labels` of keys that were given again, at most a hundred. The first value of a key is
   * kept.
   */
  duplicates: string[]
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids exactly these in strings
const CONTROL = /[\u0000-\u001f]/
const MAX_DUPLICATES = 100
/** Characters shown of each key of a path. */
const MAX_STEP_CHARACTERS = 80
const LITERALS = new Map([
  ['t', { word: 'true', value: true }],
  ['f', { word: 'false', value: false }],
  ['n', { word: 'null', value: null }],
])

/**
 * Parses one JSON text.
 *
 * @param maxDepth how many arrays and objects may be nested.
 * @param maxValues how many values there may be, at any depth. Parsing stops at the first one beyond.
 * @throws JsonError if the text is not JSON or exceeds one of the limits.
 */
export function parseJson(text: string, maxDepth = 16, maxValues = Infinity): ParsedJson {
  const parser = new Parser(text, maxDepth, maxValues)
  return { value: parser.document(), duplicates: parser.duplicates }
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

class Parser {
  readonly duplicates: string[] = []
  readonly #text: string
  readonly #maxDepth: number
  readonly #maxValues: number
  readonly #path: (string | number)[] = []
  #at = 0
  #depth = 0
  #values = 0

  constructor(text: string, maxDepth: number, maxValues: number) {
    this.#text = text
    this.#maxDepth = maxDepth
    this.#maxValues = maxValues
  }

  document(): JsonValue {
    const value = this.#value()
    this.#space()
    if (this.#at < this.#text.length) throw this.#unexpected('the end of the text')
    return value
  }

  #value(): JsonValue {
    this.#space()
    if (++this.#values > this.#maxValues)
      throw new JsonError(`more than ${this.#maxValues} values`, this.#at, 'values')
    const next = this.#text[this.#at]
    if (next === '{') return this.#object()
    if (next === '[') return this.#array()
    if (next === '"') return this.#string()
    const literal = next === undefined ? undefined : LITERALS.get(next)
    if (literal && this.#text.startsWith(literal.word, this.#at)) {
      this.#at += literal.word.length
      return literal.value
    }
    return this.#number()
  }

  #number(): number {
    const start = this.#at
    NUMBER.lastIndex = start
    if (!NUMBER.test(this.#text)) throw this.#unexpected('a value')
    this.#at = NUMBER.lastIndex
    const number = Number(this.#text.slice(start, this.#at))
    if (!Number.isFinite(number)) throw new JsonError('a number too large', start)
    return number
  }

  #object(): Map<string, JsonValue> {
    const object = new Map<string, JsonValue>()
    this.#enter()
    this.#space()
    if (!this.#take('}')) {
      do {
        this.#space()
        const key = this.#string()
        this.#space()
        if (!this.#take(':')) throw this.#unexpected('":"')
        this.#path.push(key)
        const value = this.#value()
        if (object.has(key)) this.#duplicate()
        else object.set(key, value)
        this.#path.pop()
        this.#space()
      } while (this.#take(','))
      if (!this.#take('}')) throw this.#unexpected('"," or "}"')
    }
    this.#leave()
    return object
  }

  #array(): JsonValue[] {
    const array: JsonValue[] = []
    this.#enter()
    this.#space()
    if (!this.#take(']')) {
      do {
        this.#path.push(array.length)
        array.push(this.#value())
        this.#path.pop()
        this.#space()
      } while (this.#take(','))
      if (!this.#take(']')) throw this.#unexpected('"," or "]"')
    }
    this.#leave()
    return array
  }

  #string(): string {
    if (this.#text[this.#at] !== '"') throw this.#unexpected('a string')
    const start = this.#at
    const end = this.#endOfString(start)
    const raw = this.#text.slice(start + 1, end)
    const control = CONTROL.exec(raw)
    if (control) throw new JsonError('a control character in a string', start + 1 + control.index)
    this.#at = end + 1
    const value = this.#unescape(start, raw.includes('\\'))
    if (!isWellFormed(value)) throw new JsonError('a string with half a surrogate pair', start)
    return value
  }

  /** Position of the quote that ends the string. `indexOf` is much faster than a look at each character. */
  #endOfString(start: number): number {
    for (let end = start; ; ) {
      end = this.#text.indexOf('"', end + 1)
      if (end < 0) throw new JsonError('a string without an end', start)
      let backslashes = 0
      while (this.#text[end - 1 - backslashes] === '\\') backslashes++
      if (backslashes % 2 === 0) return end
    }
  }

  #unescape(start: number, escaped: boolean): string {
    if (!escaped) return this.#text.slice(start + 1, this.#at - 1)
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string
    } catch {
      throw new JsonError('a bad escape in the string', start)
    }
  }

  /** Bounded in number and length: one long key must not be repeated for each of thousands of children. */
  #duplicate(): void {
    if (this.duplicates.length === MAX_DUPLICATES) return
    this.duplicates.push(
      `$.${this.#path.map((step) => String(step).slice(0, MAX_STEP_CHARACTERS)).join('.')}`,
    )
  }

  #enter(): void {
    if (++this.#depth > this.#maxDepth) {
      throw new JsonError(`more than ${this.#maxDepth} levels of nesting`, this.#at, 'depth')
    }
    this.#at++
  }

  #leave(): void {
    this.#depth--
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.#at++
    }
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #unexpected(expected: string): JsonError {
    const found = this.#text.slice(this.#at, this.#at + 1)
    return new JsonError(`expected ${expected}, found ${found ? JSON.stringify(found) : 'the end'}`, this.#at)
  }
}
