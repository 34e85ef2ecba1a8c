/**
 * The rest of a body that is refused: read away as far as it is worth it, or left, and the connection ends.
 *
 * Closing the connection at once would reset it, and a client that is still sending may then never see why it was
 * refused.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { holdsBodyBack } from './expect.js'
import { dropChunks } from './node-parser.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Set where the rest of a refused body is not worth reading: the connection ends with the answer. */
    hangUp?: boolean
  }
}

/** Bytes of a refused body that are read and dropped, so that the client gets to see the answer. */
const MAX_DISCARDED_BYTES = 64 * 1024 * 1024
/**
 * So many chunks may be of any size. Each costs the thread about as much as hundreds of bytes do, whatever becomes of the
 * body.
 */
const FREE_CHUNKS = 512
/** Beyond, the chunks of a body so far must have as many bytes on average. */
export const MIN_AVERAGE_BYTES = 64

/** Whether a body comes in chunks that are not worth reading. @param bytes of so many chunks */
export function areTiny(chunks: number, bytes: number): boolean {
  return chunks > FREE_CHUNKS && bytes < chunks * MIN_AVERAGE_BYTES
}

/** Reads what comes of a body and drops it, up to a bound. Beyond, the connection ends. */
export function discard(body: IncomingMessage): void {
  let bytes = 0
  let chunks = 0
  body.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    chunks++
    if (bytes > MAX_DISCARDED_BYTES || areTiny(chunks, bytes)) body.destroy()
  })
  body.resume()
}

/** To be called when a refused request is answered. */
export function discardRest(request: FastifyRequest, reply: FastifyReply): void {
  const { raw } = request
  if (raw.complete || raw.destroyed) return
  // A client that holds its body back may send another request in its place.
  if (request.hangUp === true || holdsBodyBack(raw)) {
    raw.pause()
    void reply.header('connection', 'close')
    return
  }
  discard(raw)
  // Fastify asks to close after a body it could not read; the bound above makes that unnecessary.
  void reply.removeHeader('connection')
}

/** Leaves the rest of a body that comes in very small chunks. Thousands of them may be in what has been read already. */
export function hangUp(request: FastifyRequest): void {
  request.hangUp = true
  dropChunks(request.raw.socket)
}
