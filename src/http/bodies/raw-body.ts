/**
 * A body that is one image or one pack, as bytes.
 *
 * Fastify's own reader leaves the chunks a body came in to the collector: 1.4 MB of each pack, for which V8 then
 * collects the whole heap every few packs (docs/experiments/2026-11-26-idle-cores-while-packs-come.md).
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { free } from '../../bytes/free.js'
import { bodyTooLarge } from '../exchange/failures.js'

/**
 * A content type parser. The bytes are a copy of the chunks they came in, which are freed where they are many.
 *
 * @throws FacetError `body_too_large`, before the body where `Content-Length` says so and else while it arrives;
 * `malformed_request` where `Content-Length` lies; the error of the connection, as a bad request, where that broke
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
      // Only one is small, and may be its sender's own where there is no socket.
      if (chunks.length > 1) free(chunks)
      if (error !== null) reject(error)
    }
    if (announced > bodyLimit) return reject(bodyTooLarge(bodyLimit, config.limitedBy))
    payload.on('data', onData).on('end', onEnd).on('error', onError)
  })
}
