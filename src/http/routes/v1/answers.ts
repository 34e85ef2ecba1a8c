/**
 * The answers of the data plane as JSON. Ordinary ones are made at once. Long ones (many images, many classes)
 * are made piece by piece, in turn with other work, and sent as they are made, so that they neither hold the
 * thread nor take memory.
 */
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Clock } from '../../../concurrency/clock.js'
import { type Steps, turns } from '../../../concurrency/turns.js'
import { clientClosed, FacetError, noHead } from '../../../errors.js'
import type { PredictResult } from '../../../predict/predictor.js'
import { activate, topIndices, topK } from '../../../predict/scores.js'

/** Predictions or features, and classes that are looked at, of an answer that is made at once. */
const MAX_ENTRIES_AT_ONCE = 2000
const MAX_CLASSES_AT_ONCE = 50_000
/** Entries that are written in a step. */
const ENTRIES_A_STEP = 200
/** Characters that are sent together. */
const CHUNK_LENGTH = 64 * 1024

/** Whose answer it is, and until when it is made and sent. */
export interface AnswerLimit {
  /** Whose turns the making takes. */
  principal: string
  /** Aborted when the client left. */
  signal: AbortSignal
  /** `clock.now()` milliseconds. */
  deadline: number
  clock: Clock
}

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

/** Nine significant digits are enough to restore a float32 exactly. */
function shortest(value: number): number {
  return Number(value.toPrecision(9))
}

/* The same, as JSON in pieces. */

type Texts = Generator<string, void, void>

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

/**
 * The first chunk is there before the header is sent, so that what goes wrong until then gets its status. A client that
 * stops reading is not waited for beyond the deadline: the results stay in memory until all chunks are made.
 */
async function sendLong(reply: FastifyReply, texts: Texts, limit: AnswerLimit): Promise<Readable> {
  const { clock, deadline } = limit
  const first = await nextChunk(texts, limit)
  void reply.type('application/json; charset=utf-8')
  const answer = Readable.from(chunksOf(first, texts, limit), { objectMode: false })
  const cancel = clock.after(deadline - clock.now(), () => answer.destroy(tooLate()))
  return answer.once('close', cancel)
}

/** Each chunk is made when the client has taken those before. */
export async function* chunksOf(first: string, texts: Texts, limit: AnswerLimit): AsyncGenerator<string> {
  for (let chunk = first; chunk !== ''; chunk = await nextChunk(texts, limit)) yield chunk
}

function nextChunk(texts: Texts, limit: AnswerLimit): Promise<string> {
  const { principal, signal, deadline, clock } = limit
  const check = () => {
    if (signal.aborted) throw clientClosed()
    if (clock.now() >= deadline) throw tooLate()
  }
  return turns.run(chunkOf(texts), { owner: principal, check })
}

function tooLate(): FacetError {
  return new FacetError('deadline_exceeded', 'The deadline passed before the answer was whole.')
}

/** Empty at the end. */
function* chunkOf(texts: Texts): Steps<string> {
  let chunk = ''
  while (chunk.length < CHUNK_LENGTH) {
    const { done, value } = texts.next()
    if (done) break
    chunk += value
    yield
  }
  return chunk
}
