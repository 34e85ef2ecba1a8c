/**
 * Where the parts of a multipart body begin and end, by the rules of RFC 2046, section 5.1: white space may follow a
 * boundary, and there may be text before the first boundary and behind the last one. `@fastify/multipart` takes what
 * follows a boundary for the part's header, white space too. What is in a part is not looked at here.
 */
import type { Steps } from '../../concurrency/turns.js'
import { FacetError } from '../../errors.js'

/** Bytes that are searched or read in a step, at most a millisecond's work. */
export const STRETCH = 2 ** 18
/** Characters of the longest boundary that is read. RFC 2046 allows 70; some clients write longer ones. */
const MAX_BOUNDARY_LENGTH = 200
/** White space behind a boundary. */
const MAX_PADDING_LENGTH = 1000

/** One parameter of a content type: its name, and its value quoted or not. */
const PARAMETER = /;\s*([^\s;="]+)=(?:"([^"]*)"|([^\s;]*))/g
const BOUNDARY_CHARACTERS = /^[ -~]*[!-~]$/
const [TAB, LF, CR, SPACE, DASH] = [0x09, 0x0a, 0x0d, 0x20, 0x2d] as const

/** @throws FacetError `malformed_request` where the content type names no boundary, two, or one that cannot be */
export function boundaryOf(contentType: string): string {
  const boundaries = [...contentType.matchAll(PARAMETER)]
    .filter(([, name]) => name!.toLowerCase() === 'boundary')
    .map(([, , quoted, plain]) => quoted ?? plain ?? '')
  const problem = problemOf(boundaries)
  if (problem === null) return boundaries[0]!
  throw malformed(
    `The Content-Type of the multipart body names ${problem}. HTTP clients set this field themselves where it is left to them.`,
  )
}

function problemOf([boundary = '', ...more]: string[]): string | null {
  if (more.length > 0) return 'more than one boundary'
  if (boundary === '') return 'no boundary'
  if (boundary.length > MAX_BOUNDARY_LENGTH)
    return `a boundary of ${boundary.length} characters; ${MAX_BOUNDARY_LENGTH} are the most`
  if (!BOUNDARY_CHARACTERS.test(boundary))
    return 'a boundary with characters that it may not have, or with a space at its end'
  return null
}

/**
 * Goes through the parts of a body, in steps. Ends behind the boundary that closes it.
 *
 * @param tooMany the error for a body of more than `maxParts` parts
 * @param visit gets what lies between two boundaries: a line break, header fields, an empty line, content
 * @throws FacetError `malformed_request`, with the index of the part that is wrong; the errors of `tooMany` and `visit`
 */
export function* eachPart(
  body: Buffer,
  boundary: string,
  maxParts: number,
  tooMany: () => FacetError,
  visit: (part: Buffer, index: number) => Steps<void>,
): Steps<void> {
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  // The first boundary needs no line break before it where it begins the body.
  const atStart = body.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2))
  const first = atStart ? -2 : yield* find(body, delimiter, 0)
  if (!atStart && first === -1)
    throw malformed('The boundary that Content-Type names does not begin any line of the body.')
  let at = first + delimiter.length
  for (let index = 0; body[at] !== DASH || body[at + 1] !== DASH; index++) {
    for (const end = at + MAX_PADDING_LENGTH; at < end && (body[at] === SPACE || body[at] === TAB); ) at++
    if (at >= body.length) throw cutOff(index)
    if (body[at] !== CR || body[at + 1] !== LF)
      throw malformed('A boundary is followed by something else than the end of its line.', index)
    if (index === maxParts) throw tooMany()
    const end = yield* find(body, delimiter, at)
    if (end === -1) throw cutOff(index)
    yield* visit(body.subarray(at, end), index)
    at = end + delimiter.length
  }
}

/** Where `wanted` begins, at `from` or behind it; -1 if it is not there. */
function* find(body: Buffer, wanted: Buffer, from: number): Steps<number> {
  for (let at = from; at < body.length; at += STRETCH) {
    yield
    const found = body.subarray(at, at + STRETCH + wanted.length - 1).indexOf(wanted)
    if (found !== -1) return at + found
  }
  return -1
}

function cutOff(index: number): FacetError {
  return malformed('The multipart body stops half-way: the boundary that closes it is missing.', index)
}

function malformed(message: string, index?: number): FacetError {
  return new FacetError('malformed_request', message, index === undefined ? {} : { index })
}
