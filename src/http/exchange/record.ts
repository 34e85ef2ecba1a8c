/**
 * What is recorded of every request: its id, one log line, its metrics, and the audit line of a change.
 *
 * A request whose client left before the answer counts with status 499. A change goes on then, where all of the request
 * has arrived: so its audit line is written when it is known what became of the change.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest, onSendHookHandler } from 'fastify'
import type { Logger } from 'pino'
import { type ErrorCode, errorTable } from '../../errors.js'
import type { ChangeAction } from '../../registry/options.js'
import type { PredictTimings } from '../../predict/predictor.js'
import type { AppDeps } from './deps.js'
import type { Traces } from './trace.js'

/** Characters of a domain id in the audit line; a valid one has 63 at most. */
const MAX_DOMAIN_LOGGED = 64

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Name of the change a route makes. Each of its requests leaves an audit line. */
    audit?: ChangeAction
    /** True for probes and scrapes: their successes are logged at level debug. */
    quiet?: boolean
  }
  interface FastifyRequest {
    /** The clock when its header had arrived, ms. */
    arrival: number
    /** Details of a change for the audit line: the version and the parameters that matter. */
    changed: Readonly<Record<string, string | boolean | null>> | null
    /** How long the steps of a prediction took. */
    timings: PredictTimings | null
    /** What was recorded of it, as soon as it is answered or its client has left. */
    recorded: { status: number; code: ErrorCode | undefined } | null
  }
}

/** The client's `X-Request-Id` where it is short and plain, or a new one. */
export function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
}

/**
 * Logs and counts every request of the application.
 *
 * @returns what records a request once, for answers that are given outside Fastify
 */
export function recordRequests(
  app: FastifyInstance,
  { metrics, clock, logger }: Pick<AppDeps, 'metrics' | 'clock' | 'logger'>,
  traces: Traces,
): (request: FastifyRequest, status: number) => void {
  // Changes are logged whatever `--log-level` leaves out; only `silent` silences them.
  const audit = logger.level === 'silent' ? logger : logger.child({}, { level: 'info' })
  app.decorateRequest('arrival', 0)
  app.decorateRequest('changed', null)
  app.decorateRequest('timings', null)
  app.decorateRequest('recorded', null)
  app.decorateRequest('failure', null)

  const record = (request: FastifyRequest, status: number) => {
    if (request.recorded !== null) return
    request.recorded = { status, code: request.failure?.code }
    const ms = clock.now() - request.arrival
    const route = routeOf(request)
    metrics.request(route, status, ms / 1000, request.method)
    writeLine(request, route, ms)
    const { method, timings } = request
    traces.end(request.raw, { method, route, ...request.recorded, domain: domainOf(request), timings })
  }

  app.addHook('onRequest', (request, reply, done) => {
    request.arrival = clock.now()
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished) record(request, errorTable.client_closed.status)
    })
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    record(request, reply.statusCode)
    done()
  })
  // Called when a handler has ended, or when the request was refused before.
  app.addHook('onRoute', (route) => {
    if (route.config?.audit === undefined) return
    const settled: onSendHookHandler = (request, reply, _payload, done) => {
      writeAudit(request, reply.statusCode, audit)
      done()
    }
    route.onSend = [route.onSend ?? [], settled].flat()
  })
  return record
}

/** The pattern of a request's route as `openapi.yaml` writes it: `/v1/domains/{domain}`. */
function routeOf(request: FastifyRequest): string {
  return request.is404 ? '_unmatched' : pattern(request.routeOptions.url)
}

/** Of each route that was asked for. */
const patterns = new Map<string, string>()

/** Fastify's `:name` as `{name}`. @param url as the route was registered */
export function pattern(url: string | undefined): string {
  if (url === undefined) return '_unmatched'
  let found = patterns.get(url)
  if (found === undefined) {
    found = url.replace(/:(\w+)/g, '{$1}')
    patterns.set(url, found)
  }
  return found
}

function writeLine(request: FastifyRequest, route: string, ms: number): void {
  const { log, method, recorded } = request
  const line = { method, route, ...recorded!, ...whoAsked(request), ms: Math.round(ms * 100) / 100 }
  if (request.routeOptions.config.quiet === true && recorded!.status < 400) log.debug(line, 'request')
  else log.info(line, 'request')
}

/** @param status what became of the change; the client may have got another one, or none */
function writeAudit(request: FastifyRequest, status: number, logger: Logger): void {
  const { changed, failure, id, recorded } = request
  const { audit } = request.routeOptions.config
  const domain = domainOf(request)
  const outcome = status < 400 ? 'done' : 'refused'
  const answered = { status: recorded?.status ?? status, code: recorded?.code ?? failure?.code }
  const line = {
    audit,
    outcome,
    domain,
    ...changed,
    route: routeOf(request),
    ...answered,
    ...whoAsked(request),
  }
  logger.info({ ...line, requestId: id }, 'audit')
}

function domainOf({ params }: FastifyRequest): string | undefined {
  const { domain, model } = (params ?? {}) as { domain?: string; model?: string }
  // A model of /v2 is named after its domain, or after it and one of its outputs.
  return (domain ?? model?.split(':', 1)[0])?.slice(0, MAX_DOMAIN_LOGGED)
}

function whoAsked({ caller, ip }: FastifyRequest) {
  return { caller: caller.id, peer: ip }
}
