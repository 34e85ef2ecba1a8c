/**
 * JSON bodies: parsed within a depth, and read field by field. An unknown field is refused by its name.
 */
import { FacetError } from '../../errors.js'

const MAX_DEPTH = 16

/** Parses a body.
 * @throws FacetError `empty_body`, `malformed_request` */
export function parseJsonBody(text: string): unknown {
  if (text.trim() === '') throw new FacetError('empty_body', 'The body is empty; this route reads JSON.')
  checkDepth(text)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new FacetError('malformed_request', 'The body is not JSON.', { cause: error })
  }
}

/**
 * The value of the one field a body must have: `{ [name]: value }`.
 *
 * @throws FacetError `malformed_request` where the body is no object, lacks the field or has others.
 */
export function onlyField(body: unknown, name: string, example: string): unknown {
  const entries =
    typeof body === 'object' && body !== null && !Array.isArray(body) ? Object.entries(body) : []
  const [entry] = entries
  if (entries.length !== 1 || entry![0] !== name)
    throw new FacetError('malformed_request', `The body must be ${example} and have no other field.`)
  return entry![1]
}

/** Nesting costs memory far beyond the text's own length, so it is bounded before anything is built. */
function checkDepth(text: string): void {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '"') {
      at = endOfString(text, at)
    } else if (character === '{' || character === '[') {
      if (++depth > MAX_DEPTH)
        throw new FacetError('malformed_request', `The body nests deeper than ${MAX_DEPTH} levels.`)
    } else if (character === '}' || character === ']') {
      depth--
    }
  }
}

/** Position of the quote that ends the string which begins at `start`, or the text's end. */
function endOfString(text: string, start: number): number {
  let end = start
  for (;;) {
    end = text.indexOf('"', end + 1)
    if (end < 0) return text.length
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return end
  }
}
