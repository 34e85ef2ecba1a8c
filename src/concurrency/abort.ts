/** Waiting for a promise no longer than a signal allows. */
import { clientClosed } from '../errors.js'

/**
 * Settles as `promise` does, or rejects when the signal aborts before. The promise itself goes on.
 * @throws FacetError `client_closed` (499) when the signal aborts
 */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(clientClosed())
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
