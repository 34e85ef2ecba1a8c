/**
 * Header fields that two readers could take in two ways: given more than once, a Host that is no host, a body in a
 * coding that nobody undoes (RFC 9110, section 5.3; RFC 9112, sections 3.2 and 6.1). A proxy and this service must not
 * take one request for two different ones.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'
import { quoted } from '../../shown-text.js'

/** Fields of which Node takes the first and drops the others without a word. */
const SINGLE_FIELDS = new Map(
  ['Host', 'Authorization', 'Content-Type'].map((name) => [name.toLowerCase(), name]),
)
/** A host and its port: a name or IPv4, or IPv6 in brackets. */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.~%-]*)(?::\d*)?$/i

/** Refuses such requests on every route. */
export function checkFields(app: FastifyInstance): void {
  app.addHook('onRequest', ({ raw }, _reply, done) => {
    const problem = repeated(raw) ?? wrongHost(raw) ?? wrongCoding(raw)
    if (problem !== null) throw new FacetError('malformed_request', problem)
    done()
  })
}

function repeated({ rawHeaders }: IncomingMessage): string | null {
  const seen: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = SINGLE_FIELDS.get(rawHeaders[index]!.toLowerCase())
    if (name === undefined) continue
    if (seen.includes(name)) return `There is more than one ${name} field; send one.`
    seen.push(name)
  }
  return null
}

function wrongHost({ headers, httpVersion }: IncomingMessage): string | null {
  if (headers.host === undefined) return httpVersion === '1.0' ? null : 'There is no Host field.'
  return HOST.test(headers.host) ? null : 'The Host field names no host.'
}

/** RFC 9112 would have 501; but an operator takes that for a failure of the service, and it is the client's. */
function wrongCoding({ headers }: IncomingMessage): string | null {
  const coding = headers['transfer-encoding']
  if (coding === undefined || coding.trim().toLowerCase() === 'chunked') return null
  return `The Transfer-Encoding ${quoted(coding)} is not read; chunked alone is.`
}
