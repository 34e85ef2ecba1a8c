/**
 * Forms (multipart/form-data, RFC 7578), read by `@fastify/multipart`. The body is whole already. It is played to the
 * library a part after the other, in turns with other work. So it is known by its index which part the library passes
 * over: it does so without a word, and the caller takes the results for those of all the parts it sent.
 *
 * The parts share the memory of the body: the library counts the bytes of each part's content, which are the last ones
 * in front of a boundary.
 */
import { Readable } from 'node:stream'
import multipart, { type MultipartFile } from '@fastify/multipart'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Steps } from '../../concurrency/turns.js'
import { FacetError } from '../../errors.js'
import { boundaryOf, eachPart, STRETCH } from './boundaries.js'
import { headOf, MAX_HEADER_BYTES, MAX_HEADER_FIELDS, shown, unmarked } from './part-head.js'

export interface FormPart {
  /** The `name` parameter; null where there is none. */
  name: string | null
  /** Whether a file name is given. A form's plain fields have none. */
  file: boolean
  bytes: Buffer
}

/** The library's streams never ask for a pause: what they hold are views of the body, which is in memory. */
const NO_PAUSES = { highWaterMark: Number.MAX_SAFE_INTEGER, fileHwm: Number.MAX_SAFE_INTEGER }
/** Its own limits: a part's content is bounded by the body's bytes, and `headOf` refuses what is cut off here. */
const LIMITS = {
  fileSize: Number.POSITIVE_INFINITY,
  headerSize: MAX_HEADER_BYTES,
  headerPairs: MAX_HEADER_FIELDS,
}
/** Content-Transfer-Encodings that leave the bytes as they are. */
const PLAIN_ENCODINGS = ['binary', '8bit', '7bit', 'identity']

/** Gives requests the library's `parts()`. Its parser of the content type would leave the body on the socket. */
export async function prepareForms(app: FastifyInstance): Promise<void> {
  await app.register(multipart, NO_PAUSES)
  app.removeContentTypeParser('multipart/form-data')
}

/**
 * The parts in the order of the body.
 *
 * @param request its body has been read
 * @param tooMany the error for a body of more than `maxParts` parts
 * @param inTurn does the work
 * @throws FacetError `malformed_request`, with the index of the part that is wrong; the errors of `tooMany` and `inTurn`
 */
export async function readForm(
  request: FastifyRequest,
  maxParts: number,
  tooMany: () => FacetError,
  inTurn: (steps: Steps<void>) => Promise<void>,
): Promise<FormPart[]> {
  const boundary = boundaryOf(request.headers['content-type']!)
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  const played: { part: Buffer; marked: boolean }[] = []
  /** Of each part that the library has taken, whether it has a file name. */
  const taken: boolean[] = []
  let libraryReads = () => {}
  const asked = new Promise<void>((resolve) => {
    libraryReads = resolve
  })
  const source = new Readable({ read: () => libraryReads() })

  function* play(part: Buffer, index: number): Steps<void> {
    const { length, disposition, marked } = headOf(part, index)
    played.push({ part, marked: marked !== null })
    if (marked !== null) source.push(marked)
    for (let at = marked === null ? 0 : length; at < part.length; at += STRETCH) {
      source.push(part.subarray(at, at + STRETCH))
      yield
    }
    // The library holds line breaks back until it knows that no boundary begins there, those of an empty part too.
    source.push(delimiter)
    if (taken.length !== played.length) throw notFormData(disposition, index)
  }

  const playAll = async () => {
    await asked
    try {
      source.push(delimiter)
      await inTurn(eachPart(request.body as Buffer, boundary, maxParts, tooMany, play))
      source.push('--')
      source.push(null)
    } catch (error) {
      source.destroy(error as Error)
    }
  }

  const collect = async () => {
    const parts: MultipartFile[] = []
    const options = {
      limits: { ...LIMITS, parts: maxParts },
      // The library asks this of a part as soon as it has read the header.
      isPartAFile: (_name?: string, _type?: string, filename?: string) => {
        taken.push(filename !== undefined)
        return true
      },
    }
    for await (const part of asTheLibrarySees(request, source, boundary).parts(options)) {
      // Every part is a file, as said above.
      parts.push(part as MultipartFile)
      parts.at(-1)!.file.resume()
    }
    return parts
  }

  const [parts] = await Promise.all([collect(), playAll()])
  return parts.map(({ fieldname, encoding, file }, index) => {
    checkEncoding(encoding, index)
    const { part, marked } = played[index]!
    return {
      name: marked ? unmarked(fieldname) : ((fieldname as string | undefined) ?? null),
      file: taken[index]!,
      bytes: part.subarray(part.length - file.bytesRead),
    }
  })
}

/** The request with a body that is played, and a content type in the form that the library reads. */
function asTheLibrarySees(request: FastifyRequest, source: Readable, boundary: string): FastifyRequest {
  const type = `multipart/form-data; boundary="${boundary.replaceAll('\\', '\\\\')}"`
  const raw = Object.assign(source, { headers: { 'content-type': type } })
  return Object.create(request, { raw: { value: raw }, isMultipart: { value: () => true } })
}

function notFormData(disposition: string | undefined, index: number): FacetError {
  const why =
    disposition === undefined
      ? 'it has no Content-Disposition'
      : `its Content-Disposition is ${shown(disposition)}`
  return new FacetError(
    'malformed_request',
    `The part is not form data: ${why}. Each part needs Content-Disposition: form-data; name="...".`,
    { index },
  )
}

function checkEncoding(text: string, index: number): void {
  const encoding = text.trim()
  if (PLAIN_ENCODINGS.includes(encoding)) return
  throw new FacetError(
    'malformed_request',
    `The part has Content-Transfer-Encoding ${shown(encoding)}, which is not read: send the bytes themselves.`,
    { index },
  )
}
