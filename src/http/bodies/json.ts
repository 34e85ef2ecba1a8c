/**
 * JSON bodies: parsed strictly and within limits, and read field by field. An unknown field is refused by its
 * name.
 */
import { FacetError } from '../../errors.js'
import type { Steps } from '../../concurrency/turns.js'
import { quoted } from '../../shown-text.js'
import { type ParsedJson, parseJsonSteps, toPlain } from '../../strict/json.js'
import { JsonError } from '../../strict/json-error.js'

/** Levels of nesting. Deep nesting takes memory far beyond the text's own length. */
const MAX_DEPTH = 16
/** Values of one body, twice the most images that `--max-images` allows: each takes many bytes of memory. */
const MAX_VALUES = 20_000
/** Longer strings are images, which are decoded from the bytes of the body. */
const MAX_TEXT_BYTES = 1024

/**
 * Parses a body, in steps. A string of more than a kibibyte is a view of its bytes.
 *
 * @param passOver the key of arrays that are left as text, `JsonText`
 * @throws FacetError `empty_body`, `malformed_request`, `too_many_parts`
 */
export function* parseJsonBody(body: Buffer, passOver?: string): Steps<unknown> {
  if (body.length === 0) throw new FacetError('empty_body', 'The body is empty; this route reads JSON.')
  const { value, duplicates } = yield* parseStrictly(body, passOver)
  if (duplicates.length > 0)
    throw new FacetError('malformed_request', `The body gives ${quoted(duplicates[0]!)} more than once.`)
  return toPlain(value)
}

function* parseStrictly(body: Buffer, passOver: string | undefined): Steps<ParsedJson> {
  try {
    return yield* parseJsonSteps(body, {
      maxDepth: MAX_DEPTH,
      maxValues: MAX_VALUES,
      textBytes: MAX_TEXT_BYTES,
      ...(passOver !== undefined && { passOver }),
    })
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw refusal(error)
  }
}

function refusal(cause: JsonError): FacetError {
  switch (cause.limit) {
    case 'depth':
      return new FacetError('malformed_request', `The body nests deeper than ${MAX_DEPTH} levels.`, { cause })
    case 'values':
      return new FacetError('too_many_parts', `The body has more than ${MAX_VALUES} JSON values.`, { cause })
    case null:
      return new FacetError('malformed_request', `The body is not JSON: ${cause.message}.`, { cause })
  }
}

/**
 * The value of the one field a body must have: `{ [name]: value }`.
 *
 * @throws FacetError `malformed_request` if the body is not an object, lacks the field or has others
 */
export function onlyField(body: unknown, name: string, example: string): unknown {
  const entries =
    typeof body === 'object' && body !== null && !Array.isArray(body) ? Object.entries(body) : []
  const [entry] = entries
  if (entries.length !== 1 || entry![0] !== name)
    throw new FacetError('malformed_request', `The body must be ${example} and have no other field.`)
  return entry![1]
}
