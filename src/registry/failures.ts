/** How a failure of a version is told for the domain that a client asked for. */
import { FacetError } from '../errors.js'

/** A version's failure, as the domain's that a client asked for. */
export function named(domain: string, error: unknown): unknown {
  if (!(error instanceof FacetError) || error.code !== 'domain_failed') return error
  return new FacetError('domain_failed', `Domain '${domain}' cannot be loaded: ${error.message}`, {
    cause: error.cause,
    problems: error.problems,
    ...(error.retryAfter === undefined ? {} : { retryAfter: error.retryAfter }),
  })
}
