/**
 * Bodies: images and packs, as raw bytes, multipart parts or base64 in JSON. Yields bytes; other rooms find
 * out what they are.
 *
 * Everything is bounded while it arrives. A body that stops half-way throws before it has any effect.
 */
import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { onlyField, parseJsonBody } from './json.js'
import { headLimits, PartHeads } from './part-heads.js'
import { bodyTooLarge } from '../exchange/failures.js'
import { readRaw } from './raw-body.js'

export type MediaType = 'image/*' | 'application/octet-stream' | 'multipart/form-data' | 'application/json'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Content types a route reads; undefined for a route that takes no body. */
    accepts?: readonly MediaType[]
  }
}

export interface BodyLimits {
  /** Bytes of the whole body. */
  bytes: number
  /** The option that sets this limit, for the error's message. */
  option: string
  /** Number of images, or of parts. */
  parts: number
}

/** One image or pack of a body. */
export interface Part {
  /** The name of its multipart part; null for a raw or JSON body. */
  name: string | null
  bytes: Uint8Array
}

/** Registers the parsers. A content type that its route does not read is refused before the body arrives. */
export async function readBodies(app: FastifyInstance): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/octet-stream', readRaw)
  app.addContentTypeParser(/^image\/[\w.+-]+/i, readRaw)
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    async (_request: FastifyRequest, text: string) => parseJsonBody(text),
  )
  // Every part is read as bytes, with or without a file name, so that one limit applies to all parts.
  const options = { isPartAFile: () => true, limits: headLimits }
  await app.register(multipart, options)
  app.addHook('onRequest', checkContentType)
}

async function checkContentType(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { accepts } = request.routeOptions.config
  if (accepts === undefined) return
  const { headers } = request
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity'
  if (encoding !== 'identity') {
    void reply.header('accept-encoding', 'identity')
    throw new FacetError(
      'unsupported_media_type',
      `Compressed bodies are not read: leave out Content-Encoding ${encoding.slice(0, 80)}. Images and packs hardly shrink.`,
    )
  }
  const type = headers['content-type']?.replace(/;.*/s, '').trim().toLowerCase()
  if (type !== undefined && accepts.some((accepted) => matches(type, accepted))) return
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  const readable = `This route reads ${accepts.join(', ')}`
  if (!hasBody && type === undefined) throw new FacetError('empty_body', `The body is empty. ${readable}.`)
  throw new FacetError(
    'unsupported_media_type',
    type === undefined ? `There is no Content-Type. ${readable}.` : `${readable}, not ${type.slice(0, 80)}.`,
  )
}

function matches(type: string, accepted: MediaType): boolean {
  return accepted === 'image/*' ? type.startsWith('image/') : type === accepted
}

/**
 * The images of a predict body, in the order sent.
 *
 * @param accept called with each part's name before the part's bytes are read; throws to refuse it
 * @throws FacetError `empty_body`, `malformed_request`, `body_too_large`, `too_many_parts`
 */
export async function imagesOf(
  request: FastifyRequest,
  limits: BodyLimits,
  accept?: (name: string | null) => void,
): Promise<Part[]> {
  if (request.isMultipart()) return partsOf(request, limits, accept)
  if (isOneImage(request)) return [{ name: null, bytes: notEmpty(request.body as Buffer) }]
  return base64Images(request.body, limits)
}

/** Whether the body itself is the only image, and not a list with one image in it. */
export function isOneImage(request: FastifyRequest): boolean {
  return Buffer.isBuffer(request.body)
}

/**
 * The pack of an upload: the body itself, or the multipart part `pack`.
 *
 * @throws FacetError as `imagesOf`
 */
export async function packOf(
  request: FastifyRequest,
  limits: Omit<BodyLimits, 'parts'>,
): Promise<Uint8Array> {
  if (!request.isMultipart()) return notEmpty(request.body as Buffer)
  const [part] = await partsOf(request, { ...limits, parts: 1 }, (name) => {
    if (name !== 'pack')
      throw new FacetError('malformed_request', "A multipart upload has one part, and its name is 'pack'.")
  })
  return part!.bytes
}

async function partsOf(
  request: FastifyRequest,
  limits: BodyLimits,
  accept?: (name: string | null) => void,
): Promise<Part[]> {
  if (Number(request.headers['content-length']) > limits.bytes)
    throw bodyTooLarge(limits.bytes, limits.option)
  // One more than allowed: the parser would only cut a part short, the loop below refuses it.
  const parserLimits = { files: limits.parts, parts: limits.parts + 1, fileSize: limits.bytes + 1 }
  const parts: Part[] = []
  const heads = new PartHeads(request.headers['content-type']!)
  const readHeads = (chunk: Buffer) => heads.read(chunk)
  let total = 0
  try {
    request.raw.on('data', readHeads)
    for await (const part of request.parts({ limits: parserLimits })) {
      if (part.type !== 'file') throw new FacetError('malformed_request', 'A part could not be read.')
      const name = part.fieldname ?? null
      accept?.(name)
      if (name === null)
        throw new FacetError('malformed_request', 'The part has no name in its Content-Disposition.')
      const chunks: Buffer[] = []
      for await (const chunk of part.file as AsyncIterable<Buffer>) {
        total += chunk.length
        if (total > limits.bytes) throw bodyTooLarge(limits.bytes, limits.option)
        chunks.push(chunk)
      }
      const bytes = Buffer.concat(chunks)
      parts.push({ name, bytes: notEmpty(bytes) })
    }
  } catch (error) {
    throw partError(error, parts.length, limits)
  } finally {
    request.raw.off('data', readHeads)
  }
  heads.check(parts.length)
  if (parts.length === 0) throw new FacetError('empty_body', 'The multipart body has no parts.')
  return parts
}

/** The multipart parser throws plain errors for malformed bodies. */
function partError(error: unknown, index: number, limits: BodyLimits): unknown {
  if (error instanceof FacetError) return error.index === undefined ? error.at(index) : error
  const code = (error as { code?: string }).code
  if (code === 'FST_FILES_LIMIT' || code === 'FST_PARTS_LIMIT') return tooMany(limits, 'part')
  if (code !== undefined) return error
  return new FacetError('malformed_request', 'The multipart body is malformed or stops half-way.', {
    cause: error,
  })
}

/** `{"images": ["<base64>", ...]}`. */
function base64Images(body: unknown, limits: BodyLimits): Part[] {
  const images = onlyField(body, 'images', '{"images": ["<base64>", ...]}')
  if (!Array.isArray(images))
    throw new FacetError('malformed_request', "'images' must be a list of base64 strings.")
  if (images.length === 0) throw new FacetError('empty_body', "'images' is empty.")
  if (images.length > limits.parts) throw tooMany(limits, 'image')
  return images.map((text: unknown, index) => {
    if (typeof text !== 'string' || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text))
      throw new FacetError('malformed_request', 'The image is not a base64 string (RFC 4648, padded).', {
        index,
      })
    if (text === '') throw new FacetError('empty_body', 'The image has no bytes.', { index })
    return { name: null, bytes: Buffer.from(text, 'base64') }
  })
}

function notEmpty(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes === undefined || bytes.length === 0) throw new FacetError('empty_body', 'There are no bytes.')
  return bytes
}

/** An upload has one part, its pack. The parts of any other body are images. */
function tooMany({ parts }: BodyLimits, noun: string): FacetError {
  const limit = parts === 1 ? `more than one ${noun}` : `more than ${parts} ${noun}s (--max-images)`
  return new FacetError('too_many_parts', `The body has ${limit}.`)
}
