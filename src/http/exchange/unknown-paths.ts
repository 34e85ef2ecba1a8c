/** Paths and methods that no route has: 404, or 405 with the methods the path has. */
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'

/**
 * Refuses them before their body is read, in the format of the plane. A plane that sets a not-found handler
 * for its prefix gets its own format there too.
 *
 * No path ends with a slash but `/` itself: each resource has one URL, so that a rule for it in a proxy holds.
 */
export function refuseUnknownPaths(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    const path = request.url.split('?', 1)[0]!
    if (path.endsWith('/') && path !== '/') throw endsWithSlash(path)
    if (!request.is404) return done()
    const allowed = methodsAt(app, path)
    if (allowed.length === 0) throw new FacetError('not_found', 'There is nothing at this path.')
    void reply.header('allow', allowed.join(', '))
    throw new FacetError(
      'method_not_allowed',
      `${request.method} is not possible here; ${allowed.join(', ')}.`,
    )
  })

  const endsWithSlash = (path: string) => {
    let end = path.length
    while (path[end - 1] === '/') end--
    const hint = methodsAt(app, path.slice(0, end)).length > 0 ? '; leave out the slash at its end' : ''
    return new FacetError('not_found', `There is nothing at this path${hint}.`)
  }
}

/** The methods of a path; none where it has no route. */
export function methodsAt(app: FastifyInstance, path: string): string[] {
  return app.supportedMethods.filter((method) => app.findRoute({ method, url: path }) !== null)
}
