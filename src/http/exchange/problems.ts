/** A failure as an RFC 9457 problem document: what `/v1`, the operator's plane and unknown paths answer. */
import type { ErrorCode, FacetError } from '../../errors.js'
import { noPageHeaders, type Plane } from './plane.js'

/** Members of a problem document. */
interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
  request_id: string
  /** Everything that is wrong with the input, where more than one thing can be. */
  problems?: readonly string[]
  /** Position of the image in the request, from 0. */
  index?: number
}

export const problemPlane: Plane = {
  headers: noPageHeaders,
  failureBody: (failure, requestId) => ({
    type: 'application/problem+json',
    body: JSON.stringify(problemOf(failure, requestId)),
  }),
}

/** Holds no stack and no path of the server. `JSON.stringify` leaves out the members that are undefined. */
function problemOf(
  failure: FacetError,
  requestId: string,
): { [Name in keyof Problem]: Problem[Name] | undefined } {
  return {
    type: `urn:facet:problem:${failure.code}`,
    title: failure.title,
    status: failure.status,
    detail: failure.message,
    code: failure.code,
    request_id: requestId,
    problems: failure.problems.length > 0 ? failure.problems : undefined,
    index: failure.index,
  }
}
