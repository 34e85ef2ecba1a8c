/**
 * Cross-origin resource sharing (https://fetch.spec.whatwg.org/#http-cors-protocol): which web pages of other sites may
 * read the answers. None may unless an origin is given (`--cors-origin`).
 *
 * It lets nobody in: tokens and scopes are asked as ever, and no cookies are used. `@fastify/cors` is not: it answers
 * OPTIONS on every path, also on those that no route has, and for methods that a path has not.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { methodsAt } from './unknown-paths.js'

/** Fields of requests that a page may set, beyond those that any form may. */
const REQUEST_FIELDS = [
  'Authorization',
  'Content-Type',
  'If-Match',
  'If-None-Match',
  'Inference-Header-Content-Length',
  'traceparent',
  'X-Request-Id',
  'X-Request-Timeout',
].join(', ')
/** Fields of answers that a page may read, beyond those that it always may. */
const ANSWER_FIELDS = [
  'Content-Disposition',
  'ETag',
  'Inference-Header-Content-Length',
  'Location',
  'Retry-After',
  'Server-Timing',
  'WWW-Authenticate',
  'X-Request-Id',
].join(', ')
/** How long a browser keeps the answer to a preflight request, seconds; Chromium keeps none for longer. */
const PREFLIGHT_AGE_SECONDS = 7200

/** @param origins those that may, as browsers write them; `*` for all */
export function answerOtherOrigins(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return
  const all = origins.includes('*')
  const allows = (origin: string) => all || origins.includes(origin)

  app.addHook('onRequest', (request, reply, done) => {
    // Also where there is no origin: a cache must not give this answer to a page of another one.
    if (!all) void reply.header('vary', 'Origin')
    const { origin } = request.headers
    if (origin === undefined || !allows(origin)) return done()
    void reply.header('access-control-allow-origin', all ? '*' : origin)
    const asked = request.headers['access-control-request-method']
    if (request.method !== 'OPTIONS' || asked === undefined) {
      void reply.header('access-control-expose-headers', ANSWER_FIELDS)
      return done()
    }
    const methods = methodsAt(app, request.url.split('?', 1)[0]!)
    if (methods.length === 0) return done()
    sendPreflight(reply, methods)
  })
}

function sendPreflight(reply: FastifyReply, methods: readonly string[]): void {
  void reply
    .code(204)
    .headers({
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': REQUEST_FIELDS,
      'access-control-max-age': String(PREFLIGHT_AGE_SECONDS),
    })
    .send()
}
