/**
 * Predictions for images. An image for many domains is one request with a part for each domain, so that the service runs
 * them together; large ones are cut into requests that keep within its limits.
 */
import { ApiError } from './api.js'
import { groupsOf, refusedParts, timingsOf } from './requests.js'

/**
 * @typedef {{ domain: string, image: File }} Part
 * @typedef {{ decode: number, queue: number, inference: number, total: number }} Timings milliseconds
 * @typedef {{ domain: string, result?: import('./types.js').Result, error?: ApiError }} Outcome
 */

/**
 * What each part's domain says, in order. A part that is refused does not keep the others from being answered.
 * @param {import('./api.js').Api} api @param {readonly Part[]} parts
 * @param {{ labels: number, signal: AbortSignal }} options `labels`: the likeliest ones that are asked for
 * @returns {Promise<{ outcomes: Outcome[], timings: Timings, requests: number }>}
 */
export async function predict(api, parts, options) {
  const timings = { decode: 0, queue: 0, inference: 0, total: 0 }
  let requests = 0
  /** @type {Map<Part, Outcome>} */
  const answers = new Map()
  for (const group of groupsOf(parts)) {
    let waiting = group.filter((part) => !answers.has(part))
    while (waiting.length > 0) {
      requests++
      const began = performance.now()
      try {
        const { results, field } = await request(api, waiting, options)
        for (const [index, part] of waiting.entries())
          answers.set(part, { domain: part.domain, result: results[index] })
        const { decode = 0, queue = 0, inference = 0 } = timingsOf(field)
        timings.decode += decode
        timings.queue += queue
        timings.inference += inference
        waiting = []
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
        for (const part of refusedParts(waiting, error, parts))
          answers.set(part, { domain: part.domain, error })
        waiting = waiting.filter((part) => !answers.has(part))
      }
      timings.total += performance.now() - began
    }
  }
  const outcomes = parts.map((part) => /** @type {Outcome} */ (answers.get(part)))
  return { outcomes, timings, requests }
}

/** @param {import('./api.js').Api} api @param {readonly Part[]} parts
 * @param {{ labels: number, signal: AbortSignal }} options */
async function request(api, parts, { labels, signal }) {
  const form = new FormData()
  for (const { domain, image } of parts) form.append(domain, image)
  const answer = await api.send(`v1/predict?top_k=${labels}`, { method: 'POST', body: form, signal })
  const { results } = await answer.json()
  return { results, field: answer.headers.get('server-timing') }
}
