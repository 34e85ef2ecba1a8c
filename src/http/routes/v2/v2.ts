/**
 * The plane `/v2`: the Open Inference Protocol (KServe, Triton) over HTTP, docs/oip.md. A domain is a model. Success is
 * 200 and nothing else, and failures are `{"error": "..."}`: its clients take any other status for a failure, and show
 * that text.
 */
import type { FastifyInstance } from 'fastify'
import type { FacetError } from '../../../errors.js'
import { readBodies } from '../../bodies/body.js'
import type { Budgets } from '../../bodies/budget.js'
import { Pace } from '../../bodies/pace.js'
import type { AppDeps } from '../../exchange/deps.js'
import { noPageHeaders, type Plane } from '../../exchange/plane.js'
import { inferRoutes } from './infer.js'
import { modelRoutes } from './models.js'
import { repositoryRoutes } from './repository.js'
import { statisticsRoutes } from './statistics.js'

export async function v2(
  app: FastifyInstance,
  { deps, budgets }: { deps: AppDeps; budgets: Budgets },
): Promise<void> {
  app.decorate('plane', oipPlane)
  // So that unknown paths below this prefix are answered in the format of this plane.
  app.setNotFoundHandler(() => {})
  await readBodies(app, new Pace(deps.config.minBodyRate, deps.clock), { parseJson: false })
  modelRoutes(app, deps)
  statisticsRoutes(app, deps)
  inferRoutes(app, deps, budgets.bodies)
  repositoryRoutes(app, deps, budgets.uploads)
}

const oipPlane: Plane = {
  headers: noPageHeaders,
  failureBody: (failure) => ({
    type: 'application/json',
    body: JSON.stringify({ error: textOf(failure) }),
  }),
}

/** All that a problem of `/v1` says in several members. */
function textOf({ message, index, problems }: FacetError): string {
  const where = index === undefined ? '' : `Image ${index}: `
  return [where + message, ...problems].join('\n')
}
