/**
 * Admission: how many images, and how many encoded bytes, are in the service at once.
 *
 * The one place where a request is refused because too much waits, before any work on it. An image is in the service
 * from its admission to its answer: while it waits to be decoded, for its adapter and for a run, and while it runs.
 * The images of a request are admitted together or not at all.
 *
 * A principal that has images in the service may have `SHARE_OF_FREE` times as many images and bytes as are free, and of
 * a domain `SHARE_OF_FREE` times as many as the domain may still have. While it has some of a domain, the domain may have
 * no more than the principal then has left, and no more images than are free. However many principals flood, the
 * service keeps room for one that does not, also in the domains that they flood, and within a principal for a domain
 * that does not (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
 */
import { FacetError } from '../errors.js'

/** Why a request was refused: what is full, or that it has more images than an empty service takes. */
export type Refusal = 'queue_full' | 'principal_queue_full' | 'domain_queue_full' | 'too_many_parts'

export interface AdmissionOptions {
  /** Most images, in all and of one domain. */
  maxImages: number
  maxImagesOfDomain: number
  /** Most encoded bytes in all. */
  maxBytes: number
  /** Seconds in which so many images are answered, as far as is known. */
  secondsFor?(images: number): number
  refused?(reason: Refusal): void
}

/** An image that asks for admission. */
export interface Arrival {
  domain: string
  /** Encoded bytes. */
  image: Uint8Array
}

interface Amount {
  readonly images: number
  readonly bytes: number
}

const NOTHING: Amount = { images: 0, bytes: 0 }

/** What is in the service, of one domain, of one principal or in all. */
class Load implements Amount {
  images = 0
  bytes = 0

  add(images: number, bytes: number): void {
    this.images += images
    this.bytes += bytes
  }
}

/** What is in the service of one domain. */
class DomainLoad extends Load {
  /** Images of each principal that has some. */
  readonly ofPrincipal = new Map<string, number>()

  addTo(principal: string, images: number, bytes: number): void {
    this.add(images, bytes)
    const own = (this.ofPrincipal.get(principal) ?? 0) + images
    if (own === 0) this.ofPrincipal.delete(principal)
    else this.ofPrincipal.set(principal, own)
  }
}

/** A principal may have four times as much as is free: one alone can use 80% of the service, and of a domain's room. */
const SHARE_OF_FREE = 4
/** Seconds after which a refused client may come back, at least. */
const MIN_RETRY_SECONDS = 1

export class Admission {
  readonly #options: AdmissionOptions
  readonly #all = new Load()
  /** Of principals and of domains that have images in the service. */
  readonly #principals = new Map<string, Load>()
  readonly #domains = new Map<string, DomainLoad>()

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
   * Checks that all images of a principal's request fit. Changes nothing: `enter` takes the room.
   *
   * @throws FacetError `queue_full` (429) with a time to come back; `too_many_parts` (413) for more images than an
   * empty service takes. A request whose bytes would never fit is the caller's to refuse.
   */
  check(images: readonly Arrival[], principal: string): void {
    const { maxImages, maxImagesOfDomain, maxBytes } = this.#options
    const wanted = new Load()
    const byDomain = new Map<string, Load>()
    for (const { domain, image } of images) {
      wanted.add(1, image.byteLength)
      loadOf(byDomain, domain, Load).add(1, image.byteLength)
    }
    if (wanted.images > maxImages) throw this.#neverFits(wanted.images, maxImages, '--max-queue')
    for (const [domain, { images }] of byDomain)
      if (images > maxImagesOfDomain)
        throw this.#neverFits(images, maxImagesOfDomain, '--max-queue-per-domain', ` of '${domain}'`)

    const all = this.#all
    if (all.images + wanted.images > maxImages)
      throw this.#full('queue_full', `it has ${all.images} images (--max-queue)`, all.images)
    if (all.bytes + wanted.bytes > maxBytes)
      throw this.#full('queue_full', `its images have ${all.bytes} bytes (--max-bodies)`, all.images)
    const free = { images: maxImages - all.images, bytes: maxBytes - all.bytes }
    const own = this.#principals.get(principal) ?? NOTHING
    const left = {
      images: SHARE_OF_FREE * free.images - own.images,
      bytes: SHARE_OF_FREE * free.bytes - own.bytes,
    }
    this.#checkDomains(byDomain, principal, free, left)
    this.#checkPrincipal(own, wanted, left)
  }

