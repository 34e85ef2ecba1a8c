/**
 * Splits a multipart/form-data body (RFC 7578) into its parts, by the rules of RFC 2046, section 5.1: white space may
 * follow a boundary, and there may be text before the first boundary and behind the last one.
 *
 * A part is never passed over, and nothing is guessed: the caller takes the results for those of all the parts it
 * sent. The parts share the memory of the body.
 */
import type { Steps } from '../../concurrency/turns.js'
import { FacetError } from '../../errors.js'

export interface FormPart {
  /** The `name` parameter; null where there is none. */
  name: string | null
  /** Whether a file name is given. A form's plain fields have none. */
  file: boolean
  bytes: Buffer
}

/** Characters of the longest boundary that is read. RFC 2046 allows 70; some clients write longer ones. */
const MAX_BOUNDARY_LENGTH = 200
/** Bytes and fields of a part's header. */
const MAX_HEADER_BYTES = 8192
const MAX_HEADER_FIELDS = 32
/** Parameters of a Content-Disposition. */
const MAX_PARAMETERS = 16
/** Bytes that are searched in a step, at most a millisecond's work. */
const STRETCH = 2 ** 18
/** White space behind a boundary. */
const MAX_PADDING_LENGTH = 1000

/** The boundary parameter of a content type, quoted or not. */
const BOUNDARY = /;\s*boundary=(?:"([^"]*)"|([^\s;]+))/i
const BOUNDARY_CHARACTERS = /^[ -~]*[!-~]$/
const FIELD = /^([\w!#$%&'*+.^`|~-]+):[ \t]*(.*)$/s
/** One parameter of a header field's value, at the beginning of what is left. */
const PARAMETER = /\s*;\s*(?:([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*)))?\s*/y
const [TAB, LF, CR, SPACE, DASH] = [0x09, 0x0a, 0x0d, 0x20, 0x2d] as const

/**
 * The parts in the order of the body, in steps.
 *
 * @param contentType of the whole body, with its boundary
 * @param tooMany the error for a body of more than `maxParts` parts
 * @throws FacetError `malformed_request`, with the index of the part that is wrong; the error of `tooMany`
 */
export function* splitForm(
  body: Buffer,
  contentType: string,
  maxParts: number,
  tooMany: () => FacetError,
): Steps<FormPart[]> {
  const delimiter = Buffer.from(`\r\n--${boundaryOf(contentType)}`, 'latin1')
  const parts: FormPart[] = []
  // The first boundary needs no line break before it where it begins the body.
  const atStart = body.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2))
  const first = atStart ? -2 : yield* find(body, delimiter, 0)
  if (!atStart && first === -1)
    throw malformed('The boundary that Content-Type names does not begin any line of the body.')
  let at = first + delimiter.length
  while (body[at] !== DASH || body[at + 1] !== DASH) {
    const index = parts.length
    for (const end = at + MAX_PADDING_LENGTH; at < end && (body[at] === SPACE || body[at] === TAB); ) at++
    if (at >= body.length) throw cutOff(index)
    if (body[at] !== CR || body[at + 1] !== LF)
      throw malformed('A boundary is followed by something else than the end of its line.', index)
    if (index === maxParts) throw tooMany()
    const end = yield* find(body, delimiter, at)
    if (end === -1) throw cutOff(index)
    parts.push(partOf(body.subarray(at, end), index))
    at = end + delimiter.length
  }
  return parts
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

/** @throws FacetError `malformed_request` where the content type names no boundary, or one that cannot be */
function boundaryOf(contentType: string): string {
  const [, quoted, plain] = BOUNDARY.exec(contentType) ?? []
  const boundary = quoted ?? plain ?? ''
  if (boundary.length > MAX_BOUNDARY_LENGTH || !BOUNDARY_CHARACTERS.test(boundary))
    throw malformed(
      'The Content-Type of a multipart body names its boundary, of 70 characters at most. HTTP clients set this field themselves where it is left to them.',
    )
  return boundary
}

/** @param text the line break behind the boundary, header fields, an empty line, content */
function partOf(text: Buffer, index: number): FormPart {
  const headerEnd = text.subarray(0, MAX_HEADER_BYTES).indexOf('\r\n\r\n')
  if (headerEnd === -1) {
    const where = text.length > MAX_HEADER_BYTES ? ` within ${MAX_HEADER_BYTES} bytes` : ''
    throw malformed(`The part is not form data: its header has no end${where}.`, index)
  }
  const fields = fieldsOf(text.toString('utf8', 2, headerEnd), index)
  const encoding = fields.get('content-transfer-encoding')?.trim().toLowerCase() ?? 'binary'
  if (!['binary', '8bit', '7bit', 'identity'].includes(encoding))
    throw malformed(
      `The part has Content-Transfer-Encoding ${shown(encoding)}, which is not read: send the bytes themselves.`,
      index,
    )
  const parameters = dispositionOf(fields.get('content-disposition'), index)
  return {
    name: parameters.get('name') ?? null,
    file: parameters.has('filename') || parameters.has('filename*'),
    bytes: text.subarray(headerEnd + 4),
  }
}

/** Header fields by their names in lower case. */
function fieldsOf(header: string, index: number): Map<string, string> {
  const fields = new Map<string, string>()
  if (header === '') return fields
  // A line that begins with white space continues the one before (RFC 5322, section 2.2.3).
  const lines = header.replace(/\r\n(?=[ \t])/g, '').split('\r\n')
  if (lines.length > MAX_HEADER_FIELDS)
    throw malformed(`The part is not form data: its header has more than ${MAX_HEADER_FIELDS} fields.`, index)
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? []
    if (name === undefined || /[\r\n]/.test(value!))
      throw malformed(
        `The part is not form data: ${shown(line)} in its header is no field (name: value).`,
        index,
      )
    const key = name.toLowerCase()
    if (fields.has(key))
      throw malformed(`The part is not form data: its header gives ${shown(name)} twice.`, index)
    fields.set(key, value!)
  }
  return fields
}

