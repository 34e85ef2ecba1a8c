/** A page's file as an answer, with what the browser may do with it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { PageFile } from '../exchange/deps.js'
import { type HeaderFields, noPageHeaders } from '../exchange/plane.js'

/**
 * A page loads its own files and talks to its own service, and that is all: no inline script or style, no other site,
 * no frame around it. It asks each time whether its files have changed, so an upgraded service never has an old page.
 */
export const pageHeaders: HeaderFields = {
  ...noPageHeaders,
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(self), microphone=(), geolocation=()',
  'cache-control': 'no-cache',
}

/** Answers with the file, or with 304 where the client has it. */
export function sendFile(request: FastifyRequest, reply: FastifyReply, file: PageFile): FastifyReply {
  const tag = `"${file.tag}"`
  void reply.header('etag', tag)
  if (request.headers['if-none-match']?.includes(tag)) return reply.code(304).send()
  return reply.type(file.type).send(file.body)
}
