/** The statistics extension: what models were asked since the service started, by either plane. */
import type { FastifyInstance } from 'fastify'
import { statisticsOf } from '../../../oip/statistics.js'
import type { AppDeps } from '../../exchange/deps.js'
import { sendLong, type Texts } from '../../exchange/long-answer.js'
import { admitModel, foundModel, type OfModel } from './found-model.js'
import { domainsInSteps, listingLimit } from './listing.js'

export function statisticsRoutes(app: FastifyInstance, deps: AppDeps): void {
  const { registry, statistics } = deps

  app.get('/models/stats', { config: { scope: 'predict' } }, async (request, reply) => {
    return sendLong(reply, askedModels(deps, request.caller.domains), listingLimit(request, reply, deps))
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
  for (const views of domainsInSteps(registry, only)) {
    for (const { domain, version: active, versions } of views) {
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
  }
  yield ']}'
}
