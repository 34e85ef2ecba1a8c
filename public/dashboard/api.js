/**
 * Requests to the service. The token, where one is needed, is in this object alone: it is in no storage and no URL, and
 * is gone when the page is.
 */

/** What the service refused, or that it could not be reached (`status` 0). */
export class ApiError extends Error {
  /** @param {string} message @param {{ status: number, code?: string, problems?: string[], index?: number }} about */
  constructor(message, { status, code = '', problems = [], index }) {
    super(message)
    this.status = status
    this.code = code
    /** Everything that is wrong with the input. */
    this.problems = problems
    /** Position of the image that was refused. */
    this.index = index
  }
}

export class Api {
  #token = ''
  #base

  /** @param {string} base address of the page; the API is beside it */
  constructor(base) {
    this.#base = base
  }

  get hasToken() {
    return this.#token !== ''
  }

  /** @param {string} token empty for none */
  setToken(token) {
    this.#token = token.trim()
  }

  /**
   * @param {string} path such as `v1/domains`
   * @param {{ method?: string, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal }} [options]
   * @returns {Promise<Response>} a success
   * @throws ApiError
   */
  async send(path, { headers = {}, ...options } = {}) {
    const all = { ...headers, ...(this.hasToken && { authorization: `Bearer ${this.#token}` }) }
    let answer
    try {
      answer = await fetch(new URL(path, this.#base), { ...options, headers: all, cache: 'no-store' })
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error
      throw new ApiError('The service cannot be reached.', { status: 0 })
    }
    if (!answer.ok) throw await problemOf(answer)
    return answer
  }

  /** The answer's JSON. @param {string} path @param {Parameters<Api['send']>[1]} [options] @returns {Promise<any>} */
  async json(path, options) {
    return (await this.send(path, options)).json()
  }

  /** A change with a JSON body. @param {string} method @param {string} path @param {object} body
   * @param {Record<string, string>} [headers] @returns {Promise<any>} */
  change(method, path, body, headers = {}) {
    const json = { 'content-type': 'application/json', ...headers }
    return this.json(path, { method, body: JSON.stringify(body), headers: json })
  }
}

/** @param {string} domain */
export function domainPath(domain) {
  return `v1/domains/${encodeURIComponent(domain)}`
}

/** @param {Response} answer an RFC 9457 problem, or what a proxy made of one */
async function problemOf(answer) {
  const { status } = answer
  const text = await answer.text()
  try {
    const { detail, code, problems, index } = JSON.parse(text)
    return new ApiError(String(detail), { status, code, problems, index })
  } catch {
    return new ApiError(`The service answered with status ${status}.`, { status })
  }
}
