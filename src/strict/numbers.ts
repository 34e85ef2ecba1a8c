/** Numbers of a JSON text, read from its bytes. */
import { JsonError } from './json-error.js'

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/
/** Characters of the longest number, far more than a double has digits. */
const MAX_NUMBER_BYTES = 1024
/** Digits of a number that is put together digit by digit. As a whole number and over a power of ten it is exact. */
const MAX_DIGITS = 15
const POWERS_OF_TEN = Array.from({ length: MAX_DIGITS + 1 }, (_, exponent) => 10 ** exponent)
const ZERO = 0x30
const POINT = 0x2e

export class NumberReader {
  /** Position behind the number that was read last. */
  end = 0

  /**
   * The number at a position; undefined where there is none.
   *
   * @throws JsonError for one that is too long or too large
   */
  read(bytes: Buffer, start: number): number | undefined {
    const plain = this.#plain(bytes, start)
    if (plain !== undefined) return plain
    let end = start
    while (isNumeric(bytes[end])) {
      end++
      if (end - start > MAX_NUMBER_BYTES) throw new JsonError('a number too long', start)
    }
    const [text] = NUMBER.exec(bytes.toString('latin1', start, end)) ?? []
    if (text === undefined) return undefined
    const number = Number(text)
    if (!Number.isFinite(number)) throw new JsonError('a number too large', start)
    this.end = start + text.length
    return number
  }

  /** Most numbers have few digits, no sign and no exponent; undefined for any other. */
  #plain(bytes: Buffer, start: number): number | undefined {
    let digits = 0
    let at = start
    for (; at - start < MAX_DIGITS; at++) {
      const digit = bytes[at]! - ZERO
      if (!(digit >= 0 && digit <= 9)) break
      digits = digits * 10 + digit
    }
    const whole = at - start
    if (whole === 0 || (whole > 1 && bytes[start] === ZERO)) return undefined
    let fraction = 0
    if (bytes[at] === POINT) {
      for (at++; whole + fraction < MAX_DIGITS; at++, fraction++) {
        const digit = bytes[at]! - ZERO
        if (!(digit >= 0 && digit <= 9)) break
        digits = digits * 10 + digit
      }
      if (fraction === 0) return undefined
    }
    if (isNumeric(bytes[at])) return undefined
    this.end = at
    return fraction === 0 ? digits : digits / POWERS_OF_TEN[fraction]!
  }
}

/** Whether a byte may be part of a number. */
function isNumeric(byte: number | undefined): boolean {
  if (byte === undefined) return false
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    byte === POINT ||
    byte === 0x2d ||
    byte === 0x2b ||
    (byte | 0x20) === 0x65
  )
}
