/** The answer to a request for a domain that is not there: 404, with the domain that was probably meant. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { similarText } from '../../similar-text.js'
import { FacetError, unknownDomain } from '../../errors.js'
import type { Domains } from './deps.js'
import { answerFailure } from './failures.js'

/** Names only domains that the caller may see. */
export function missingDomain({ caller }: FastifyRequest, registry: Domains, domain: string): FacetError {
  const seen = caller.domains === null ? registry.ids() : [...caller.domains].filter((id) => registry.has(id))
  return unknownDomain(domain, similarText(domain, seen))
}

/** An error handler of routes whose path names a domain. */
export function answeringMissing(registry: Domains) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const { domain } = request.params as { domain: string }
    const missing = error instanceof FacetError && error.code === 'unknown_domain'
    return answerFailure(missing ? missingDomain(request, registry, domain) : error, request, reply)
  }
}