  #checkPrincipal(own: Amount, wanted: Amount, left: Amount): void {
    if (own === NOTHING) return
    // Images of all principals are answered in turn: while one of this principal leaves, one of each other does.
    const ahead = Math.min(this.#all.images, own.images * this.#principals.size)
    if (wanted.images > left.images) {
      const what = `it has ${own.images} images of this caller (--max-queue)`
      throw this.#full('principal_queue_full', what, ahead)
    }
    if (wanted.bytes > left.bytes) {
      const what = `its images of this caller have ${own.bytes} bytes (--max-bodies)`
      throw this.#full('principal_queue_full', what, ahead)
    }
  }

  #checkDomains(byDomain: ReadonlyMap<string, Amount>, principal: string, free: Amount, left: Amount): void {
    const { maxImagesOfDomain } = this.#options
    const mostImages = Math.min(free.images, left.images)
    for (const [domain, wanted] of byDomain) {
      const own = this.#domains.get(domain)
      if (own === undefined) continue
      const { images, bytes } = own
      const ahead = Math.min(this.#all.images, images * this.#domains.size)
      const full = (what: string) => this.#full('domain_queue_full', what, ahead)
      if (images + wanted.images > maxImagesOfDomain)
        throw full(`it has ${images} images of '${domain}' (--max-queue-per-domain)`)
      const ofCaller = own.ofPrincipal.get(principal)
      if (ofCaller === undefined) continue
      if (images + wanted.images > mostImages)
        throw full(`it has ${images} images of '${domain}' (--max-queue)`)
      if (ofCaller + wanted.images > SHARE_OF_FREE * (maxImagesOfDomain - images))
        throw full(`it has ${ofCaller} images of '${domain}' of this caller (--max-queue-per-domain)`)
      if (bytes + wanted.bytes > left.bytes)
        throw full(`its images of '${domain}' have ${bytes} bytes (--max-bodies)`)
    }
  }

  /** Counts the images of a principal's request as in the service, until each of them leaves. */
  enter(images: readonly Arrival[], principal: string): void {
    const caller = loadOf(this.#principals, principal, Load)
    for (const { domain, image } of images) {
      const bytes = image.byteLength
      this.#all.add(1, bytes)
      caller.add(1, bytes)
      loadOf(this.#domains, domain, DomainLoad).addTo(principal, 1, bytes)
    }
  }

  /** An image that entered was answered. @param bytes its encoded bytes */
  leave(domain: string, bytes: number, principal: string): void {
    const caller = this.#principals.get(principal)!
    const own = this.#domains.get(domain)!
    this.#all.add(-1, -bytes)
    caller.add(-1, -bytes)
    own.addTo(principal, -1, -bytes)
    if (caller.images === 0) this.#principals.delete(principal)
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
  #full(reason: Refusal, what: string, ahead: number): FacetError {
    const { secondsFor, refused } = this.#options
    refused?.(reason)
    const seconds = Math.ceil(secondsFor?.(ahead) ?? 0)
    return new FacetError('queue_full', `The service is full: ${what}.`, {
      retryAfter: Math.max(MIN_RETRY_SECONDS, seconds),
    })
  }
}

function loadOf<L extends Load>(loads: Map<string, L>, name: string, Kind: new () => L): L {
  let load = loads.get(name)
  if (load === undefined) {
    load = new Kind()
    loads.set(name, load)
  }
  return load
}
