/** One predict request of any plane: its deadline, its client, and how long its steps took. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import type { PredictItem, PredictResult, PredictTimings } from '../../predict/predictor.js'
import { principalOf } from '../access/auth.js'
import { departure } from './departure.js'
import type { AppDeps } from './deps.js'
import type { AnswerLimit } from './long-answer.js'
import { timeoutOf } from './parameters.js'

export type PredictionDeps = Pick<AppDeps, 'predictor' | 'predictionLog' | 'config' | 'clock'>

/** What a plane asks of the predictor. */
export interface Prediction {
  items: readonly PredictItem[]
  /** True where an answer needs a classifier. */
  needHead: boolean
  /** Milliseconds that the request itself allows, beside `X-Request-Timeout`. */
  timeoutMs?: number | undefined
}

/**
 * Predicts for the request's principal, and sets `Server-Timing`.
 *
 * @returns the results, and what the making of the answer is bound to
 * @throws FacetError as `Predictor.predict`
 */
export async function predictFor(
  request: FastifyRequest,
  reply: FastifyReply,
  { items, needHead, timeoutMs = Number.POSITIVE_INFINITY }: Prediction,
  { predictor, config, clock }: PredictionDeps,
): Promise<{ results: PredictResult[]; limit: AnswerLimit }> {
  const asked = timeoutOf(request, config.timeoutMs, config.maxTimeoutMs)
  const deadline = request.arrival + Math.min(asked, timeoutMs)
  if (clock.now() >= deadline)
    throw new FacetError('deadline_exceeded', 'The body took longer to arrive than the request allows.')
  const signal = departure(reply)
  const principal = principalOf(request)
  const { results, timings } = await predictor.predict(items, { principal, deadline, signal, needHead })
  request.timings = timings
  void reply.header('server-timing', serverTiming(timings))
  return { results, limit: { principal, signal, deadline, clock } }
}

function serverTiming({ decodeMs, queueMs, inferenceMs }: PredictTimings): string {
  const entries = [
    ['decode', decodeMs],
    ['queue', queueMs],
    ['inference', inferenceMs],
  ] as const
  return entries.map(([name, ms]) => `${name};dur=${ms.toFixed(3)}`).join(', ')
}
