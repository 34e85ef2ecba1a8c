/**
 * The least speed of a body. A sender that stops half-way loses its place within seconds, long before the
 * time within which a request must have arrived whole.
 */
import type { Clock } from '../../concurrency/clock.js'
import { FacetError } from '../../errors.js'

/** A body may be slower for so long: over every such time it must bring what its speed asks for, ms. */
export const GRACE_MS = 5000
/** Time between two looks at the bodies, ms. */
const CHECK_INTERVAL_MS = 1000

/** A body that is arriving. */
export interface Arriving {
  /** Bytes since `since`. */
  bytes: number
  since: number
  /** Called once if the body is too slow. */
  refuse(error: FacetError): void
}

export class Pace {
  readonly #bytesPerSecond: number
  readonly #clock: Clock
  readonly #arriving = new Set<Arriving>()
  #cancel: (() => void) | null = null

  /** @param bytesPerSecond 0 for no bound */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond
    this.#clock = clock
  }

  /** A body begins to arrive. Its reader adds the bytes that come. */
  begin(refuse: (error: FacetError) => void): Arriving {
    const body = { bytes: 0, since: this.#clock.now(), refuse }
    if (this.#bytesPerSecond === 0) return body
    this.#arriving.add(body)
    this.#cancel ??= this.#later()
    return body
  }

  /** The body is whole, or refused. */
  end(body: Arriving): void {
    this.#arriving.delete(body)
  }

  /** Looks at no body any more. */
  close(): void {
    this.#arriving.clear()
    this.#cancel?.()
    this.#cancel = null
  }

  #later(): () => void {
    return this.#clock.after(CHECK_INTERVAL_MS, () => {
      this.#check()
      this.#cancel = this.#arriving.size > 0 ? this.#later() : null
    })
  }

  #check(): void {
    const now = this.#clock.now()
    const wanted = (this.#bytesPerSecond * GRACE_MS) / 1000
    for (const body of this.#arriving) {
      if (now - body.since < GRACE_MS) continue
      if (body.bytes < wanted) {
        this.#arriving.delete(body)
        body.refuse(this.#tooSlow(body.bytes))
      } else {
        body.bytes = 0
        body.since = now
      }
    }
  }

  #tooSlow(bytes: number): FacetError {
    return new FacetError(
      'request_timeout',
      `The body comes too slowly: ${bytes} bytes in ${GRACE_MS / 1000} seconds. ${this.#bytesPerSecond} a second are the least (--min-body-rate).`,
    )
  }
}
