/**
 * A plane: the routes that share one convention with their clients, such as `/v1` or the probes of an
 * operator.
 *
 * Each plane is a Fastify plugin with a scope of its own (Fastify's encapsulation): its body parsers and
 * hooks reach no other plane. What the shared code has to know about a plane is this object, which the plane
 * gives its scope with `app.decorate('plane', ...)`. Routes that no plane owns have the application's
 * default.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FacetError } from '../../errors.js'

export type HeaderFields = Readonly<Record<string, string>>

export interface Plane {
  /** On every answer of the plane. A route's `config.headers` overrides single fields. */
  headers: HeaderFields
  /** The body that tells a client what went wrong, and its media type. */
  failureBody(failure: FacetError, requestId: string): { type: string; body: string }
}

declare module 'fastify' {
  interface FastifyInstance {
    plane: Plane
  }
  interface FastifyContextConfig {
    /**
     * Header fields of the route's answers, over those of its plane. Failures are `no-store` all the same.
     */
    headers?: HeaderFields
  }
}

/** For planes without pages: a browser is told to render nothing and to store nothing. */
export const noPageHeaders: HeaderFields = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
}

/** Sets the header fields of the request's plane and route, and the request id. */
export function setHeaders(request: FastifyRequest, reply: FastifyReply): void {
  void reply.headers(request.server.plane.headers)
  const { headers } = request.routeOptions.config
  if (headers !== undefined) void reply.headers(headers)
  void reply.header('x-request-id', request.id)
}
