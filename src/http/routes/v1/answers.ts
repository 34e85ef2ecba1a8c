/**
 * The answers of the data plane as JSON. Ordinary ones are made at once. Long ones (many images, many classes)
 * are made piece by piece, in turn with other work, and sent as they are made, so that they neither hold the
 * thread nor take memory.
 */
import type { FastifyReply } from 'fastify'
import { noHead } from '../../../errors.js'
import type { PredictResult } from '../../../predict/predictor.js'
import { activate, shortest, topIndices, topK } from '../../../predict/scores.js'
import { type AnswerLimit, sendLong, type Texts } from '../../exchange/long-answer.js'

/** Predictions or features, and classes that are looked at, of an answer that is made at once. */
const MAX_ENTRIES_AT_ONCE = 2000
const MAX_CLASSES_AT_ONCE = 50_000
/** Entries that are written in a step. */
const ENTRIES_A_STEP = 200

/**
 * The `k` likeliest classes of each image; all classes if there are fewer.
 *
 * @param limit of a long answer, which breaks off there
 * @returns what the handler is to return
 * @throws FacetError `no_head`
 */
export async function sendPredictions(
  reply: FastifyReply,
  results: readonly PredictResult[],
  k: number,
  limit: AnswerLimit,
): Promise<unknown> {
  let classes = 0
  let entries = 0
  for (const { domain, labels } of results) {
    if (labels === null) throw noHead(domain)
    classes += labels.length
    entries += Math.min(k, labels.length)
  }
  if (entries <= MAX_ENTRIES_AT_ONCE && classes <= MAX_CLASSES_AT_ONCE)
    return { results: results.map((result) => prediction(result, k)) }
  return sendLong(
    reply,
    listText(results, (result) => predictionText(result, k)),
    limit,
  )
}

/** The features of each image. The other parameters are those of `sendPredictions`. */
export async function sendFeatures(
  reply: FastifyReply,
  results: readonly PredictResult[],
  limit: AnswerLimit,
): Promise<unknown> {
  const entries = results.reduce((sum, { features }) => sum + features.length, 0)
  if (entries <= MAX_ENTRIES_AT_ONCE) return { results: results.map(embedding) }
  return sendLong(reply, listText(results, embeddingText), limit)
}

function prediction(result: PredictResult, k: number) {
  const { domain, version, labels, activation, logits } = result
  const entries = topK(activate(logits!, activation), Math.min(k, labels!.length))
  return { domain, version, predictions: entries.map((entry) => named(entry, labels!)) }
}

function named({ index, score }: { index: number; score: number }, labels: readonly string[]) {
  return { label: labels[index], index, score: shortest(score) }
}

function embedding({ domain, version, features }: PredictResult) {
  return { domain, version, features: Array.from(features, shortest) }
}

/* The same, as JSON in pieces. */

/** `{"results":[...]}` */
export function* listText<Item>(items: readonly Item[], textOf: (item: Item) => Texts): Texts {
  yield '{"results":['
  for (const [index, item] of items.entries()) {
    if (index > 0) yield ','
    yield* textOf(item)
  }
  yield ']}'
}

export function* predictionText(result: PredictResult, k: number): Texts {
  const { domain, version, labels, activation, logits } = result
  yield opening({ domain, version, predictions: [] })
  // Each of these takes milliseconds where there are tens of thousands of classes.
  const scores = activate(logits!, activation)
  yield ''
  const indices = topIndices(scores, Math.min(k, labels!.length))
  yield ''
  yield* entriesText(indices, (index) => named({ index, score: scores[index]! }, labels!))
}

export function* embeddingText({ domain, version, features }: PredictResult): Texts {
  yield opening({ domain, version, features: [] })
  yield* entriesText(features, shortest)
}

/** JSON up to and including the bracket of its last list, which is empty. */
function opening(value: object): string {
  return JSON.stringify(value).slice(0, -2)
}

/** The entries of that list, and the end. */
function* entriesText<Entry>(
  entries: { readonly length: number; slice(start: number, end: number): Iterable<Entry> },
  toValue: (entry: Entry) => unknown,
): Texts {
  for (let at = 0; at < entries.length; at += ENTRIES_A_STEP) {
    const values = Array.from(entries.slice(at, at + ENTRIES_A_STEP), toValue)
    yield (at > 0 ? ',' : '') + JSON.stringify(values).slice(1, -1)
  }
  yield ']}'
}
