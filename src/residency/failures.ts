/** The errors of loading and waiting. */
import { FacetError } from '../errors.js'

/** Seconds after which a client may try again where the bank was busy. */
const RETRY_SECONDS = 1

/** True for an error that says nothing about the pack: the service stops, or the engine restarts. */
export function passing(error: unknown): boolean {
  return error instanceof FacetError && (error.code === 'draining' || error.code === 'engine_restarting')
}

/** @param retryMs when the load may be tried again */
export function unloadable(cause: unknown, retryMs: number): FacetError {
  const known = cause instanceof FacetError
  return new FacetError('domain_failed', known ? cause.message : 'Its pack cannot be read.', {
    cause,
    problems: known ? cause.problems : [],
    retryAfter: Math.max(1, Math.ceil(retryMs / 1000)),
  })
}

export function bankFull(): FacetError {
  return new FacetError('bank_full', 'No bank row became free in time; every one is in use or pinned.', {
    retryAfter: RETRY_SECONDS,
  })
}

/** @param isUp false while the engine restarts */
export function loadTimeout(isUp: boolean): FacetError {
  const message = isUp
    ? 'The adapter did not get into the bank in time; it is busy with other domains.'
    : 'The adapter did not load in time: the engine is restarting.'
  return new FacetError('load_timeout', message, { retryAfter: RETRY_SECONDS })
}

export function tooLate(): FacetError {
  return new FacetError('deadline_exceeded', 'The deadline passed while the adapter was loading.')
}

export function clientGone(): FacetError {
  return new FacetError('client_closed', 'The client left while the adapter was loading.')
}
