/**
 * The plane `/v2`: the Open Inference Protocol (KServe, Triton) over HTTP, docs/oip.md. A domain is a model. Success is
 * 200 and nothing else, and failures are `{"error": "..."}`: its clients take any other status for a failure, and show
 * that text.
 */
import type { FastifyInstance } from 'fastify'
import type { FacetError } from '../../../errors.js'
import type { AppDeps } from '../../exchange/deps.js'
import { noPageHeaders, type Plane } from '../../exchange/plane.js'
import { modelRoutes } from './models.js'

export async function v2(app: FastifyInstance, { deps }: { deps: AppDeps }): Promise<void> {
  app.decorate('plane', oipPlane)
  // So that unknown paths below this prefix are answered in the format of this plane.
  app.setNotFoundHandler(() => {})
  modelRoutes(app, deps)
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
