/**
 * Bodies: images and packs, as raw bytes, multipart parts or base64 in JSON. Yields bytes; other rooms find
 * out what they are.
 *
 * Every body is read whole by one reader, which bounds it while it arrives, and only then taken apart. A body
 * that stops half-way throws before it has any effect.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Steps, turns } from '../../concurrency/turns.js'
import { clientClosed, FacetError } from '../../errors.js'
import { quoted } from '../../shown-text.js'
import { principalOf } from '../access/auth.js'
import { decodeBase64 } from './base64.js'
import { compressed, isCompressed } from './encoding.js'
import { onlyField, parseJsonBody } from './json.js'
import { type FormPart, prepareForms, readForm } from './multipart.js'
import type { Pace } from './pace.js'
import { readRaw } from './raw-body.js'

export type MediaType = 'image/*' | 'application/octet-stream' | 'multipart/form-data' | 'application/json'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Content types a route reads; undefined for a route that takes no body. */
    accepts?: readonly MediaType[]
    /** True where a route reads a body, and does without. */
    mayBeEmpty?: boolean
  }
}

export interface BodyLimits {
  /** Number of images, or of parts. */
  parts: number
}

/** What else a form may hold, and which of its parts are refused. */
export interface FormRules {
  /** Whether a part is a parameter and no image. */
  isField?(part: FormPart): boolean
  /** Called with each image, in order; throws to refuse it. */
  accept?(part: FormPart): void
}

/** The images of a body, and the parameters that its form has beside them. */
export interface Images {
  parts: Part[]
  fields: ReadonlyMap<string, string>
}

/** One image or pack of a body. */
export interface Part {
  /** The name of its multipart part; null for a raw or JSON body. */
  name: string | null
  bytes: Uint8Array
}

/** What becomes of a body before its route gets it. */
export interface Reading {
  /** Whether JSON is parsed, strictly; else the route gets the bytes of every body. */
  parseJson: boolean
}

/**
 * Registers the reader of bodies. A content type that its route does not read is refused before the body
 * arrives. A body without one is read as raw bytes, where the route reads those: the image or the pack says
 * itself what it is.
 */
export async function readBodies(
  app: FastifyInstance,
  pace: Pace,
  { parseJson }: Reading = { parseJson: true },
): Promise<void> {
  app.decorateRequest('share', null)
  app.addHook('onClose', async () => pace.close())
  app.removeAllContentTypeParsers()
  await prepareForms(app)
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: IncomingMessage) => {
    // Nothing asked for this body. Node reads it away behind the answer.
    if (request.routeOptions.config.accepts === undefined) return undefined
    const body = await readRaw(request, payload, pace)
    return parseJson && typeOf(request) === 'application/json' ? inTurn(request, parseJsonBody(body)) : body
  })
  app.addHook('onRequest', (request, reply, done) => {
    checkContentType(request, reply)
    done()
  })
}

function checkContentType(request: FastifyRequest, reply: FastifyReply): void {
  const { accepts, mayBeEmpty = false } = request.routeOptions.config
  const { headers } = request.raw
  // Clients that send the same fields with every request send a type without a body too.
  if (!hasBody(request)) delete headers['content-type']
  if (accepts === undefined) return
  const encoding = headers['content-encoding']
  if (isCompressed(encoding)) {
    void reply.header('accept-encoding', 'identity')
    throw compressed('body', encoding)
  }
  const readable = `This route reads ${accepts.join(', ')}`
  if (!hasBody(request) && mayBeEmpty) return
  if (!hasBody(request)) throw new FacetError('empty_body', `The body is empty. ${readable}.`)
  const type = typeOf(request)
  if (accepts.some((accepted) => matches(type ?? UNTYPED, accepted))) return
  throw new FacetError('unsupported_media_type', wrongType(type, readable))
}

/** What a body without a content type is taken for. */
const UNTYPED = 'application/octet-stream'

function wrongType(type: string | undefined, readable: string): string {
  if (type === undefined) return `There is no Content-Type. ${readable}.`
  if (type === '') return `The Content-Type names no type. ${readable}.`
  const message = `${readable}, not ${quoted(type)}.`
  if (type !== 'application/x-www-form-urlencoded') return message
  return `${message} curl sends this type where none is named: add -H 'Content-Type: image/jpeg', say.`
}

