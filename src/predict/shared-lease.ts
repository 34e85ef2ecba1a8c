/** One lease for the images of a request that ask for the same domain and version. */
import { unlessAborted } from '../concurrency/abort.js'
import { Withdrawn } from '../errors.js'
import type { Lease } from '../registry/types.js'

/**
 * Acquired when the first of its images needs it, released when the last one is done with it. So all images of a
 * domain in one request are answered by one version: the one that was active when the first of them was decoded.
 *
 * While an image holds the lease it waits for its decoding or its run, and for no other lease. A request of more
 * domains than the bank has rows is answered therefore, and two such requests cannot lock each other out.
 */
export class SharedLease {
  readonly #acquire: (signal: AbortSignal) => Promise<Lease>
  /** Aborted when no image needs the lease any more. */
  readonly #unneeded = new AbortController()
  #images = 0
  #lease: Promise<Lease> | undefined

  /** @param acquire asks for the lease; its signal aborts when no image needs the lease any more */
  constructor(acquire: (signal: AbortSignal) => Promise<Lease>) {
    this.#acquire = acquire
  }

  /** Counts one more image, which must call `done` in the end. */
  join(): void {
    this.#images++
  }

  /**
   * @param signal ends the wait of this image alone
   * @throws what `acquire` throws; FacetError `client_closed` (499) when the signal aborts
   */
  take(signal: AbortSignal | undefined): Promise<Lease> {
    this.#lease ??= this.#acquire(this.#unneeded.signal)
    return signal === undefined ? this.#lease : unlessAborted(this.#lease, signal)
  }

  /** One image needs the lease no more. */
  done(): void {
    if (--this.#images > 0) return
    this.#lease?.then(
      (lease) => lease.release(),
      () => {},
    )
    this.#unneeded.abort(new Withdrawn())
  }
}
