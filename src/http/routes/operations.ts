/**
 * Operations: what runs here, whether it is well, and the figures. No route of this file changes anything.
 */
import type { FastifyInstance } from 'fastify'
import { draining, FacetError } from '../../errors.js'
import type { AppDeps } from '../deps.js'

export function operationRoutes(app: FastifyInstance, deps: AppDeps): void {
  const { registry, metrics, family, readiness, execution } = deps

  app.get('/', { config: { scope: 'open', quiet: true } }, async () => ({
    service: 'facet',
    version: deps.version,
    family: family.manifest.name,
    links: {
      api: '/openapi.yaml',
      domains: '/v1/domains',
      family: '/v1/family',
      metrics: '/metrics',
      ready: '/readyz',
      live: '/livez',
    },
  }))

  app.get('/livez', { config: { scope: 'open', quiet: true } }, async () => ({ status: 'live' }))

  app.get('/readyz', { config: { scope: 'open', quiet: true } }, async () => {
    if (deps.draining()) throw draining()
    const { ready, reason, code } = await readiness()
    if (!ready)
      throw new FacetError(code ?? 'engine_restarting', reason ?? 'The engine does not answer yet.', {
        retryAfter: 1,
      })
    return { status: 'ready' }
  })

  app.get('/metrics', { config: { scope: 'metrics', quiet: true } }, async (_request, reply) =>
    reply.header('content-type', metrics.contentType).send(await metrics.text()),
  )

  app.get('/openapi.yaml', { config: { scope: 'open', quiet: true } }, async (_request, reply) =>
    reply.header('content-type', 'application/yaml').header('cache-control', 'no-cache').send(deps.openapi),
  )

  app.get('/v1/family', { config: { scope: 'predict' } }, async () => {
    const { name, fingerprint, design, input, features, slots, parameters, files, license, provenance } =
      family.manifest
    const { provider, lanes, maxBatch, bankDtype } = execution()
    const { trunk, adapters, heads, rows, dedicated, saving } = registry.memory()
    return {
      name,
      fingerprint,
      design,
      input,
      features,
      slots,
      parameters,
      bytes: Object.fromEntries(Object.entries(files).map(([file, entry]) => [file, entry.bytes])),
      license,
      provenance,
      execution: { provider, lanes, max_batch: maxBatch, bank_dtype: bankDtype },
      memory: {
        trunk_bytes: trunk,
        adapter_bytes: adapters,
        head_bytes: heads,
        rows,
        dedicated_bytes: dedicated,
        saving,
      },
    }
  })
}
