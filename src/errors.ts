/**
 * The table of all errors that a client can receive: a stable code, its HTTP status and its title.
 *
 * Other code throws `FacetError`; only `http/exchange/` turns it into a response. This file
 * knows no HTTP library.
 */
import { quoted } from './shown-text.js'

export const errorTable = {
  malformed_request: { status: 400, title: 'Malformed request' },
  empty_body: { status: 400, title: 'Empty body' },
  bad_domain_id: { status: 400, title: 'Bad domain id' },
  bad_parameter: { status: 400, title: 'Bad parameter' },
  unauthorized: { status: 401, title: 'Token missing or wrong' },
  forbidden: { status: 403, title: 'Not allowed' },
  control_plane_off: { status: 403, title: 'Control plane is off' },
  not_found: { status: 404, title: 'Not found' },
  unknown_domain: { status: 404, title: 'Unknown domain' },
  unknown_family: { status: 404, title: 'Unknown family' },
  unknown_version: { status: 404, title: 'Unknown version' },
  no_active_version: { status: 404, title: 'No active version' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  request_timeout: { status: 408, title: 'Request took too long to arrive' },
  base_immutable: { status: 409, title: 'The base domain cannot be changed' },
  seed_immutable: { status: 409, title: 'A shipped pack cannot be deleted' },
  ambiguous_version: { status: 409, title: 'Ambiguous version' },
  version_active: { status: 409, title: 'Version is active' },
  pins_exceed_memory: { status: 409, title: 'Pinned domains would exceed the bank' },
  no_head: { status: 409, title: 'Domain has no classifier' },
  precondition_failed: { status: 412, title: 'Precondition failed' },
  body_too_large: { status: 413, title: 'Too many bytes' },
  image_too_large: { status: 413, title: 'Image too large' },
  too_many_parts: { status: 413, title: 'Too many images' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  expectation_failed: { status: 417, title: 'Expectation failed' },
  undecodable_image: { status: 422, title: 'Undecodable image' },
  invalid_pack: { status: 422, title: 'Invalid pack' },
  queue_full: { status: 429, title: 'Queue is full' },
  rate_limited: { status: 429, title: 'Too many requests' },
  too_many_bodies: { status: 429, title: 'Too many bytes of bodies at once' },
  too_many_uploads: { status: 429, title: 'Too many uploads at once' },
  too_many_connections: { status: 429, title: 'Too many connections at once' },
  headers_too_large: { status: 431, title: 'Header fields too large' },
  client_closed: { status: 499, title: 'Client closed the request' },
  internal: { status: 500, title: 'Internal error' },
  inference_failed: { status: 500, title: 'Inference failed' },
  store_failed: { status: 500, title: 'Store failed' },
  decoder_unavailable: { status: 503, title: 'Decoder is not available' },
  draining: { status: 503, title: 'Shutting down' },
  engine_restarting: { status: 503, title: 'Engine is restarting' },
  bank_full: { status: 503, title: 'No bank row is free' },
  load_timeout: { status: 503, title: 'Adapter did not load in time' },
  store_problems: { status: 503, title: 'Store has problems' },
  domain_failed: { status: 503, title: 'Domain cannot be loaded' },
  deadline_exceeded: { status: 504, title: 'Deadline passed' },
  store_full: { status: 507, title: 'Store is full' },
} as const satisfies Record<string, { status: number; title: string }>

export type ErrorCode = keyof typeof errorTable

export interface FacetErrorOptions {
  cause?: unknown
  /** Every problem found, one sentence each; sent to the client as `problems`. */
  problems?: readonly string[]
  /** Seconds after which a retry may succeed; sent as `Retry-After`. */
  retryAfter?: number | undefined
  /** Position in the request, from 0, of the image (or part) that failed. */
  index?: number
}

/** An error with a code from `errorTable`. `message` is for people and safe to send to a client. */
export class FacetError extends Error {
  readonly code: ErrorCode
  readonly problems: readonly string[]
  readonly retryAfter: number | undefined
  readonly index: number | undefined

  constructor(code: ErrorCode, message: string, options: FacetErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'FacetError'
    this.code = code
    this.problems = options.problems ?? []
    this.retryAfter = options.retryAfter
    this.index = options.index
  }

  get status(): number {
    return errorTable[this.code].status
  }

  get title(): string {
    return errorTable[this.code].title
  }

  /** The same error for the image at this position of the request. */
  at(index: number): FacetError {
    return new FacetError(this.code, this.message, {
      cause: this.cause,
      problems: this.problems,
      retryAfter: this.retryAfter,
      index,
    })
  }
}

/* Errors that are thrown in several places, worded once. */

export function draining(): FacetError {
  return new FacetError('draining', 'The service is shutting down.', { retryAfter: 1 })
}

/** What no other error says. @param cause for the log */
export function internal(cause: unknown): FacetError {
  const message = 'Something went wrong here; the log has the cause under this request id.'
  return new FacetError('internal', message, { cause })
}

export function clientClosed(): FacetError {
  return new FacetError('client_closed', 'The client closed the request.')
}

export function engineRestarting(cause?: unknown): FacetError {
  return new FacetError('engine_restarting', 'The engine is restarting; try again in a moment.', {
    cause,
    retryAfter: 1,
  })
}

/**
 * @param domain text from a client; it is cut and escaped here
 * @param similar a domain that the client may have meant
 */
export function unknownDomain(domain: string, similar: string | null = null): FacetError {
  const hint = similar === null ? '' : `did you mean '${similar}'? `
  const message = `There is no domain ${quoted(domain)}; ${hint}GET /v1/domains lists them.`
  return new FacetError('unknown_domain', message)
}

/**
 * @param family text from a client; it is cut and escaped here
 * @param served names of the families that are served
 */
export function unknownFamily(family: string, served: readonly string[]): FacetError {
  const names = served.map((name) => `'${name}'`).join(', ')
  return new FacetError('unknown_family', `No family ${quoted(family)} is served; these are: ${names}.`)
}

export function noHead(domain: string): FacetError {
  return new FacetError('no_head', `Domain '${domain}' has no classifier; use its embed route.`)
}
