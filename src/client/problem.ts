/** What went wrong with a request: the service refused it, or could not be reached. */
import type { components } from './api.js'

type Problem = components['schemas']['Problem']

/** An answer that is a failure. `code` is stable, the message is for people. */
export class ApiProblem extends Error {
  readonly status: number
  /** Of the service's table of errors; `unknown` where the answer is not of this service, but of a proxy, say. */
  readonly code: Problem['code'] | 'unknown'
  /** Everything that is wrong with the input, where more than one thing can be. */
  readonly problems: readonly string[]
  /** Position of the image in the request, from 0. */
  readonly index: number | undefined
  readonly requestId: string | undefined
  /** Seconds after which the service asks to try again. */
  readonly retryAfter: number | undefined

  constructor(status: number, problem: Partial<Problem>, retryAfter: number | undefined) {
    super(problem.detail ?? `The answer has the status ${status} and says nothing else.`)
    this.name = 'ApiProblem'
    this.status = status
    this.code = problem.code ?? 'unknown'
    this.problems = problem.problems ?? []
    this.index = problem.index
    this.requestId = problem.request_id
    this.retryAfter = retryAfter
  }
}

/** No answer came. */
export class Unreachable extends Error {
  constructor(url: string, cause: unknown) {
    super(`The service at ${url} does not answer: ${reasonOf(cause)}.`, { cause })
    this.name = 'Unreachable'
  }
}

/** `fetch` says "fetch failed" and hides why behind it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  if (cause instanceof AggregateError) return reasonOf(cause.errors[0])
  return cause instanceof Error ? cause.message : error.message
}

/** @param response a failure */
export async function problemOf(response: Response): Promise<ApiProblem> {
  const text = await response.text().catch(() => '')
  return new ApiProblem(response.status, parse(text), secondsOf(response.headers.get('retry-after')))
}

function parse(text: string): Partial<Problem> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {}
  }
}

function secondsOf(field: string | null): number | undefined {
  const seconds = Number(field)
  return field !== null && Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined
}
