/** Server and models of the Open Inference Protocol: health, metadata, configuration. These routes change nothing. */
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../../errors.js'
import { configOf, metadataOf } from '../../../oip/model.js'
import type { AppDeps } from '../../exchange/deps.js'
import { checkReady } from '../../exchange/ready.js'
import { admitModel, foundModel, type FoundModel, type OfModel } from './found-model.js'

/** The extensions of the protocol that this plane has. */
const EXTENSIONS = [
  'binary_tensor_data',
  'classification',
  'model_configuration',
  'model_repository',
  'statistics',
]

const probe = { config: { scope: 'open', quiet: true } } as const

export function modelRoutes(app: FastifyInstance, deps: AppDeps): void {
  app.get('', { config: { scope: 'open' } }, async () => ({
    name: 'facet',
    version: deps.version,
    extensions: EXTENSIONS,
  }))

  app.get('/health/live', probe, async () => ({ live: true }))

  app.get('/health/ready', probe, async () => {
    await checkReady(deps)
    return { ready: true }
  })

  const listing = { config: { scope: 'predict' as const }, onRequest: admitModel(deps.registry) }
  for (const path of ['/models/:model', '/models/:model/versions/:version']) {
    app.get<OfModel>(path, listing, async (request) => metadataOf(foundModel(request, deps).facts))

    app.get<OfModel>(`${path}/config`, listing, async (request) => configOf(foundModel(request, deps).facts))

    app.get<OfModel>(`${path}/ready`, listing, async (request) => {
      const found = foundModel(request, deps)
      await checkReady(deps)
      checkSound(found)
      return { name: request.params.model, ready: true }
    })
  }
}

/** A cold model is ready: it is loaded when it is asked for. @throws FacetError `domain_failed` */
function checkSound({ name, version, view }: FoundModel): void {
  const { residency } = view.versions.find((entry) => entry.version === version)!
  if (residency !== 'failed') return
  const reason = view.failure ?? `Version ${version} of domain '${name.domain}' cannot be loaded.`
  throw new FacetError('domain_failed', reason)
}
