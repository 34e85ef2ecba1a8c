/**
 * The Host field: one, and a sound one (RFC 9112, section 3.2). A proxy and this service could take a request with
 * two for different hosts.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'

/** Characters of a host and its port: names, IPv4, IPv6 in brackets. */
const HOST = /^[\w.~!$&'()*+,;=%:[\]-]*$/

/** Refuses requests without it, with two, or with one that is no host. */
export function checkHost(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ raw }) => {
    const problem = problemOf(raw)
    if (problem !== null) throw new FacetError('malformed_request', problem)
  })
}

function problemOf({ rawHeaders, headers, httpVersion }: IncomingMessage): string | null {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === 4 && name.toLowerCase() === 'host') count++
  }
  if (count > 1) return 'There is more than one Host field.'
  if (headers.host === undefined) return httpVersion === '1.0' ? null : 'There is no Host field.'
  return HOST.test(headers.host) ? null : 'The Host field names no host.'
}
