/**
 * Entity tags: `ETag` of answers, `If-Match` and `If-None-Match` of requests (RFC 9110, sections 8.8 and 13).
 *
 * The tag of a domain is the SHA-256 of its active pack. Only what a precondition says is read here; whether
 * it holds is decided inside the registry's atomic switch.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import type { Preconditions } from '../../registry/types.js'

interface EntityTag {
  tag: string
  weak: boolean
}

/**
 * Preconditions of a mutation, tags without quotes. Weak tags never match there: for `If-Match` by RFC 9110,
 * for `If-None-Match` because a domain's tags are never weak.
 *
 * @throws FacetError `malformed_request` for a field that is not a list of entity tags.
 */
export function preconditionsOf(request: FastifyRequest): Preconditions {
  const pre: Preconditions = {}
  const ifMatch = tagsOf(request, 'if-match')
  if (ifMatch !== null) pre.ifMatch = strong(ifMatch)
  const ifNoneMatch = tagsOf(request, 'if-none-match')
  if (ifNoneMatch !== null) pre.ifNoneMatch = strong(ifNoneMatch)
  return pre
}

/**
 * What a GET of a representation with tag `version` is answered with: 200, or 304 where the client has it.
 *
 * @throws FacetError `precondition_failed` where `If-Match` names other tags.
 */
export function conditionOf(request: FastifyRequest, version: string): 200 | 304 {
  const ifMatch = tagsOf(request, 'if-match')
  if (ifMatch !== null && ifMatch !== '*' && !strong(ifMatch).includes(version))
    throw new FacetError('precondition_failed', `The pack is ${version}, which If-Match does not name.`)
  const ifNoneMatch = tagsOf(request, 'if-none-match')
  if (ifNoneMatch === null) return 200
  return ifNoneMatch === '*' || ifNoneMatch.some(({ tag }) => tag === version) ? 304 : 200
}

/** Sets `ETag` where there is an active version. */
export function setETag(reply: FastifyReply, version: string | null): void {
  if (version !== null) void reply.header('etag', `"${version}"`)
}

function strong(tags: readonly EntityTag[] | '*'): readonly string[] | '*' {
  return tags === '*' ? '*' : tags.filter(({ weak }) => !weak).map(({ tag }) => tag)
}

function tagsOf(request: FastifyRequest, name: 'if-match' | 'if-none-match'): EntityTag[] | '*' | null {
  const field = request.headers[name]
  if (field === undefined) return null
  if (field.trim() === '*') return '*'
  const tags: EntityTag[] = []
  const item = /\s*(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)/y
  while (item.lastIndex < field.length) {
    const found = item.exec(field)
    if (!found) {
      throw new FacetError(
        'malformed_request',
        `${name === 'if-match' ? 'If-Match' : 'If-None-Match'} must be * or a list of entity tags in double quotes.`,
      )
    }
    tags.push({ tag: found[2]!, weak: found[1] !== undefined })
  }
  return tags
}
