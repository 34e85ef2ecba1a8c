/** Answers that are long: made piece by piece, in turn with other work, and sent as they are made. */
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Clock } from '../../concurrency/clock.js'
import { type Steps, turns } from '../../concurrency/turns.js'
import { clientClosed, FacetError } from '../../errors.js'

/** The pieces of an answer, a fraction of a millisecond's work each. */
export type Texts = Generator<string, void, void>
export type Pieces = Texts | Generator<Buffer, void, void>

/** Characters or bytes that are sent together. */
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
 * Sends JSON, or another type. The first chunk is there before the header is sent, so that what goes wrong until then gets its
 * status. A client that stops reading is not waited for beyond the deadline: the results stay in memory until all chunks are made.
 */
export async function sendLong(
  reply: FastifyReply,
  pieces: Pieces,
  limit: AnswerLimit,
  type = 'application/json; charset=utf-8',
): Promise<Readable> {
  const { clock, deadline } = limit
  const first = await nextChunk(pieces, limit)
  void reply.type(type)
  const answer = Readable.from(chunksOf(first, pieces, limit), { objectMode: false })
  const cancel = clock.after(deadline - clock.now(), () => answer.destroy(tooLate()))
  return answer.once('close', cancel)
}

/** Each chunk is made when the client has taken those before. */
export async function* chunksOf(
  first: string | Buffer,
  pieces: Pieces,
  limit: AnswerLimit,
): AsyncGenerator<string | Buffer> {
  for (let chunk = first; chunk.length > 0; chunk = await nextChunk(pieces, limit)) yield chunk
}

function nextChunk(pieces: Pieces, limit: AnswerLimit): Promise<string | Buffer> {
  return answering(chunkOf(pieces), limit)
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
function* chunkOf(pieces: Pieces): Steps<string | Buffer> {
  let text = ''
  const data: Buffer[] = []
  for (let length = 0; length < CHUNK_LENGTH; ) {
    const { done, value } = pieces.next()
    if (done) break
    if (typeof value === 'string') text += value
    else data.push(value)
    length += value.length
    yield
  }
  return data.length > 0 ? Buffer.concat(data) : text
}
