/**
 * The parts of a request outside its body, checked before anything uses them: versions, query parameters,
 * deadlines.
 *
 * Unknown and repeated query parameters are refused: a misspelt `topk` must not silently mean the default.
 */

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { quoted } from '../../shown-text.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The query parameters that a route reads; none where it names none. */
    query?: readonly string[]
  }
}

/** @throws FacetError `bad_parameter` */
export function checkVersion(version: unknown): string {
  if (typeof version === 'string' && /^[0-9a-f]{6,64}$/.test(version)) return version
  throw new FacetError(
    'bad_parameter',
    `${shown(version)} is not a version: the SHA-256 of a pack, or at least its first 6 hex digits, in lower case.`,
  )
}

/** Refuses query parameters that the route does not declare, and repeated ones, on every route. */
export function checkQueries(app: FastifyInstance): void {
  app.addHook('onRequest', ({ query, routeOptions }, _reply, done) => {
    const known = routeOptions.config.query ?? []
    for (const [name, value] of Object.entries(query as Record<string, string | string[]>)) {
      if (!known.includes(name))
        throw new FacetError(
          'bad_parameter',
          `Unknown query parameter ${shown(name)}; this route reads ${known.join(', ') || 'none'}.`,
        )
      if (typeof value !== 'string')
        throw new FacetError('bad_parameter', `Query parameter '${name}' is given more than once.`)
    }
    done()
  })
}

/** The query's parameters, each at most once: those of the route's `config.query`. */
export function queryOf<Name extends string>({ query }: FastifyRequest): Partial<Record<Name, string>> {
  return query as Partial<Record<Name, string>>
}

/**
 * A whole number from `least` to `most`.
 *
 * @throws FacetError `bad_parameter` that names the parameter
 */
export function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `${least} to ${most}`
  throw new FacetError('bad_parameter', `${name} must be a whole number, ${range}; it is ${shown(text)}.`)
}

/** @throws FacetError `bad_parameter` that names the parameter */
export function trueOrFalse(name: string, text: string): boolean {
  if (text === 'true') return true
  if (text === 'false') return false
  throw new FacetError('bad_parameter', `${name} must be true or false; it is ${shown(text)}.`)
}

/**
 * Milliseconds a request may take: what `X-Request-Timeout` asks for, `most` at most; `usual` without that
 * header.
 *
 * @throws FacetError `bad_parameter`
 */
export function timeoutOf(request: FastifyRequest, usual: number, most: number): number {
  const header = request.headers['x-request-timeout']
  if (header === undefined) return usual
  return Math.min(wholeNumber('X-Request-Timeout', String(header), 1, Number.MAX_SAFE_INTEGER), most)
}

/** A client's value, so that an error can show it. */
function shown(value: unknown): string {
  if (typeof value !== 'string') return value === undefined ? 'nothing' : 'a value of another type'
  return quoted(value)
}
