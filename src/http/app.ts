/**
 * The HTTP application: one server, what every request goes through, and the planes.
 *
 * The order of the calls below is the order of the hooks a request meets. Hooks that wait for nothing are no async
 * functions: each of those costs every request a promise. Planes are registered last: a plane
 * inherits all of it, and what it adds stays in its own scope. Listening and stopping are the caller's.
 */
import type { IncomingMessage, Server } from 'node:http'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { guard } from './access/auth.js'
import { budgetsOf } from './bodies/budget.js'
import { BrokenRequests } from './connections/broken.js'
import { answerHalfClosed } from './connections/half-closed.js'
import { boundConnections } from './connections/peers.js'
import { orderPipelines } from './connections/pipelines.js'
import type { AppDeps } from './exchange/deps.js'
import { answerExpectations } from './exchange/expect.js'
import { answerOtherOrigins } from './exchange/cors.js'
import { answerFailure, MAX_SEGMENT_LENGTH } from './exchange/failures.js'
import { checkFields } from './exchange/fields.js'
import { checkQueries } from './exchange/parameters.js'
import { setHeaders } from './exchange/plane.js'
import { problemPlane } from './exchange/problems.js'
import { recordRequests, requestId } from './exchange/record.js'
import { Traces } from './exchange/trace.js'
import { refuseUnknownPaths } from './exchange/unknown-paths.js'
import { operations } from './routes/operations.js'
import { pages } from './routes/pages.js'
import { v1 } from './routes/v1/v1.js'
import { v2 } from './routes/v2/v2.js'

/** Longest time for a request's header to arrive, ms. */
const MAX_HEADER_TIMEOUT_MS = 30_000
/** Longest time between two checks for requests that arrive too slowly, ms. */
const MAX_CHECK_INTERVAL_MS = 1000

/**
 * Builds the application, ready for `listen` or `inject`. Until then more planes can be registered.
 *
 * @throws Error when a route declares no scope
 */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const { config, metrics, draining } = deps
  const traces = new Traces(deps.tracing)
  const app: FastifyInstance = fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: requestId,
    childLoggerFactory: (logger, fields, options, request) =>
      logger.child({ ...fields, ...traces.begin(request as IncomingMessage) }, options) as FastifyBaseLogger,
    bodyLimit: config.maxBody,
    trustProxy: config.trustProxy.length > 0 ? [...config.trustProxy] : false,
    routerOptions: { maxParamLength: MAX_SEGMENT_LENGTH },
    // During an orderly stop a request on an open connection is still answered, by the rules of its route.
    return503OnClosing: false,
    requestTimeout: config.receiveTimeoutMs,
    keepAliveTimeout: config.keepAliveTimeoutMs,
    http: {
      maxHeaderSize: config.maxHeaderSize,
      headersTimeout: Math.min(config.receiveTimeoutMs, MAX_HEADER_TIMEOUT_MS),
      // Node would answer a request without Host itself, and without a body.
      requireHostHeader: false,
      connectionsCheckingInterval: Math.min(config.receiveTimeoutMs, MAX_CHECK_INTERVAL_MS),
    },
    clientErrorHandler: (error, socket) => broken.answer(error, socket),
    // For paths the router cannot read. No hook has run for these.
    frameworkErrors: (error, request, reply) => {
      setHeaders(request, reply)
      answerFailure(error, request, reply)
      metrics.request('_unmatched', reply.statusCode, 0, request.method)
    },
  })
  const server = app.server as Server
  // By default Node silently drops header fields beyond the first 2000. A proxy adds its own last, so a
  // request through it could then pass for a local one. The size of all fields is bounded above.
  server.maxHeadersCount = 0
  orderPipelines(server)

  app.decorate('plane', problemPlane)
  app.setErrorHandler(answerFailure)
  // Each plane says itself which bodies it reads.
  app.removeAllContentTypeParsers()

  const record = recordRequests(app, deps, traces)
  app.addHook('onRequest', (request, reply, done) => {
    setHeaders(request, reply)
    done()
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (draining()) void reply.header('connection', 'close')
    done()
  })
  answerOtherOrigins(app, config.corsOrigins)
  const broken = new BrokenRequests(app, (status, request) => {
    if (request) record(request, status)
    else metrics.request('_unmatched', status, 0, '')
  })
  server.on('connect', broken.refuseTunnel)
  answerHalfClosed(app, deps.clock, (socket) => broken.replyOf(socket))
  guard(app, config.host, deps.principals)
  boundConnections(app, {
    most: config.maxConnections,
    mostOfPeer: config.maxConnectionsPerPeer,
    trusted: config.trustProxy,
    clock: deps.clock,
    refused: (bound) => metrics.connectionRefused(bound),
  })
  checkFields(app)
  answerExpectations(app)
  refuseUnknownPaths(app)
  checkQueries(app)

  const budgets = budgetsOf(config)
  await app.register(v1, { prefix: '/v1', deps, budgets })
  await app.register(v2, { prefix: '/v2', deps, budgets })
  await app.register(operations, { deps })
  await app.register(pages, { deps })
  return app
}
