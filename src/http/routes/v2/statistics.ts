/** The statistics extension: what models were asked since the service started, by either plane. */
import type { FastifyInstance } from 'fastify'
import { statisticsOf } from '../../../oip/statistics.js'
import { principalOf } from '../../access/auth.js'
import { departure } from '../../exchange/departure.js'
import type { AppDeps } from '../../exchange/deps.js'
import { sendLong, type Texts } from '../../exchange/long-answer.js'
import { admitModel, foundModel, type OfModel } from './found-model.js'

/** Domains that are looked at in a step. */
const DOMAINS_A_STEP = 20

export function statisticsRoutes(app: FastifyInstance, deps: AppDeps): void {
  const { registry, statistics, config, clock } = deps

  app.get('/models/stats', { config: { scope: 'predict' } }, async (request, reply) => {
    const limit = {
      principal: principalOf(request),
      signal: departure(reply),
      deadline: request.arrival + config.timeoutMs,
      clock,
    }
    return sendLong(reply, askedModels(deps, request.caller.domains), limit)
  })

  const listing = { config: { scope: 'predict' as const }, onRequest: admitModel(registry) }
  for (const path of ['/models/:model', '/models/:model/versions/:version'])
    app.get<OfModel>(`${path}/stats`, listing, async (request) => {
      const { name, version, view } = foundModel(request, deps)
      const own = statisticsOf(name, version, statistics.of(name.domain), version === view.version)
      return { model_stats: [own] }
    })
}

/** Of each domain the classifier, at the versions that were asked; those that were asked nothing are left out. */
function* askedModels(
  { registry, statistics }: Pick<AppDeps, 'registry' | 'statistics'>,
  only: ReadonlySet<string> | null,
): Texts {
  yield '{"model_stats":['
  let first = true
  let cursor: string | undefined
  do {
    const page = registry.list({ limit: DOMAINS_A_STEP, only, ...(cursor !== undefined && { cursor }) })
    cursor = page.nextCursor ?? undefined
    for (const { domain, version: active, versions } of page.domains) {
      const of = statistics.of(domain)
      if (of === undefined) continue
      for (const { version, classes } of versions) {
        if (!of.versions.has(version) && version !== active) continue
        const output = classes > 0 ? 'scores' : 'features'
        const own = statisticsOf({ domain, output }, version, of, version === active)
        yield (first ? '' : ',') + JSON.stringify(own)
        first = false
      }
    }
    yield ''
  } while (cursor !== undefined)
  yield ']}'
}
