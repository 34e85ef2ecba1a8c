/**
 * What the multipart parser keeps to itself. It skips a part that is no form data without a word (RFC 7578 wants a
 * `Content-Disposition: form-data` in each), and a client would take the answers of the others for the whole.
 * So the heads of all parts are read beside it, by the same library's splitter, from the same bytes.
 */
import { Dicer } from '@fastify/busboy'
import { FacetError } from '../../errors.js'

/** Limits of a part's head, for both readers. */
export const headLimits = { headerPairs: 32, headerSize: 8192 }

/** The boundary as RFC 2046 lets it be written. */
const BOUNDARY = /;\s*boundary=(?:"([^"]*)"|([^\s;]+))/i

export class PartHeads {
  readonly #splitter: Dicer
  /** What is wrong with each part so far; null where nothing is. */
  readonly #parts: (string | null)[] = []

  /** @throws FacetError `malformed_request` where the content type names no boundary, or one that is too long */
  constructor(contentType: string) {
    const [, quoted, plain] = BOUNDARY.exec(contentType) ?? []
    const boundary = quoted ?? plain
    // RFC 2046: 70 characters at most; the splitter takes a few more.
    if (!boundary || boundary.length > 200)
      throw new FacetError(
        'malformed_request',
        'The Content-Type of a multipart body names its boundary, of 70 characters at most.',
      )
    const options = {
      ...{ boundary, maxHeaderPairs: headLimits.headerPairs, maxHeaderSize: headLimits.headerSize },
      // It never waits for a reader: a head is known as soon as its bytes are.
      partHwm: Number.MAX_SAFE_INTEGER,
    }
    this.#splitter = new Dicer(options)
    this.#splitter.on('part', (part) => {
      const index = this.#parts.push('its head has no end') - 1
      part.on('header', (header) => {
        this.#parts[index] = faultOf((header as Record<string, string[]>)['content-disposition']?.[0])
      })
      part.resume()
    })
  }

  read(chunk: Buffer): void {
    this.#splitter.write(chunk)
  }

  /**
   * @param taken parts that the parser handed over
   * @throws FacetError `malformed_request` for the first part it has skipped
   */
  check(taken: number): void {
    const index = this.#parts.findIndex((fault) => fault !== null)
    if (index !== -1)
      throw new FacetError(
        'malformed_request',
        `The part is no form data: ${this.#parts[index]}. Each part needs a Content-Disposition: form-data with a name.`,
        { index },
      )
    if (taken !== this.#parts.length)
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