/** The parameters of `Content-Disposition: form-data` by their names in lower case. */
function dispositionOf(value: string | undefined, index: number): Map<string, string> {
  const needed = 'Each part needs Content-Disposition: form-data; name="..."'
  if (value === undefined)
    throw malformed(`The part is not form data: it has no Content-Disposition. ${needed}.`, index)
  const type = /^\s*form-data(?=\s*(?:;|$))/i.exec(value)?.[0]
  if (type === undefined)
    throw malformed(
      `The part is not form data: its Content-Disposition is ${shown(value)}. ${needed}.`,
      index,
    )
  const parameters = new Map<string, string>()
  const text = value.trimEnd()
  let count = 0
  for (let at = type.length; at < text.length; at = PARAMETER.lastIndex) {
    PARAMETER.lastIndex = at
    const found = PARAMETER.exec(text)
    if (found === null || count++ === MAX_PARAMETERS)
      throw malformed(`The part's Content-Disposition is malformed at ${shown(text.slice(at))}.`, index)
    const [, name, quoted, plain] = found
    if (name === undefined) continue
    const key = name.toLowerCase()
    if (parameters.has(key))
      throw malformed(`The part's Content-Disposition gives ${shown(name)} twice.`, index)
    // Only quotes and backslashes are escaped with a backslash: some browsers send `C:\a.png` as it is.
    parameters.set(key, quoted?.replace(/\\(["\\])/g, '$1') ?? plain!)
  }
  return parameters
}

function cutOff(index: number): FacetError {
  return malformed('The multipart body stops half-way: the boundary that closes it is missing.', index)
}

function malformed(message: string, index?: number): FacetError {
  return new FacetError('malformed_request', message, index === undefined ? {} : { index })
}

/** A client's text in quotes, shortened. */
function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)
}
