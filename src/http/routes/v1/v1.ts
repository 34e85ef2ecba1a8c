/**
 * The plane `/v1`: the data plane (predict, embed) and the control plane (domains, versions, packs) with
 * their listings. Failures are RFC 9457 problems; bodies are strict.
 */
import type { FastifyInstance } from 'fastify'
import { readBodies } from '../../bodies/body.js'
import { Pace } from '../../bodies/pace.js'
import type { Budgets } from '../../bodies/budget.js'
import type { AppDeps } from '../../exchange/deps.js'
import { problemPlane } from '../../exchange/problems.js'
import { domainRoutes } from './domains.js'
import { familyRoutes } from './family.js'
import { predictRoutes } from './predict.js'

export async function v1(
  app: FastifyInstance,
  { deps, budgets }: { deps: AppDeps; budgets: Budgets },
): Promise<void> {
  app.decorate('plane', problemPlane)
  await readBodies(app, new Pace(deps.config.minBodyRate, deps.clock))
  predictRoutes(app, deps, budgets.bodies)
  domainRoutes(app, deps, budgets.uploads)
  familyRoutes(app, deps)
}