/** Whether bytes follow the header, or may. */
function hasBody({ raw: { headers } }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** The media type of a body, without its parameters. */
export function typeOf(request: FastifyRequest): string | undefined {
  return request.headers['content-type']?.replace(/;.*/s, '').trim().toLowerCase()
}

function matches(type: string, accepted: MediaType): boolean {
  return accepted === 'image/*' ? type.startsWith('image/') : type === accepted
}

/**
 * The images of a predict body, in the order sent.
 *
 * @throws FacetError `empty_body`, `malformed_request`, `bad_parameter`, `too_many_parts`
 */
export async function imagesOf(
  request: FastifyRequest,
  limits: BodyLimits,
  rules: FormRules,
): Promise<Images> {
  if (typeOf(request) === FORM) return partsOf(request, limits, rules)
  const parts = isOneImage(request)
    ? [{ name: null, bytes: notEmpty(request.body as Buffer) }]
    : await inTurn(request, base64Images(request.body, limits))
  return { parts, fields: new Map() }
}

const FORM = 'multipart/form-data'

/** Whether the body itself is the only image, and not a list with one image in it. */
export function isOneImage(request: FastifyRequest): boolean {
  return Buffer.isBuffer(request.body) && typeOf(request) !== FORM
}

/**
 * The pack of an upload: the body itself, or the multipart part `pack`. It shares the body's memory.
 *
 * @throws FacetError as `imagesOf`
 */
export async function packOf(request: FastifyRequest): Promise<Uint8Array> {
  if (typeOf(request) !== FORM) return notEmpty(request.body as Buffer)
  const notOne = () =>
    new FacetError('malformed_request', "A multipart upload has one part, and its name is 'pack'.")
  const form = await readForm(request, 1, notOne, (steps) => inTurn(request, steps))
  const [part] = form
  if (part === undefined) throw noParts()
  if (part.name !== 'pack') throw notOne().at(0)
  return notEmpty(part.bytes)
}

/** Parameters that a form may have beside its images. */
const MAX_FIELDS = 4

async function partsOf(
  request: FastifyRequest,
  limits: BodyLimits,
  { isField = () => false, accept }: FormRules,
): Promise<Images> {
  const form = await readForm(
    request,
    limits.parts + MAX_FIELDS,
    () => tooMany(limits),
    (steps) => inTurn(request, steps),
  )
  if (form.length === 0) throw noParts()
  const fields = new Map<string, string>()
  for (const { name, bytes } of form.filter(isField)) {
    if (fields.has(name!))
      throw new FacetError('bad_parameter', `The form field '${name}' is given more than once.`)
    fields.set(name!, bytes.toString())
  }
  const images = form.filter((part) => !isField(part))
  if (images.length === 0) throw new FacetError('empty_body', 'The form has parameters and no image.')
  if (images.length > limits.parts) throw tooMany(limits)
  const parts = images.map((part, index) => {
    const { name, bytes } = part
    try {
      accept?.(part)
      if (name === null)
        throw new FacetError('malformed_request', 'The part has no name in its Content-Disposition.')
      return { name, bytes: notEmpty(bytes) }
    } catch (error) {
      throw error instanceof FacetError ? error.at(index) : error
    }
  })
  return { parts, fields }
}

function noParts(): FacetError {
  return new FacetError('empty_body', 'The multipart body has no parts.')
}

/** `{"images": ["<base64>", ...]}`, in steps. */
function* base64Images(body: unknown, limits: BodyLimits): Steps<Part[]> {
  const images = onlyField(body, 'images', '{"images": ["<base64>", ...]}')
  if (!Array.isArray(images))
    throw new FacetError('malformed_request', "'images' must be a list of base64 strings.")
  if (images.length === 0) throw new FacetError('empty_body', "'images' is empty.")
  if (images.length > limits.parts) throw tooMany(limits)
  const parts: Part[] = []
  for (const [index, image] of images.entries()) {
    const text = typeof image === 'string' ? Buffer.from(image) : image
    if (!Buffer.isBuffer(text))
      throw new FacetError('malformed_request', 'The image is not a base64 string.', { index })
    const bytes = yield* decodeBase64(text, index)
    if (bytes.length === 0) throw new FacetError('empty_body', 'The image has no bytes.', { index })
    parts.push({ name: null, bytes })
    yield
  }
  return parts
}

/** Does work on a request's body. @throws FacetError `client_closed` when the client has left meanwhile */
export function inTurn<T>(request: FastifyRequest, steps: Steps<T>): Promise<T> {
  const check = () => {
    if (request.raw.socket.destroyed) throw clientClosed()
  }
  return turns.run(steps, { owner: principalOf(request), check })
}

function notEmpty(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes === undefined || bytes.length === 0) throw new FacetError('empty_body', 'There are no bytes.')
  return bytes
}

function tooMany({ parts }: BodyLimits): FacetError {
  return new FacetError('too_many_parts', `The body has more than ${parts} images (--max-images).`)
}
