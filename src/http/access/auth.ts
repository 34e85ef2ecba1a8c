/**
 * Authorisation: one decision for every route, by the scope that the route declares.
 *
 * A scope is guarded as soon as one principal is given it by name. An unguarded `predict` or `metrics` is
 * open to everyone; an unguarded `admin` only to local requests, and only if the service listens on loopback.
 * A route that declares no scope cannot be registered.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { isLoopbackHost, notLocal } from './loopback.js'
import { peerOf } from './peer.js'
import { identify, type Principal, type Scope } from './tokens.js'

/** Who called: a principal, or a stand-in where no token is required. */
export interface Caller {
  id: string
  /** The domains it may use and see; null for all. */
  domains: ReadonlySet<string> | null
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The scope a caller must have; `open` for none. */
    scope?: Scope | 'open'
  }
  interface FastifyRequest {
    caller: Caller
  }
}

const anyone: Caller = { id: 'anonymous', domains: null }
const local: Caller = { id: 'loopback', domains: null }

/**
 * Whose request it is, where principals take turns or share a bound: the token's id, whatever the token's domains. A
 * request without a token is its peer's: nothing else tells anonymous callers apart, and together they would have one
 * share beside each token, which one of them could fill. Behind a proxy that is not trusted all callers are one peer.
 */
export function principalOf({ caller, ip }: FastifyRequest): string {
  return caller === anyone ? `peer ${peerOf(ip)}` : `token ${caller.id}`
}

/** Guards every route that is registered afterwards. The decision is made before the body is read. */
export function guard(app: FastifyInstance, host: string, principals: () => readonly Principal[]): void {
  const listensLocally = isLoopbackHost(host)
  // Fastify refuses objects as decorations, since requests would share them; the hook below sets each caller.
  app.decorateRequest('caller')
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.scope === undefined) throw new Error(`Route ${String(method)} ${url} declares no scope`)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    const { scope } = request.routeOptions.config
    request.caller = anyone
    if (scope !== undefined && scope !== 'open')
      request.caller = authorise(request, scope, principals(), listensLocally)
    done()
  })
}

/** @throws FacetError `unauthorized`, `forbidden` or `control_plane_off` */
function authorise(
  request: FastifyRequest,
  scope: Scope,
  principals: readonly Principal[],
  listensLocally: boolean,
): Caller {
  const token = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1]
  const principal = token === undefined ? null : identify(token, principals)
  if (principals.some((some) => some.scopes.has(scope))) {
    if (!principal)
      throw new FacetError(
        'unauthorized',
        token === undefined
          ? 'Send a token: Authorization: Bearer <token>.'
          : 'The token is not one this service knows.',
      )
    if (!principal.scopes.has(scope) && !principal.scopes.has('admin'))
      throw new FacetError('forbidden', `This token does not have the scope '${scope}'.`)
    return principal
  }
  if (scope !== 'admin') return principal ?? anyone
  if (!listensLocally)
    throw new FacetError(
      'control_plane_off',
      'The service listens beyond loopback without an admin token. Start it with FACET_ADMIN_TOKEN.',
    )
  const reason = notLocal(request.raw.socket.remoteAddress, request.headers)
  if (reason !== null)
    throw new FacetError(
      'control_plane_off',
      `Without an admin token only local requests may do this, and this is none: ${reason}. Start the service with FACET_ADMIN_TOKEN.`,
    )
  return local
}

/** @throws FacetError `forbidden` if the caller's token is for other domains */
export function checkDomain(caller: Caller, domain: string): void {
  if (caller.domains !== null && !caller.domains.has(domain))
    throw new FacetError('forbidden', `This token is not for domain '${domain}'.`)
}
