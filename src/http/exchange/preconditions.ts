/**
 * Entity tags: `ETag` of answers, `If-Match` and `If-None-Match` of requests (RFC 9110, sections 8.8 and 13).
 *
 * The tag of a domain is the SHA-256 of its active pack. Preconditions are only parsed here; the registry
 * checks them inside its atomic switch.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import type { Preconditions } from '../../registry/types.js'

interface EntityTag {
  tag: string
  weak: boolean
}

/**
 * Preconditions of a change, tags without quotes. Weak tags are left out, because they never match: for
 * `If-Match` RFC 9110 says so, for `If-None-Match` because a domain's tag is never weak.
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
 * The status of a GET whose answer has the tag `version`: 200, or 304 if the client has that version already.
 *
 * @throws FacetError `precondition_failed` if `If-Match` names only other tags.
 */
export function conditionOf(request: FastifyRequest, version: string): 200 | 304 {
  const ifMatch = tagsOf(request, 'if-match')
  if (ifMatch !== null && ifMatch !== '*' && !strong(ifMatch).includes(version))
    throw new FacetError('precondition_failed', `The pack is ${version}, which If-Match does not name.`)
  const ifNoneMatch = tagsOf(request, 'if-none-match')
  if (ifNoneMatch === null) return 200
  return ifNoneMatch === '*' || ifNoneMatch.some(({ tag }) => tag === version) ? 304 : 200
}

/** Sets `ETag`, unless there is no version. */
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
    if (!found) throw noTags(name)
    tags.push({ tag: found[2]!, weak: found[1] !== undefined })
  }
  if (tags.length === 0) throw noTags(name)
  return tags
}

function noTags(name: 'if-match' | 'if-none-match'): FacetError {
  const field = name === 'if-match' ? 'If-Match' : 'If-None-Match'
  return new FacetError('malformed_request', `${field} must be * or a list of entity tags in double quotes.`)
}
