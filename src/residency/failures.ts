/** The errors of loading and waiting, worded once. */
import { FacetError } from '../errors.js'

/** True for what says nothing about the pack: the service stops or the engine is away. */
export function passing(error: unknown): boolean {
  return error instanceof FacetError && (error.code === 'draining' || error.code === 'engine_restarting')
}

export function unloadable(cause: unknown, failureMs: number): FacetError {
  const known = cause instanceof FacetError
  return new FacetError('domain_failed', known ? cause.message : 'Its pack cannot be read.', {
    cause,
    problems: known ? cause.problems : [],
    retryAfter: Math.max(1, Math.ceil(failureMs / 1000)),
  })
}

export function bankFull(): FacetError {
  return new FacetError('bank_full', 'No bank row got free in time; every one is in use or pinned.', {
    retryAfter: 1,
  })
}

export function tooLate(): FacetError {
  return new FacetError('deadline_exceeded', 'The deadline passed while the adapter was loading.')
}

export function clientGone(): FacetError {
  return new FacetError('client_closed', 'The client left while the adapter was loading.')
}
