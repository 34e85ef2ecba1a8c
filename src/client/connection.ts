/**
 * Sends requests to one service, and those again that may succeed later: where it is full or not ready (429, 503), after
 * the time that it asks for, and where no answer came. What got no answer may have been done all the same; most requests
 * may be sent twice, since what they change is then as it was asked for already. Those with a condition and DELETE are not:
 * the second answer would say that it failed.
 */
import { problemOf, Unreachable } from './problem.js'

export interface ClientOptions {
  /** `http://127.0.0.1:8080` unless told. */
  url?: string
  /** A bearer token. */
  token?: string
  /** How often a request is sent again at most. */
  retries?: number
  /** Time for one try, ms. */
  timeoutMs?: number
  /** Replaceable, for tests and proxies. */
  fetch?: typeof fetch
  /** Waits so many milliseconds. */
  wait?: (ms: number) => Promise<void>
}

export interface Sent {
  query?: Readonly<Record<string, string | number | boolean | undefined>>
  headers?: Readonly<Record<string, string | undefined>>
  body?: Uint8Array<ArrayBuffer> | ArrayBuffer | Blob | FormData | string
  /** Gives the request up. */
  signal?: AbortSignal | undefined
}

export const DEFAULT_URL = 'http://127.0.0.1:8080'
const DEFAULT_RETRIES = 5
const DEFAULT_TIMEOUT_MS = 60_000
/** Waits where the service names no time: the first, doubled with each try. */
const FIRST_WAIT_MS = 250
const MAX_WAIT_MS = 30_000
/** The service is full, or not ready. */
const LATER = [429, 503]
/** Of these statuses, what no waiting mends. */
const NEVER = 'domain_failed'

export class Connection {
  readonly url: string
  readonly #options: Required<Omit<ClientOptions, 'url' | 'token'>>
  readonly #headers: Record<string, string>

  constructor(options: ClientOptions = {}) {
    this.url = (options.url ?? DEFAULT_URL).replace(/\/+$/, '')
    this.#headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
    this.#options = {
      retries: options.retries ?? DEFAULT_RETRIES,
      timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      fetch: options.fetch ?? fetch,
      wait: options.wait ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms))),
    }
  }

  /**
   * @param path percent-encoded, from the slash on
   * @returns a success
   * @throws ApiProblem, Unreachable; what `signal` was aborted with
   */
  async send(method: string, path: string, sent: Sent = {}): Promise<Response> {
    const { retries, wait } = this.#options
    for (let tries = 0; ; tries++) {
      const outcome = await this.#try(method, path, sent)
      if (outcome instanceof Response && outcome.ok) return outcome
      sent.signal?.throwIfAborted()
      const failure = outcome instanceof Response ? await problemOf(outcome) : outcome
      const later =
        failure instanceof Unreachable
          ? mayBeRepeated(method, sent)
          : LATER.includes(failure.status) && failure.code !== NEVER
      if (!later || tries >= retries) throw failure
      const asked = failure instanceof Unreachable ? undefined : failure.retryAfter
      await wait(Math.min(asked === undefined ? FIRST_WAIT_MS * 2 ** tries : asked * 1000, MAX_WAIT_MS))
    }
  }

  async #try(method: string, path: string, sent: Sent): Promise<Response | Unreachable> {
    const { fetch, timeoutMs } = this.#options
    const timeout = AbortSignal.timeout(timeoutMs)
    const given = Object.entries({ ...this.#headers, ...sent.headers })
    try {
      return await fetch(`${this.url}${path}${queryText(sent.query)}`, {
        method,
        headers: given.filter((field): field is [string, string] => field[1] !== undefined),
        signal: sent.signal ? AbortSignal.any([sent.signal, timeout]) : timeout,
        ...(sent.body !== undefined && { body: sent.body }),
      })
    } catch (error) {
      return new Unreachable(this.url, error)
    }
  }
}

/** Whether a request that may have been done already has the same answer when it is sent again. */
function mayBeRepeated(method: string, { headers = {} }: Sent): boolean {
  const conditional = Object.entries(headers).some(
    ([name, value]) => value !== undefined && /^if-(none-)?match$/i.test(name),
  )
  return method !== 'DELETE' && !conditional
}

function queryText(query: Sent['query'] = {}): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  )
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`
}
