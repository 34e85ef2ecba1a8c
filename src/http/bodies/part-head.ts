/**
 * The header of one part of a form (RFC 7578), as far as `@fastify/multipart` is lax about it. That library reads the
 * fields: it cuts off a long header and leaves out what is no field without a word, takes one of two names, and
 * refuses names such as `constructor`.
 */
import { FacetError } from '../../errors.js'
import { quoted } from '../../shown-text.js'
import { compressed, isCompressed } from './encoding.js'

/** Bytes and fields of a part's header. */
export const MAX_HEADER_BYTES = 8192
export const MAX_HEADER_FIELDS = 32

const FIELD = /^([\w!#$%&'*+.^`|~-]+):[ \t]*([^\r\n]*)$/
const QUOTED = /"(?:[^"\\]|\\.)*"/g
/** One parameter of a Content-Disposition, its text in quotes left out. */
const PARAMETER = /^([^\s=;"]+)\s*=\s*(?:""|[^\s;"]*)$/
/** A name that every object of JavaScript has a property of, or some parameter's text in quotes. */
const RESERVED = new RegExp(
  String.raw`${QUOTED.source}|(;\s*name\s*=\s*"?)(?=(?:${Object.getOwnPropertyNames(Object.prototype).join('|')})"?\s*(?:;|$))`,
  'gi',
)
/** Stands before a reserved name while the library has it. */
const MARK = '\x01'

export interface PartHead {
  /** Bytes in front of the empty line. */
  length: number
  /** What the part says it is; undefined where it says nothing. */
  disposition: string | undefined
  /** The fields with a mark before the part's name; null where the library takes them as they are. */
  marked: Buffer | null
}

/**
 * @param part the line break behind a boundary, header fields, an empty line, content
 * @param index position of the part in the body
 * @throws FacetError `malformed_request`, `unsupported_media_type`
 */
export function headOf(part: Buffer, index: number): PartHead {
  const length = part.subarray(0, MAX_HEADER_BYTES).indexOf('\r\n\r\n')
  if (length === -1) {
    const where = part.length > MAX_HEADER_BYTES ? ` within ${MAX_HEADER_BYTES} bytes` : ''
    throw malformed(`The part is not form data: its header has no end${where}.`, index)
  }
  const fields = fieldsOf(part.toString('utf8', 2, length), index)
  const encoding = fields.get('content-encoding')
  if (isCompressed(encoding)) throw compressed('part', encoding, index)
  const disposition = fields.get('content-disposition')
  if (disposition === undefined) return { length, disposition, marked: null }
  checkParameters(disposition, index)
  const marked = disposition.replace(RESERVED, (text, start?: string) => (start ? start + MARK : text))
  if (marked === disposition) return { length, disposition, marked: null }
  fields.set('content-disposition', marked)
  const lines = [...fields].map(([name, value]) => `\r\n${name}: ${value}`)
  return { length, disposition, marked: Buffer.from(lines.join('')) }
}

/** The name that the client gave to a part whose head was marked. */
export function unmarked(name: string): string {
  return name.slice(MARK.length)
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
    if (name === undefined)
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

function checkParameters(disposition: string, index: number): void {
  const [type, ...parameters] = disposition.replace(QUOTED, '""').split(';')
  // The library leaves white space out.
  if (/\s/.test(type!.trim()))
    throw malformed(`The part's Content-Disposition is malformed at ${shown(type!.trim())}.`, index)
  const names = new Set<string>()
  for (const parameter of parameters.map((text) => text.trim())) {
    if (parameter === '') continue
    const name = PARAMETER.exec(parameter)?.[1]?.toLowerCase()
    if (name === undefined)
      throw malformed(`The part's Content-Disposition is malformed at ${shown(parameter)}.`, index)
    if (name === 'name*')
      throw malformed(
        'The part has no name in its Content-Disposition: name* is not read (RFC 7578, section 4.2).',
        index,
      )
    if (names.has(name)) throw malformed(`The part's Content-Disposition gives ${shown(name)} twice.`, index)
    names.add(name)
  }
}

function malformed(message: string, index: number): FacetError {
  return new FacetError('malformed_request', message, { index })
}

/** Characters of a part's header that an error shows. */
const MAX_SHOWN_CHARACTERS = 40

/** A client's text in quotes, shortened. */
export function shown(text: string): string {
  return quoted(text, MAX_SHOWN_CHARACTERS)
}
