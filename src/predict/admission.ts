/**
 * Admission: how many images, and how many encoded bytes, are in the service at once.
 *
 * The one place where a request is refused because too much waits, before any work on it. An image is in the service
 * from its admission to its answer: while it waits to be decoded, for its adapter and for a run, and while it runs.
 * The images of a request are admitted together or not at all.
 *
 * A domain that has images in the service may have no more than are left for all others, and no more than
 * `BYTES_PER_FREE_BYTE` times as many bytes. However many domains flood, the service keeps room for one that does not
 * (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
 */
import { FacetError } from '../errors.js'

export interface AdmissionOptions {
  /** Most images, in all and of one domain. */
  maxImages: number
  maxImagesOfDomain: number
  /** Most encoded bytes in all. */
  maxBytes: number
  /** Seconds in which so many images are answered, as far as is known. */
  secondsFor?(images: number): number
  /** A request was refused: `queue_full`, `domain_queue_full` or `too_many_parts`. */
  refused?(reason: string): void
}

/** An image that asks for admission. */
export interface Arrival {
  domain: string
  /** Encoded bytes. */
  image: Uint8Array
}

/** What is in the service, of one domain or in all. */
class Load {
  images = 0
  bytes = 0

  add(images: number, bytes: number): void {
    this.images += images
    this.bytes += bytes
  }
}

/** A domain may have four times as many bytes as are free: one domain alone can use 80% of them. */
const BYTES_PER_FREE_BYTE = 4
/** Seconds after which a refused client may come back, at least. */
const MIN_RETRY_SECONDS = 1

export class Admission {
  readonly #options: AdmissionOptions
  readonly #all = new Load()
  /** Of domains that have images in the service. */
  readonly #domains = new Map<string, Load>()

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /** Images in the service. */
  get images(): number {
    return this.#all.images
  }

  /** Encoded bytes of the images in the service. */
  get bytes(): number {
    return this.#all.bytes
  }

  /**
   * Checks that all images of a request fit. Changes nothing: `enter` takes the room.
   *
   * @throws FacetError `queue_full` (429) with a time to come back; `too_many_parts` (413) for more images than an
   * empty service takes. A request whose bytes would never fit is the caller's to refuse.
   */
  check(images: readonly Arrival[]): void {
    const { maxImages, maxImagesOfDomain, maxBytes } = this.#options
    const wanted = new Load()
    const byDomain = new Map<string, Load>()
    for (const { domain, image } of images) {
      wanted.add(1, image.byteLength)
      loadOf(byDomain, domain).add(1, image.byteLength)
    }
    if (wanted.images > maxImages) throw this.#neverFits(wanted.images, maxImages, '--max-queue')
    for (const [domain, { images }] of byDomain)
      if (images > maxImagesOfDomain)
        throw this.#neverFits(images, maxImagesOfDomain, '--max-queue-per-domain', ` of '${domain}'`)

    if (this.#all.images + wanted.images > maxImages)
      throw this.#full('queue_full', `it has ${this.#all.images} images (--max-queue)`, this.#all.images)
    if (this.#all.bytes + wanted.bytes > maxBytes)
      throw this.#full(
        'queue_full',
        `its images have ${this.#all.bytes} bytes (--max-bodies)`,
        this.#all.images,
      )
    for (const [domain, { images, bytes }] of byDomain) {
      const own = this.#domains.get(domain)
      if (own === undefined) continue
      // Images of all domains are answered in turn: while one of this domain leaves, one of each other does.
      const ahead = Math.min(this.#all.images, own.images * this.#domains.size)
      const imagesLeft = maxImages - this.#all.images
      const most = Math.min(maxImagesOfDomain, imagesLeft)
      if (own.images + images > most) {
        const option = imagesLeft < maxImagesOfDomain ? '--max-queue' : '--max-queue-per-domain'
        throw this.#full('domain_queue_full', `it has ${own.images} images of '${domain}' (${option})`, ahead)
      }
      if (own.bytes + bytes > BYTES_PER_FREE_BYTE * (maxBytes - this.#all.bytes))
        throw this.#full(
          'domain_queue_full',
          `its images of '${domain}' have ${own.bytes} bytes (--max-bodies)`,
          ahead,
        )
    }
  }

  /** Counts the images of a request as in the service, until each of them leaves. */
  enter(images: readonly Arrival[]): void {
    for (const { domain, image } of images) {
      this.#all.add(1, image.byteLength)
      loadOf(this.#domains, domain).add(1, image.byteLength)
    }
  }

  /** An image that entered was answered. @param bytes its encoded bytes */
  leave(domain: string, bytes: number): void {
    const own = this.#domains.get(domain)!
    this.#all.add(-1, -bytes)
    own.add(-1, -bytes)
    if (own.images === 0) this.#domains.delete(domain)
  }

  #neverFits(images: number, most: number, option: string, whose = ''): FacetError {
    this.#options.refused?.('too_many_parts')
    return new FacetError(
      'too_many_parts',
      `${images} images${whose} at once; the service takes ${most} (${option}).`,
    )
  }

  /** @param ahead images that are answered before there is room */
  #full(reason: string, what: string, ahead: number): FacetError {
    const { secondsFor, refused } = this.#options
    refused?.(reason)
    const seconds = Math.ceil(secondsFor?.(ahead) ?? 0)
    return new FacetError('queue_full', `The service is full: ${what}.`, {
      retryAfter: Math.max(MIN_RETRY_SECONDS, seconds),
    })
  }
}

function loadOf(loads: Map<string, Load>, domain: string): Load {
  let load = loads.get(domain)
  if (load === undefined) {
    load = new Load()
    loads.set(domain, load)
  }
  return load
}
