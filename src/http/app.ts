/**
 * The HTTP application: routes, limits, ids, problems. Neither listens nor ends; `service.ts` does.
 */
import { randomUUID } from 'node:crypto'
import { type Server, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { guard } from './auth.js'
import { readBodies } from './body.js'
import type { AppDeps } from './deps.js'
import { domainRoutes } from './domains.js'
import { operationRoutes } from './operations.js'
import { predictRoutes } from './predict.js'
import { answerWithProblems, problemHeaders, problemOf, sendProblem, toFacetError } from './problems.js'
import { fixedHeaders, requestId, surround } from './requests.js'

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
    clientErrorHandler: (error, socket) => {
      answerBrokenRequest(error, socket, (status) => metrics.request('_unmatched', status, 0))
    },
    frameworkErrors: (error, request, reply) => {
      void reply.headers({ ...fixedHeaders, 'x-request-id': request.id })
      sendProblem(error, request, reply)
      metrics.request('_unmatched', reply.statusCode, 0)
    },
  })
  const server = app.server as Server
  server.maxConnections = config.maxConnections

  surround(app, deps)
  guard(app, config.host, deps.principals)
  answerWithProblems(app)
  await readBodies(app)
  predictRoutes(app, deps)
  domainRoutes(app, deps)
  operationRoutes(app, deps)
  await app.ready()
  return app
}

/** What is no HTTP, too slow or too long in its header never becomes a request; it is answered by hand. */
function answerBrokenRequest(error: Error, socket: Socket, count: (status: number) => void): void {
  if ((error as NodeJS.ErrnoException).code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const failure = toFacetError(Object.assign(error, { statusCode: 400 }))
  count(failure.status)
  const body = JSON.stringify(problemOf(failure, randomUUID()))
  const fields = Object.entries({ ...fixedHeaders, ...problemHeaders(failure), connection: 'close' })
  const head = [
    `HTTP/1.1 ${failure.status} ${STATUS_CODES[failure.status]}`,
    ...fields.map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
