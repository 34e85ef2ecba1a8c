/** Lists of all models: a few domains in a step, in a long answer. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { DomainView } from '../../../registry/types.js'
import { principalOf } from '../../access/auth.js'
import { departure } from '../../exchange/departure.js'
import type { AppDeps, Domains } from '../../exchange/deps.js'
import type { AnswerLimit } from '../../exchange/long-answer.js'

/** Domains that are looked at in a step. */
const DOMAINS_A_STEP = 20

export function listingLimit(
  request: FastifyRequest,
  reply: FastifyReply,
  { config, clock }: Pick<AppDeps, 'config' | 'clock'>,
): AnswerLimit {
  return {
    principal: principalOf(request),
    signal: departure(reply),
    deadline: request.arrival + config.timeoutMs,
    clock,
  }
}

/** All domains, or those in `only`, sorted by their ids: a step's at a time. */
export function* domainsInSteps(
  registry: Domains,
  only: ReadonlySet<string> | null,
): Generator<readonly DomainView[], void, void> {
  let cursor: string | undefined
  do {
    const page = registry.list({ limit: DOMAINS_A_STEP, only, ...(cursor !== undefined && { cursor }) })
    yield page.domains
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined)
}
