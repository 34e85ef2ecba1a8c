/** The plane of pages: their files, open to everyone. They hold no data; what a page shows it asks `/v1` for. */
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'
import type { AppDeps } from '../exchange/deps.js'
import { problemPlane } from '../exchange/problems.js'
import { pageHeaders, sendFile } from '../pages/sending.js'

export async function pages(app: FastifyInstance, { deps }: { deps: AppDeps }): Promise<void> {
  app.decorate('plane', { ...problemPlane, headers: pageHeaders })
  const folders = new Set([...deps.pages.keys()].map((path) => path.split('/')[1]!))
  for (const folder of folders)
    app.get<{ Params: { '*': string } }>(
      `/${folder}/*`,
      { config: { scope: 'open', quiet: true } },
      async (request, reply) => {
        const path = request.params['*']
        // A page has one address, without a file's name: what it names is relative to that.
        const file = path.endsWith('.html') ? undefined : deps.pages.get(`/${folder}/${path}`)
        if (file === undefined) throw new FacetError('not_found', 'There is nothing at this path.')
        return sendFile(request, reply, file)
      },
    )
}
