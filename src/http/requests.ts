/**
 * What surrounds every request: its id, the fixed header fields, one log line, the request metrics, and the
 * audit line of a change.
 *
 * A request whose client left before the answer counts with status 499.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { errorTable } from '../errors.js'
import type { AppDeps } from './deps.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Name of the change a route makes; each of its requests leaves an audit line. */
    audit?: string
    /** Not worth a log line at level info: probes and scrapes. */
    quiet?: boolean
  }
  interface FastifyRequest {
    /** The clock when its head had arrived, ms. */
    arrival: number
    /** What a change was about, for the audit line: the version, and what else tells one from another. */
    changed: Readonly<Record<string, string | boolean | null>> | null
    recorded: boolean
  }
}

/** The client's `X-Request-Id` where it is harmless, or a new one. */
export function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
}

/** On every answer. Nothing here is a page, so a browser is told to do nothing with it. */
export const fixedHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
} as const

/**
 * Adds ids, header fields, logs and metrics to every request.
 *
 * @returns what records a request, once, for answers given outside Fastify
 */
export function surround(
  app: FastifyInstance,
  { metrics, clock, draining, logger }: Pick<AppDeps, 'metrics' | 'clock' | 'draining' | 'logger'>,
): (request: FastifyRequest, status: number) => void {
  // Changes are told whatever `--log-level` leaves out; `silent` alone silences them.
  const audit = logger.level === 'silent' ? logger : logger.child({}, { level: 'info' })
  app.decorateRequest('arrival', 0)
  app.decorateRequest('changed', null)
  app.decorateRequest('recorded', false)

  const record = (request: FastifyRequest, status: number) => {
    if (request.recorded) return
    request.recorded = true
    const ms = clock.now() - request.arrival
    const route = routeOf(request)
    metrics.request(route, status, ms / 1000)
    writeLogs(request, route, status, ms, audit)
  }

  app.addHook('onRequest', async (request, reply) => {
    request.arrival = clock.now()
    void reply.headers({ ...fixedHeaders, 'x-request-id': request.id })
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished) record(request, errorTable.client_closed.status)
    })
  })
  app.addHook('onSend', async (_request, reply) => {
    if (draining()) void reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => record(request, reply.statusCode))
  return record
}

/** The pattern of a request's route, `/v1/domains/{domain}`, as `openapi.yaml` writes it. */
function routeOf(request: FastifyRequest): string {
  return request.is404 ? '_unmatched' : pattern(request.routeOptions.url)
}

/** Fastify's `:name` as `{name}`. */
export function pattern(url: string | undefined): string {
  return url === undefined ? '_unmatched' : url.replace(/:(\w+)/g, '{$1}')
}

/** Fires when the client leaves before its answer. */
export function departure(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  const { raw } = reply
  if (raw.destroyed || raw.closed) controller.abort()
  else
    raw.once('close', () => {
      if (!raw.writableFinished) controller.abort()
    })
  return controller.signal
}

function writeLogs(request: FastifyRequest, route: string, status: number, ms: number, audit: Logger): void {
  const { config } = request.routeOptions
  const { log, method, failure } = request
  const common = {
    route,
    status,
    ...(failure ? { code: failure.code } : {}),
    caller: request.caller.id,
    peer: request.ip,
  }
  const line = { method, ...common, ms: Math.round(ms * 100) / 100 }
  if (config.quiet === true && status < 400) log.debug(line, 'request')
  else log.info(line, 'request')
  if (config.audit !== undefined) {
    const domain = (request.params as { domain?: string }).domain?.slice(0, 64)
    const done = status < 400 ? 'done' : 'refused'
    const requestId = request.id
    audit.info(
      { audit: config.audit, outcome: done, domain, ...request.changed, ...common, requestId },
      'audit',
    )
  }
}
