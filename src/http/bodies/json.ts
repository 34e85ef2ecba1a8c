/**
 * JSON bodies: parsed strictly and within limits, and read field by field. An unknown field is refused by its
 * name.
 */
import { FacetError } from '../../errors.js'
import { JsonError, type ParsedJson, parseJson, toPlain } from '../../strict/json.js'

/** Levels of nesting. Deep nesting takes memory far beyond the text's own length. */
const MAX_DEPTH = 16
/**
 * Values of one body, twice the most images that `--max-images` allows. 16 MiB of zeros or empty strings
 * would hold the event loop for half a second; parsing stops long before that.
 */
const MAX_VALUES = 20_000

/**
 * Parses a body.
 *
 * @throws FacetError `empty_body`, `malformed_request`, `too_many_parts`
 */
export function parseJsonBody(text: string): unknown {
  if (text.trim() === '') throw new FacetError('empty_body', 'The body is empty; this route reads JSON.')
  const { value, duplicates } = parseStrictly(text)
  if (duplicates.length > 0)
    throw new FacetError(
      'malformed_request',
      `The body gives ${JSON.stringify(duplicates[0])} more than once.`,
    )
  return toPlain(value)
}

function parseStrictly(text: string): ParsedJson {
  try {
    return parseJson(text, { maxDepth: MAX_DEPTH, maxValues: MAX_VALUES })
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
