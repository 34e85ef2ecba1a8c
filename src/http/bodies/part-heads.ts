/**
 * Finds the parts of a multipart body that the parser skips.
 *
 * @fastify/multipart silently skips a part without `Content-Disposition: form-data`, which RFC 7578 requires
 * in each. The client would take the results of the other parts for all of them. So the header fields of all
 * parts are read a second time, by the splitter of the same library, from the same bytes.
 */
import { Dicer } from '@fastify/busboy'
import { FacetError } from '../../errors.js'

/** Limits of a part's header fields, for both readers: their number, and their bytes together. */
export const headLimits = { headerPairs: 32, headerSize: 8192 }

/** Longest boundary the splitter takes, characters. RFC 2046 allows 70. */
const MAX_BOUNDARY_LENGTH = 200

/** The boundary parameter of a content type, quoted or not (RFC 2046). */
const BOUNDARY = /;\s*boundary=(?:"([^"]*)"|([^\s;]+))/i

export class PartHeads {
  readonly #splitter: Dicer
  /** Of each part so far: what is wrong with it, or null. */
  readonly #faults: (string | null)[] = []

  /**
   * @throws FacetError `malformed_request` where the content type names no boundary, or one that is too long
   */
  constructor(contentType: string) {
    const [, quoted, plain] = BOUNDARY.exec(contentType) ?? []
    const boundary = quoted ?? plain
    if (!boundary || boundary.length > MAX_BOUNDARY_LENGTH)
      throw new FacetError(
        'malformed_request',
        'The Content-Type of a multipart body names its boundary, of 70 characters at most.',
      )
    const options = {
      boundary,
      maxHeaderPairs: headLimits.headerPairs,
      maxHeaderSize: headLimits.headerSize,
      // The part's stream never fills up, so a header is known as soon as its bytes have been written.
      partHwm: Number.MAX_SAFE_INTEGER,
    }
    this.#splitter = new Dicer(options)
    this.#splitter.on('part', (part) => {
      const index = this.#faults.push('its header has no end') - 1
      part.on('header', (header) => {
        this.#faults[index] = faultOf((header as Record<string, string[]>)['content-disposition']?.[0])
      })
      part.resume()
    })
  }

  read(chunk: Buffer): void {
    this.#splitter.write(chunk)
  }

  /**
   * To be called at the end of the body.
   *
   * @param taken number of parts that the parser delivered
   * @throws FacetError `malformed_request` for the first part it skipped
   */
  check(taken: number): void {
    const index = this.#faults.findIndex((fault) => fault !== null)
    if (index !== -1)
      throw new FacetError(
        'malformed_request',
        `The part is not form data: ${this.#faults[index]}. Each part needs a Content-Disposition: form-data with a name.`,
        { index },
      )
    if (taken !== this.#faults.length)
      throw new FacetError(
        'malformed_request',
        'A part of the multipart body could not be read: its name or file name is malformed.',
      )
  }
}

function faultOf(disposition: string | undefined): string | null {
  if (disposition === undefined) return 'it has no readable Content-Disposition'
  if (/^\s*form-data\s*(;|$)/i.test(disposition)) return null
  return `its Content-Disposition is ${JSON.stringify(disposition.slice(0, 40))}`
}
