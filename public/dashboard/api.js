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

/**
 * What is wrong with a token as it was typed or pasted; empty where nothing is. Other characters than these cannot be
 * sent in a header field.
 * @param {string} token
 */
export function tokenProblem(token) {
  const other = /[^\x20-\x7e]/u.exec(token.trim())?.[0]
  if (other === undefined) return ''
  const code = /** @type {number} */ (other.codePointAt(0)).toString(16).toUpperCase().padStart(4, '0')
  return `A token has letters, digits and signs of ASCII alone; this one has another character, U+${code}. Copy it again.`
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
      throw withoutAnswer(error)
    }
    if (!answer.ok) throw await problemOf(answer)
    return answer
  }

  /** The answer's JSON. @param {string} path @param {Parameters<Api['send']>[1]} [options] @returns {Promise<any>} */
  async json(path, options) {
    return JSON.parse(await this.text(path, options))
  }

  /** The answer's text. @param {string} path @param {Parameters<Api['send']>[1]} [options] @returns {Promise<string>} */
  async text(path, options) {
    const answer = await this.send(path, options)
    try {
      return await answer.text()
    } catch (error) {
      throw withoutAnswer(error)
    }
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

/** Why no answer came, or only a part of one. @param {unknown} error what `fetch` threw */
function withoutAnswer(error) {
  const name = error instanceof DOMException ? error.name : ''
  if (name === 'AbortError') return error
  const message =
    name === 'TimeoutError' ? 'The service has not answered in time.' : 'The service cannot be reached.'
  return new ApiError(message, { status: 0 })
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
