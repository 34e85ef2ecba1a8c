/**
 * Reads a body that is one image or one pack.
 *
 * Fastify's own reader leaves the chunks of a body to the garbage collector: 1.4 MB of each pack, so that V8
 * collects the whole heap every few packs (docs/experiments/2026-11-26-idle-cores-while-packs-come.md).
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { free } from '../../bytes/free.js'
import { bodyTooLarge } from '../exchange/failures.js'

/**
 * A content type parser. The bytes are a copy of the chunks of the body; if there is more than one chunk, all
 * are freed.
 *
 * @throws FacetError `body_too_large`, before the body arrives if `Content-Length` says so;
 * `malformed_request` if the body is not as long as `Content-Length` says; the error of a broken connection,
 * with status 400
 */
export function readRaw(request: FastifyRequest, payload: IncomingMessage): Promise<Buffer> {
  const { bodyLimit, config } = request.routeOptions
  const announced = Number(request.headers['content-length'] ?? Number.NaN)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const onData = (chunk: Buffer) => {
      length += chunk.length
      chunks.push(chunk)
      if (length > bodyLimit) end(bodyTooLarge(bodyLimit, config.limitedBy))
    }
    const onEnd = () => {
      if (announced >= 0 && announced !== length)
        return end(new FacetError('malformed_request', 'The body is not as long as Content-Length says.'))
      const bytes = Buffer.concat(chunks, length)
      end(null)
      resolve(bytes)
    }
    const onError = (error: Error) => end(Object.assign(error, { statusCode: 400 }))
    const end = (error: Error | null) => {
      payload.off('data', onData).off('end', onEnd).off('error', onError)
      // A single chunk is small. Without a socket, as in tests, it may still belong to the sender.
      if (chunks.length > 1) free(chunks)
      if (error !== null) reject(error)
    }
    if (announced > bodyLimit) return reject(bodyTooLarge(bodyLimit, config.limitedBy))
    payload.on('data', onData).on('end', onEnd).on('error', onError)
  })
}
