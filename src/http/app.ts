/**
 * The HTTP application: routes, limits, ids, problems. Neither listens nor ends; `service.ts` does.
 */
import type { Server } from 'node:http'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { guard } from './access/auth.js'
import { readBodies } from './bodies/body.js'
import { BrokenRequests } from './connections/broken.js'
import type { AppDeps } from './deps.js'
import { domainRoutes } from './routes/domains.js'
import { operationRoutes } from './routes/operations.js'
import { predictRoutes } from './routes/predict.js'
import { answerWithProblems, sendProblem } from './problems.js'
import { fixedHeaders, requestId, surround } from './requests.js'
import { endSilentConnections } from './connections/silent-connections.js'

/** Longest segment of a path that is looked at; a domain id has at most 63 characters. */
const MAX_SEGMENT = 256

/**
 * Builds the application, ready for `listen` or `inject`.
 *
 * @throws Error when a route declares no scope
 */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const { config, metrics } = deps
  const app: FastifyInstance = fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: requestId,
    bodyLimit: config.maxBody,
    trustProxy: config.trustProxy.length > 0 ? [...config.trustProxy] : false,
    routerOptions: { maxParamLength: MAX_SEGMENT },
    // While it drains, a request on an open connection is still answered, by the rules of its route.
    return503OnClosing: false,
    requestTimeout: config.receiveTimeoutMs,
    keepAliveTimeout: config.keepAliveTimeoutMs,
    http: {
      maxHeaderSize: config.maxHeaderSize,
      headersTimeout: Math.min(config.receiveTimeoutMs, 30_000),
      connectionsCheckingInterval: Math.min(1000, config.receiveTimeoutMs),
    },
    clientErrorHandler: (error, socket) => broken.answer(error, socket),
    frameworkErrors: (error, request, reply) => {
      void reply.headers({ ...fixedHeaders, 'x-request-id': request.id })
      sendProblem(error, request, reply)
      metrics.request('_unmatched', reply.statusCode, 0)
    },
  })
  const server = app.server as Server
  server.maxConnections = config.maxConnections
  // Node drops fields beyond its usual 2000 without a word, and a proxy puts its own last: a request could
  // then pass for a local one. Their bytes are bounded above.
  server.maxHeadersCount = 0
  endSilentConnections(app)

  const record = surround(app, deps)
  const broken = new BrokenRequests((status, request) => {
    if (request) record(request, status)
    else metrics.request('_unmatched', status, 0)
  })
  broken.follow(app)
  guard(app, config.host, deps.principals)
  answerWithProblems(app)
  await readBodies(app)
  predictRoutes(app, deps)
  domainRoutes(app, deps)
  operationRoutes(app, deps)
  await app.ready()
  return app
}
