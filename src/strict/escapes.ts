/** The escapes of JSON strings. */
import type { Steps } from '../concurrency/turns.js'

const BACKSLASH = 0x5c
/** What a letter behind a backslash stands for, as bytes. */
const SHORT = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }).map(
    ([letter, meaning]) => [letter.charCodeAt(0), meaning.charCodeAt(0)],
  ),
)
/** Bytes after which the work may be interrupted. */
const BYTES_A_STEP = 1 << 15

/**
 * The bytes (UTF-8) that a string literal with escapes stands for.
 *
 * @param literal what is between the quotes, with no control characters
 * @param failure makes the error for a bad escape
 * @throws what `failure` makes
 */
export function* decodeEscapes(literal: Buffer, failure: (what: string) => Error): Steps<Buffer> {
  // No escape is shorter than what it stands for.
  const out = Buffer.allocUnsafe(literal.length)
  let length = 0
  let pause = BYTES_A_STEP
  for (let at = 0; at < literal.length; ) {
    if (at > pause) {
      pause = at + BYTES_A_STEP
      yield
    }
    const byte = literal[at]!
    if (byte !== BACKSLASH) {
      out[length++] = byte
      at++
      continue
    }
    const letter = literal[at + 1]!
    if (letter !== 0x75) {
      const meaning = SHORT.get(letter)
      if (meaning === undefined) throw failure('a bad escape in the string')
      out[length++] = meaning
      at += 2
      continue
    }
    let code = hex4(literal, at + 2)
    at += 6
    if (code >= 0xd800 && code <= 0xdbff && literal[at] === BACKSLASH && literal[at + 1] === 0x75) {
      const low = hex4(literal, at + 2)
      if (low >= 0xdc00 && low <= 0xdfff) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
        at += 6
      }
    }
    if (code < 0) throw failure('a bad escape in the string')
    if (code >= 0xd800 && code <= 0xdfff) throw failure('a string with half a surrogate pair')
    length = encode(code, out, length)
  }
  return out.subarray(0, length)
}

/** Four hexadecimal digits; -1 where they are not. */
function hex4(bytes: Uint8Array, at: number): number {
  let value = 0
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i] ?? 0
    const lower = byte | 0x20
    if (byte >= 0x30 && byte <= 0x39) value = value * 16 + byte - 0x30
    else if (lower >= 0x61 && lower <= 0x66) value = value * 16 + lower - 0x57
    else return -1
  }
  return value
}

/** Writes a code point as UTF-8. @returns the position behind it */
function encode(code: number, out: Uint8Array, at: number): number {
  if (code < 0x80) {
    out[at] = code
    return at + 1
  }
  const more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3
  out[at] = ((0xff00 >> (more + 1)) & 0xff) | (code >> (6 * more))
  for (let i = 1; i <= more; i++) out[at + i] = 0x80 | ((code >> (6 * (more - i))) & 0x3f)
  return at + more + 1
}
