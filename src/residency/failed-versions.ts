/** Versions that could not be loaded lately, so that a corrupt pack is not read again at each request. */
import type { Logger } from 'pino'
import { short } from '../bytes/digest.js'
import type { Clock } from '../concurrency/clock.js'
import { FacetError } from '../errors.js'
import { unloadable } from './failures.js'

/** After this long a failed version is tried again, ms. */
const RETRY_MS = 5_000

interface Failure {
  error: FacetError
  /** `clock.now()` milliseconds. */
  until: number
}

export class FailedVersions {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #retryMs: number
  readonly #failures = new Map<string, Failure>()

  constructor(clock: Clock, logger: Logger, retryMs = RETRY_MS) {
    this.#clock = clock
    this.#logger = logger
    this.#retryMs = retryMs
  }

  /** Logs and remembers that a version cannot be loaded. Returns the error for those who wait for it. */
  add(version: string, cause: unknown): FacetError {
    const error = unloadable(cause, this.#retryMs)
    // A `store_failed` is not the pack's fault (no file descriptor was free, for one): the next request may
    // try again.
    const mayRetryAtOnce = cause instanceof FacetError && cause.code === 'store_failed'
    if (!mayRetryAtOnce) this.#failures.set(version, { error, until: this.#clock.now() + this.#retryMs })
    // An expected failure is logged by its message; only an unforeseen one needs its stack.
    const why = cause instanceof FacetError ? { reason: cause.message } : { err: cause }
    this.#logger.error({ ...why, version: short(version) }, 'adapter cannot be loaded')
    return error
  }

  get(version: string): FacetError | undefined {
    return this.#failures.get(version)?.error
  }

  /** @throws FacetError `domain_failed` (503) for a version that is not to be tried again yet */
  check(version: string): void {
    const failure = this.#failures.get(version)
    if (failure && this.#clock.now() < failure.until) throw failure.error
  }

  /** Forgets a version that was loaded, or that no domain lists. */
  delete(version: string): void {
    this.#failures.delete(version)
  }
}
