/** Answers that are long: made piece by piece, in turn with other work, and sent as they are made. */
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Clock } from '../../concurrency/clock.js'
import { type Steps, turns } from '../../concurrency/turns.js'
import { clientClosed, FacetError } from '../../errors.js'

/** The pieces of an answer, a fraction of a millisecond's work each. */
export type Texts = Generator<string, void, void>

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
 * Sends JSON. The first chunk is there before the header is sent, so that what goes wrong until then gets its status. A client that
 * stops reading is not waited for beyond the deadline: the results stay in memory until all chunks are made.
 */
export async function sendLong(reply: FastifyReply, texts: Texts, limit: AnswerLimit): Promise<Readable> {
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
  return answering(chunkOf(texts), limit)
}

/** Does work on an answer, in turn with other work. @throws FacetError `client_closed`, `deadline_exceeded` */
export function answering<T>(
  steps: Steps<T>,
  { principal, signal, deadline, clock }: AnswerLimit,
): Promise<T> {
  const check = () => {
    if (signal.aborted) throw clientClosed()
    if (clock.now() >= deadline) throw tooLate()
  }
  return turns.run(steps, { owner: principal, check })
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
