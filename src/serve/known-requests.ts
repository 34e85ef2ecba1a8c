/**
 * Which requests and answers there may be, for counters that start at 0: what openapi.yaml promises, and what is counted
 * before or without a route.
 *
 * Reads the text line by line, which takes a millisecond (a parser of YAML would hold the start up by a fifth of a
 * second); a test compares the two.
 */
import { type KnownRequests, methods, otherMethods } from './metrics.js'

const UNMATCHED = '_unmatched'
/** An unknown path and an unknown method have no route; nor have header fields that are too long. */
const NEVER_OF_A_ROUTE = [405, 431]
/** No answer, so it is not in the document: the client left. */
const CLIENT_CLOSED = 499

/** @param openapi the text of openapi.yaml */
export function knownRequests(openapi: string): KnownRequests[] {
  const known: (KnownRequests & { codes: number[] })[] = [...methods, otherMethods].map((method) => ({
    route: UNMATCHED,
    method,
    // What is no HTTP has no method that could be read.
    codes: method === otherMethods ? [400, 404, 405, 408, 431] : [400, 404, 405],
  }))
  /** Answers that several operations have (`responses: &name`, and then `*name`). */
  const shared = new Map<string, number[]>()
  let route = ''
  for (const line of openapi.split('\n')) {
    if (/^\S/.test(line)) route = ''
    const [, path] = /^ {2}(\/\S*):$/.exec(line) ?? []
    if (path !== undefined) route = path
    if (route === '') continue
    const [, method] = /^ {4}(get|put|post|patch|delete):$/.exec(line) ?? []
    if (method !== undefined) known.push({ route, method: method.toUpperCase(), codes: [CLIENT_CLOSED] })
    const [, mark, name] = /^ {6}responses: ([&*])(\w+)$/.exec(line) ?? []
    if (mark === '&') shared.set(name!, known.at(-1)!.codes)
    else if (mark === '*') known.at(-1)!.codes = shared.get(name!)!
    const [, code] = /^ {8}'(\d{3})':$/.exec(line) ?? []
    if (code !== undefined && !NEVER_OF_A_ROUTE.includes(Number(code))) known.at(-1)!.codes.push(Number(code))
  }
  return known
}
