/** Errors of versions, in the words of a client, who asked for a domain. */
import { FacetError } from '../errors.js'

/** Names the domain in a `domain_failed`; other errors stay as they are. */
export function named(domain: string, error: unknown): unknown {
  if (!(error instanceof FacetError) || error.code !== 'domain_failed') return error
  return new FacetError('domain_failed', `Domain '${domain}' cannot be loaded: ${error.message}`, {
    cause: error.cause,
    problems: error.problems,
    ...(error.retryAfter === undefined ? {} : { retryAfter: error.retryAfter }),
  })
}
