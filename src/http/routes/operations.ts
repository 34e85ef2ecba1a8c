/**
 * The operator's plane: an index (for a browser the dashboard), the probes, the metrics and the API's description. Its
 * routes take no body and change nothing.
 */
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'
import type { AppDeps } from '../exchange/deps.js'
import { problemPlane } from '../exchange/problems.js'
import { checkReady } from '../exchange/ready.js'
import { pageHeaders, sendFile } from '../pages/sending.js'

/** Swagger UI's style sheet has its icons in itself. */
const docsHeaders = {
  ...pageHeaders,
  'content-security-policy': pageHeaders['content-security-policy']!.replace(
    "img-src 'self'",
    "img-src 'self' data:",
  ),
}

export async function operations(app: FastifyInstance, { deps }: { deps: AppDeps }): Promise<void> {
  const { metrics, families } = deps
  app.decorate('plane', problemPlane)

  const index = {
    service: 'facet',
    version: deps.version,
    family: families[0].manifest.name,
    families: families.map(({ manifest }) => manifest.name),
    links: {
      api: '/openapi.yaml',
      docs: '/docs',
      domains: '/v1/domains',
      family: '/v1/family',
      families: '/v1/families',
      metrics: '/metrics',
      ready: '/readyz',
      live: '/livez',
    },
  }
  // A browser asks for text/html and gets the dashboard; programs that take anything get the index.
  app.get('/', { config: { scope: 'open', quiet: true } }, async (request, reply) => {
    void reply.header('vary', [reply.getHeader('vary') ?? [], 'Accept'].flat().join(', '))
    const dashboard = deps.pages.get('/dashboard/index.html')
    if (dashboard === undefined || !/\btext\/html\b/i.test(request.headers.accept ?? '')) return index
    return sendFile(request, reply.headers(pageHeaders), dashboard)
  })

  app.get('/docs', { config: { scope: 'open', quiet: true } }, async (request, reply) => {
    const page = deps.pages.get('/docs/index.html')
    if (page === undefined) throw new FacetError('not_found', 'There is nothing at this path.')
    return sendFile(request, reply.headers(docsHeaders), page)
  })

  app.get('/livez', { config: { scope: 'open', quiet: true } }, async () => ({ status: 'live' }))

  app.get('/readyz', { config: { scope: 'open', quiet: true } }, async () => {
    await checkReady(deps)
    return { status: 'ready' }
  })

  app.get('/metrics', { config: { scope: 'metrics', quiet: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  )

  const description = {
    config: { scope: 'open', quiet: true, headers: { 'cache-control': 'no-cache' } },
  } as const
  app.get('/openapi.yaml', description, async (_request, reply) =>
    reply.type('application/yaml').send(deps.openapi.yaml),
  )
  app.get('/openapi.json', description, async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(deps.openapi.json),
  )
}
