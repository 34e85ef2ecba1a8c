/**
 * Every error of `/v1` as an RFC 9457 problem, in one place.
 *
 * A `FacetError` speaks for itself. Errors of the parsers below are given our words; anything else becomes
 * `internal`, and its cause goes to the log under the request's id and nowhere else.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, FacetError } from '../errors.js'

const PROBLEM_TYPE = 'application/problem+json'

/** Members of a problem document. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
  request_id: string
  /** Everything that is wrong with the input, where more than one thing can be. */
  problems?: readonly string[]
  /** Position of the image in the request, from 0. */
  index?: number
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The error the request was answered with, for the log. */
    failure: FacetError | null
  }
}

/** What Fastify, its multipart plugin and Node call their errors, and what they are here. */
const parserErrors: Record<string, readonly [ErrorCode, string]> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'The Content-Type is malformed, or not one this route reads, such as image/jpeg.',
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    'malformed_request',
    'The body is not as long as Content-Length says.',
  ],
  FST_ERR_BAD_URL: ['malformed_request', 'The path has a broken percent-encoding.'],
  FST_ERR_MAX_PARAM_LENGTH: ['malformed_request', 'A segment of the path is too long.'],
  FST_PROTO_VIOLATION: ['malformed_request', 'A part has a name that is not allowed.'],
  FST_MP_PREMATURE_CLOSE: ['client_closed', 'The connection closed before the body was whole.'],
  ECONNRESET: ['client_closed', 'The connection closed before the body was whole.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request did not arrive in time.'],
  HPE_HEADER_OVERFLOW: [
    'headers_too_large',
    'The header fields have more bytes than this service takes (--max-header).',
  ],
}

/** Any error as one of the table. */
export function toFacetError(error: unknown): FacetError {
  if (error instanceof FacetError) return error
  const { code, statusCode } = (error ?? {}) as { code?: unknown; statusCode?: unknown }
  const known = parserErrors[String(code)]
  if (known) return new FacetError(known[0], known[1], { cause: error })
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return new FacetError('malformed_request', 'The request could not be read.', { cause: error })
  return new FacetError(
    'internal',
    'Something went wrong here; the log has the cause under this request id.',
    {
      cause: error,
    },
  )
}

/** The document a client sees. Holds no stack and no path of this machine. */
export function problemOf(error: FacetError, requestId: string): Problem {
  return {
    type: `urn:facet:problem:${error.code}`,
    title: error.title,
    status: error.status,
    detail: error.message,
    code: error.code,
    request_id: requestId,
    ...(error.problems.length > 0 ? { problems: error.problems } : {}),
    ...(error.index === undefined ? {} : { index: error.index }),
  }
}

/** Header fields that go with a problem. */
export function problemHeaders(error: FacetError): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': PROBLEM_TYPE }
  if (error.status === 401) headers['www-authenticate'] = 'Bearer realm="facet"'
  if (error.status === 429 || error.status === 503 || error.retryAfter !== undefined)
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfter ?? 1)))
  return headers
}

/** Answers a request with a problem, logs what only we should know, and reads away the rest of the body. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const failure = tooManyBytes(error, request) ?? toFacetError(error)
  request.failure = failure
  // A deadline is the client's to choose; the metrics count those that pass.
  if (failure.status >= 500 && failure.code !== 'deadline_exceeded')
    request.log.error({ err: failure.cause ?? failure, code: failure.code }, 'failed')
  else if (failure.cause !== undefined)
    request.log.debug({ err: failure.cause, code: failure.code }, 'refused')
  discardRest(request, reply)
  return reply
    .code(failure.status)
    .headers(problemHeaders(failure))
    .send(JSON.stringify(problemOf(failure, request.id)))
}

/** Fastify's own error does not say how many bytes a route takes. */
function tooManyBytes(error: unknown, request: FastifyRequest): FacetError | undefined {
  if ((error as { code?: unknown } | null)?.code !== 'FST_ERR_CTP_BODY_TOO_LARGE') return undefined
  const { bodyLimit, config } = request.routeOptions
  return bodyTooLarge(bodyLimit, config.limitedBy)
}

/** @param option the option that raises the limit, where there is one */
export function bodyTooLarge(limit: number, option?: string): FacetError {
  return new FacetError(
    'body_too_large',
    `The body has more than ${limit} bytes${option === undefined ? '' : ` (${option})`}.`,
  )
}

/** Installs the mapping for every route, and for paths and methods that are none. */
export function answerWithProblems(app: FastifyInstance): void {
  app.decorateRequest('failure', null)
  app.setErrorHandler(sendProblem)
  // In onRequest, so that the body of a request to nowhere is not read.
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return
    const path = request.url.split('?', 1)[0]!
    const allowed = app.supportedMethods.filter((method) => app.findRoute({ method, url: path }) !== null)
    if (allowed.length === 0) throw new FacetError('not_found', 'There is nothing at this path.')
    void reply.header('allow', allowed.join(', '))
    throw new FacetError(
      'method_not_allowed',
      `${request.method} is not possible here; ${allowed.join(', ')}.`,
    )
  })
  app.setNotFoundHandler((_request, reply) =>
    reply.send(new FacetError('not_found', 'There is nothing here.')),
  )
}

/** Bytes of a refused body that are read and dropped so that the client gets to see the answer. */
const MAX_DISCARDED = 64 * 1024 * 1024

/**
 * A refused request may still be arriving. Closing at once resets the connection, and a client that is busy
 * sending may never see why it was refused; so the rest is dropped as it comes, up to a bound.
 */
function discardRest(request: FastifyRequest, reply: FastifyReply): void {
  const { raw } = request
  if (raw.complete || raw.destroyed) return
  let left = MAX_DISCARDED
  raw.unpipe()
  raw.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) raw.destroy()
  })
  raw.resume()
  // Fastify closes after a body it could not read; the bound above does that better.
  void reply.removeHeader('connection')
}
