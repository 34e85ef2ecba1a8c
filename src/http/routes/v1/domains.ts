/**
 * The control plane and its listings: domains, their versions and their packs.
 *
 * The rules (atomic switch, retention, seeds, pins) are the registry's.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { free } from '../../../bytes/free.js'
import { checkDomainId } from '../../../domain-id.js'
import { FacetError } from '../../../errors.js'
import type { ChangeAction } from '../../../registry/options.js'
import type { DomainView } from '../../../registry/types.js'
import { checkDomain } from '../../access/auth.js'
import { packOf } from '../../bodies/body.js'
import type { BodyBudget } from '../../bodies/budget.js'
import { onlyField } from '../../bodies/json.js'
import type { AppDeps } from '../../exchange/deps.js'
import { cardOf, cardText, cardWherePossible, waiting } from './card.js'
import { answeringMissing } from '../../exchange/missing-domain.js'
import { checkVersion, queryOf, trueOrFalse, wholeNumber } from '../../exchange/parameters.js'
import { conditionOf, preconditionsOf, setETag } from '../../exchange/preconditions.js'

/** Domains of one page of the listing. */
const DEFAULT_PAGE_SIZE = 100
const MAX_PAGE_SIZE = 1000
/** Largest JSON body of a change, bytes. Such a body has one short field. */
const MAX_CHANGE_BYTES = 16 * 1024

type OfDomain = { Params: { domain: string } }
type OfVersion = { Params: { domain: string; version: string } }

export function domainRoutes(
  app: FastifyInstance,
  deps: Pick<AppDeps, 'registry' | 'config' | 'families'>,
  uploads: BodyBudget,
): void {
  const { registry, config } = deps
  const admitDomain = async (request: FastifyRequest) => {
    const { domain } = request.params as OfDomain['Params']
    checkDomainId(domain)
    checkDomain(request.caller, domain)
  }
  const errorHandler = answeringMissing(registry)
  const listing = { config: { scope: 'predict' as const }, onRequest: admitDomain, errorHandler }
  const change = (audit: ChangeAction) => ({
    config: { scope: 'admin' as const, audit },
    onRequest: admitDomain,
    errorHandler,
  })
  const jsonChange = (audit: ChangeAction) => ({
    config: { scope: 'admin' as const, audit, accepts: ['application/json'] as const },
    onRequest: admitDomain,
    errorHandler,
    bodyLimit: MAX_CHANGE_BYTES,
  })

  app.get('/domains', { config: { scope: 'predict', query: ['limit', 'cursor'] } }, async (request) => {
    const query = queryOf<'limit' | 'cursor'>(request)
    const limit =
      query.limit === undefined ? DEFAULT_PAGE_SIZE : wholeNumber('limit', query.limit, 1, MAX_PAGE_SIZE)
    const { cursor } = query
    const page = { limit, only: request.caller.domains, ...(cursor !== undefined && { cursor }) }
    const { domains, nextCursor } = registry.list(page)
    return { domains: domains.map(summary), next_cursor: nextCursor }
  })

  app.get<OfDomain>('/domains/:domain', listing, async (request, reply) => {
    const { domain } = request.params
    const view = registry.get(domain)
    return { ...answer(reply, view), card: await cardWherePossible(deps, view, waiting(request, reply)) }
  })

  app.get<OfDomain>('/domains/:domain/card', listing, async (request, reply) => {
    const { domain } = request.params
    const card = await cardOf(deps, domain, waiting(request, reply))
    setETag(reply, card.version)
    return reply.type('text/markdown; charset=utf-8').send(cardText(card))
  })

  app.get<OfDomain>('/domains/:domain/versions', listing, async (request, reply) => {
    const { domain, version, versions } = registry.get(request.params.domain)
    setETag(reply, version)
    return { domain, version, versions }
  })

  app.get<OfDomain>(
    '/domains/:domain/pack',
    {
      config: { scope: 'admin', query: ['version'], headers: { 'cache-control': 'private, no-cache' } },
      onRequest: admitDomain,
      errorHandler,
    },
    async (request, reply) => {
      const { domain } = request.params
      const wanted = queryOf<'version'>(request).version
      const { version, read } = registry.pack(domain, wanted === undefined ? undefined : checkVersion(wanted))
      const status = conditionOf(request, version)
      const bytes = status === 200 ? await read() : null
      setETag(reply, version)
      if (bytes === null) return reply.code(status).send()
      const file = `${domain}-${version.slice(0, 12)}.safetensors`
      return reply
        .type('application/octet-stream')
        .header('content-disposition', `attachment; filename="${file}"`)
        .send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    },
  )

  app.put<OfDomain>(
    '/domains/:domain',
    {
      config: {
        scope: 'admin',
        audit: 'domain.put',
        query: ['activate'],
        limitedBy: '--max-pack',
        accepts: ['application/octet-stream', 'multipart/form-data'],
      },
      bodyLimit: config.maxPack,
      onRequest: [admitDomain, uploads.admit],
    },
    (request, reply) =>
      uploads.hold(request, async () => {
        const { domain } = request.params
        const text = queryOf<'activate'>(request).activate
        const active = text === undefined || trueOrFalse('activate', text)
        request.changed = { activate: active }
        const pre = preconditionsOf(request)
        const bytes = await packOf(request)
        const { created, version, view, projection } = await registry
          .put(domain, bytes, { activate: active, ...pre })
          .finally(() => free([request.body as Buffer]))
        request.changed = { version, activate: active, family: view.family }
        void reply.code(created ? 201 : 200).header('location', `/v1/domains/${domain}`)
        return { ...answer(reply, view), uploaded: version, ...(projection && { projection }) }
      }),
  )

  app.post<OfDomain>('/domains/:domain/activate', jsonChange('version.activate'), async (request, reply) => {
    const version = checkVersion(onlyField(request.body, 'version', '{"version": "<sha256>"}'))
    request.changed = { version }
    const view = await registry.activate(request.params.domain, version, preconditionsOf(request))
    request.changed = { version: view.version, family: view.family }
    return answer(reply, view)
  })

  app.patch<OfDomain>('/domains/:domain', jsonChange('domain.patch'), async (request, reply) => {
    const pinned = onlyField(request.body, 'pinned', '{"pinned": true}')
    if (typeof pinned !== 'boolean')
      throw new FacetError('malformed_request', "'pinned' must be true or false.")
    request.changed = { pinned }
    const view = await registry.patch(request.params.domain, { pinned }, preconditionsOf(request))
    request.changed = { version: view.version, pinned }
    return answer(reply, view)
  })

  app.delete<OfDomain>('/domains/:domain', change('domain.delete'), async (request, reply) => {
    const { domain } = request.params
    request.changed = { version: registry.has(domain) ? registry.get(domain).version : null }
    await registry.remove(domain, preconditionsOf(request))
    return reply.code(204).send()
  })

  app.delete<OfVersion>(
    '/domains/:domain/versions/:version',
    change('version.delete'),
    async (request, reply) => {
      const { domain } = request.params
      const version = checkVersion(request.params.version)
      request.changed = { version }
      await registry.removeVersion(domain, version, preconditionsOf(request))
      setETag(reply, registry.has(domain) ? registry.get(domain).version : null)
      return reply.code(204).send()
    },
  )
}

function answer(reply: FastifyReply, view: DomainView): DomainView {
  setETag(reply, view.version)
  return view
}

function summary({ versions, ...rest }: DomainView) {
  return { ...rest, version_count: versions.length }
}
