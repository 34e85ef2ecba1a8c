/**
 * Base64 as clients write it: with or without padding, in the standard or the URL alphabet (RFC 4648), on one line or
 * on many (MIME), with or without the prefix of a `data:` URL.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { FacetError } from '../../errors.js'

/** Characters that are decoded at a stretch: about a millisecond's work. */
const STRETCH = 2 ** 18
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
 * The bytes of one base64 text. Other work gets its turn while a long one is decoded.
 *
 * @param index position of the image in the request
 * @throws FacetError `malformed_request` that shows the first character that cannot be and where it is, counted from 1
 */
export async function decodeBase64(text: string, index: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let count = 0
  /** Digits that do not fill four yet. */
  let rest = ''
  for (let at = prefixLength(text, index); at < text.length; at += STRETCH) {
    if (pieces.length > 0) await nextTurn()
    let stretch = text.slice(at, at + STRETCH)
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
    pieces.push(Buffer.from(digits.slice(0, whole), 'base64'))
    if (end !== -1) break
  }
  if (rest.length === 1)
    throw notBase64(`it has ${count} digits, one more than a multiple of 4, and may be cut off`, index)
  if (rest !== '') pieces.push(Buffer.from(rest, 'base64'))
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
}

/** Length of the prefix of a `data:` URL; 0 for a text that is none. */
function prefixLength(text: string, index: number): number {
  if (!/^data:/i.test(text)) return 0
  const prefix = PREFIX.exec(text.slice(0, MAX_PREFIX_LENGTH))?.[0]
  if (prefix !== undefined) return prefix.length
  throw notBase64('it is a data: URL without ";base64," in front of its data', index)
}

/** @throws FacetError `malformed_request` unless padding begins at `at` and is all that follows */
function checkPadding(text: string, at: number, index: number): void {
  if (text.length - at <= MAX_PADDING_LENGTH && PADDING.test(text.slice(at))) return
  const character = JSON.stringify(String.fromCodePoint(text.codePointAt(at)!))
  throw notBase64(`${character} at character ${at + 1} is no digit of it`, index)
}

function notBase64(why: string, index: number): FacetError {
  return new FacetError('malformed_request', `The image is not base64: ${why}.`, { index })
}
