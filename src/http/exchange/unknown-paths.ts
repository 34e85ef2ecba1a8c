/** Paths and methods that no route has: 404, or 405 with the methods the path has. */
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'

/**
 * Refuses them before their body is read, in the format of the plane. A plane that sets a not-found handler
 * for its prefix gets its own format there too.
 */
export function refuseUnknownPaths(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return
    const path = request.url.split('?', 1)[0]!
    const allowed = app.supportedMethods.filter((method) => app.findRoute({ method, url: path }) !== null)
    if (allowed.length === 0) throw new FacetError('not_found', 'There is nothing at this path.')
    void reply.header('allow', allowed.join(', '))
    throw new FacetError(
      'method_not_allowed',
      `${request.method} is not possible here; ${allowed.join(', ')}.`,
    )
  })
}
