/**
 * Where an image is decoded: small plain ones on this thread, one a turn of the event loop, so that nobody else waits
 * for more than one; all others, and small ones beyond a few that wait, on libvips' threads behind a gate. The pixels are
 * the same either way.
 */
import type { Clock } from './clock.js'
import { Gate, type GateWait } from './gate.js'
import { decodeImage, sniffImage } from './image.js'
import type { InputSpec } from './manifest/manifest.js'
import { smallImage } from './pixels/small.js'
import { Turns } from './turns.js'

export interface DecoderOptions {
  input: InputSpec
  clock: Clock
  /** Images at once on libvips' threads. */
  threads: number
  /** Images that may wait for one of them, in all and of one domain. */
  maxWaiting: number
  maxWaitingOfOne: number
  /** Most pixels of an image. */
  maxPixels: number
  /** An image was refused or left: `queue_full`, `deadline_exceeded` or `client_closed`. */
  refused?(reason: string): void
}

/** Small images that wait for a turn; a few milliseconds. */
const WAITING_TURNS = 8

export class Decoder {
  readonly #options: DecoderOptions
  readonly #gate: Gate
  readonly #turns = new Turns(WAITING_TURNS)

  constructor(options: DecoderOptions) {
    const { threads: width, maxWaiting, maxWaitingOfOne, clock, refused } = options
    this.#options = options
    const words = { task: 'decoded', option: '--max-queue', optionOfOne: '--max-queue-per-domain' }
    this.#gate = new Gate({ width, clock, maxWaiting, maxWaitingOfOne, words, ...(refused && { refused }) })
  }

  /** Asks for room for so many images of each domain at once. @throws FacetError `queue_full` */
  admit(counts: ReadonlyMap<string, number>): void {
    this.#gate.admit(counts)
  }

  /** Encoded bytes to `[input.height, input.width, 3]`. @param wait whose `owner` is the domain
   * @throws FacetError of `decodeImage` and of `Gate.run` */
  async decode(image: Uint8Array, wait: GateWait): Promise<Uint8Array> {
    const { input, maxPixels } = this.#options
    const type = sniffImage(image)
    const small = type === 'png' ? smallImage(image, type, input, maxPixels) : null
    if (small !== null) {
      const turn = this.#turns.take()
      if (turn !== null) {
        if (turn !== 'now') await turn
        const pixels = wait.signal?.aborted ? null : small()
        if (pixels !== null) return pixels
      }
    }
    const limits = { maxPixels, ...(wait.signal && { signal: wait.signal }) }
    return this.#gate.run(() => decodeImage(image, input, limits), wait)
  }
}
