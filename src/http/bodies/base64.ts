/**
 * Base64 as clients write it: with or without padding, in the standard or the URL alphabet (RFC 4648), on one line or
 * on many (MIME), with or without the prefix of a `data:` URL.
 */
import type { Steps } from '../../concurrency/turns.js'
import { FacetError } from '../../errors.js'
import { quoted } from '../../shown-text.js'

/** Characters that are decoded in a step: a fraction of a millisecond's work. */
const STRETCH = 2 ** 16
/** Characters of a `data:` URL in which its prefix must end. */
const MAX_PREFIX_LENGTH = 200
const PREFIX = /^data:[^,]*;\s*base64\s*,/i
/** What may not stand among the digits: padding and characters of no alphabet. White space may. */
const OUTSIDE = /[^A-Za-z0-9+/_ \t\r\n-]/
const WHITE_SPACE = /[ \t\r\n]+/g
const PADDING = /^=[ \t\r\n]*=?[ \t\r\n]*$/
/** Characters of padding that are looked at: two signs and the line breaks around them. */
const MAX_PADDING_LENGTH = 16

/**
 * The bytes of one base64 text, in steps.
 *
 * @param text its characters, as UTF-8
 * @param index position of the image in the request; undefined for what is no image
 * @throws FacetError `malformed_request` that shows the first character that cannot be and where it is, counted from 1
 */
export function* decodeBase64(text: Buffer, index?: number): Steps<Buffer> {
  const bytes = Buffer.allocUnsafe(Math.ceil((text.length * 3) / 4))
  let length = 0
  let count = 0
  /** Digits that do not fill four yet. */
  let rest = ''
  for (let at = prefixLength(text, index); at < text.length; at += STRETCH) {
    if (at >= STRETCH) yield
    let stretch = text.toString('latin1', at, at + STRETCH)
    const end = stretch.search(OUTSIDE)
    if (end !== -1) {
      checkPadding(text, at + end, index)
      stretch = stretch.slice(0, end)
    }
    const digits = rest + stretch.replace(WHITE_SPACE, '')
    count += digits.length - rest.length
    const whole = digits.length - (digits.length % 4)
    rest = digits.slice(whole)
    // Node's decoder takes both alphabets.
    length += bytes.write(digits.slice(0, whole), length, 'base64')
    if (end !== -1) break
  }
  if (rest.length === 1)
    throw notBase64(`it has ${count} digits, one more than a multiple of 4, and may be cut off`, index)
  length += bytes.write(rest, length, 'base64')
  return bytes.subarray(0, length)
}

/** Length of the prefix of a `data:` URL; 0 for a text that is none. */
function prefixLength(text: Buffer, index: number | undefined): number {
  const start = text.toString('latin1', 0, MAX_PREFIX_LENGTH)
  if (!/^data:/i.test(start)) return 0
  const prefix = PREFIX.exec(start)?.[0]
  if (prefix !== undefined) return prefix.length
  throw notBase64('it is a data: URL without ";base64," in front of its data', index)
}

/**
 * @param at position of the first byte that is none of a digit or white space
 * @throws FacetError `malformed_request` unless padding begins there and is all that follows
 */
function checkPadding(text: Buffer, at: number, index: number | undefined): void {
  if (text.length - at <= MAX_PADDING_LENGTH && PADDING.test(text.toString('latin1', at))) return
  const [character] = text.toString('utf8', at, at + 4)
  throw notBase64(`${quoted(character!)} at character ${at + 1} is no digit of it`, index)
}

function notBase64(why: string, index: number | undefined): FacetError {
  if (index === undefined) return new FacetError('malformed_request', `The file is not base64: ${why}.`)
  return new FacetError('malformed_request', `The image is not base64: ${why}.`, { index })
}
