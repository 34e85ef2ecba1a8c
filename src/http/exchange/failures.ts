/**
 * Failed requests, in one place for all planes: which `FacetError` an error is, its status and header fields,
 * and what the log gets. How the answer's body looks is the plane's business.
 *
 * A `FacetError` is sent as it is. The errors of Fastify and Node get a code and a text
 * from the table below. Any other error becomes `internal`: its cause goes to the log under the request id,
 * and nowhere else.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, FacetError, internal } from '../../errors.js'
import { discardRest } from './rest-of-body.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The option that sets the route's `bodyLimit`, for the message of its error. */
    limitedBy?: string
  }
  interface FastifyRequest {
    /** The error the request was answered with, for the log. */
    failure: FacetError | null
  }
}

/** Characters of the longest path segment that is looked at; a domain id has at most 63. */
export const MAX_SEGMENT_LENGTH = 256

/** Codes of Fastify and Node, with the code and the text we answer. */
const parserErrors: Record<string, readonly [ErrorCode, string]> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'The Content-Type is malformed, or not one this route reads, such as image/jpeg.',
  ],
  FST_ERR_BAD_URL: ['malformed_request', 'The path has a broken percent-encoding.'],
  FST_ERR_MAX_PARAM_LENGTH: [
    'malformed_request',
    `A segment of the path has more than ${MAX_SEGMENT_LENGTH} characters. A domain id has 63 at most, and a version 64.`,
  ],
  ECONNRESET: ['client_closed', 'The connection closed before the body was whole.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request did not arrive in time.'],
  HPE_HEADER_OVERFLOW: [
    'headers_too_large',
    'The header fields have more bytes than this service takes (--max-header).',
  ],
}

/** Any error as one of the table of errors. */
export function toFacetError(error: unknown): FacetError {
  if (error instanceof FacetError) return error
  const { code, statusCode, reason } = (error ?? {}) as Partial<Record<string, unknown>>
  const known = parserErrors[String(code)]
  if (known) return new FacetError(known[0], known[1], { cause: error })
  if (/^HPE_/.test(String(code)))
    return new FacetError('malformed_request', `This is not HTTP/1.1: ${String(reason)}.`, { cause: error })
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return new FacetError('malformed_request', 'The request could not be read.', { cause: error })
  return internal(error)
}

/** Header fields that go with a failure, whatever its body. */
export function failureHeaders(failure: FacetError): Record<string, string> {
  const { status, retryAfter } = failure
  const headers: Record<string, string> = { 'cache-control': 'no-store' }
  if (status === 401) headers['www-authenticate'] = 'Bearer realm="facet"'
  if (status === 429 || status === 503 || retryAfter !== undefined)
    headers['retry-after'] = String(Math.max(1, Math.ceil(retryAfter ?? 1)))
  return headers
}

/**
 * The error handler of every plane: answers in the plane's format, and logs what only the operator should
 * know.
 */
export function answerFailure(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const failure = toFacetError(error)
  request.failure = failure
  // The client chooses its deadline, so a missed one is no fault of ours; the metrics count them.
  if (failure.status >= 500 && failure.code !== 'deadline_exceeded')
    request.log.error({ err: failure.cause ?? failure, code: failure.code }, 'failed')
  else if (failure.cause !== undefined)
    request.log.debug({ err: failure.cause, code: failure.code }, 'refused')
  discardRest(request, reply)
  const { type, body } = request.server.plane.failureBody(failure, request.id)
  return reply.code(failure.status).headers(failureHeaders(failure)).type(type).send(body)
}

/** @param option the option that raises the limit, where there is one */
export function bodyTooLarge(limit: number, option?: string): FacetError {
  return new FacetError(
    'body_too_large',
    `The body has more than ${limit} bytes${option === undefined ? '' : ` (${option})`}.`,
  )
}
