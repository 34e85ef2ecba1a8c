/**
 * Reads the bytes of a body, whatever is in them.
 *
 * Fastify's own reader leaves the chunks of a body to the garbage collector: 1.4 MB of each pack, so that V8
 * collects the whole heap every few packs (docs/experiments/2026-11-26-idle-cores-while-packs-come.md).
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { principalOf } from '../access/auth.js'
import { askForBody } from '../exchange/expect.js'
import { bodyTooLarge } from '../exchange/failures.js'
import { hangUp } from '../exchange/rest-of-body.js'
import { Collector, TinyChunks } from './collector.js'
import type { Pace } from './pace.js'

/**
 * A content type parser. The bytes are a copy of the chunks of the body; if there is more than one chunk, all
 * are freed.
 *
 * @throws FacetError `body_too_large`, before the body arrives if `Content-Length` says so;
 * `malformed_request` if the body is not as long as `Content-Length` says or comes in very small chunks;
 * `request_timeout` if it comes too slowly; the error of its budget where there is no room for it; the error of
 * a broken connection, with status 400
 */
export function readRaw(request: FastifyRequest, payload: IncomingMessage, pace: Pace): Promise<Buffer> {
  const { bodyLimit, config } = request.routeOptions
  const length = request.headers['content-length']
  const announced = length === undefined ? undefined : Number(length)
  return new Promise((resolve, reject) => {
    if (announced !== undefined && announced > bodyLimit)
      return reject(bodyTooLarge(bodyLimit, config.limitedBy))
    const collector = new Collector(announced)
    const arriving = pace.begin((error) => {
      request.hangUp = true
      fail(error)
    })
    const onData = (chunk: Buffer) => {
      arriving.bytes += chunk.length
      if (collector.length + chunk.length > bodyLimit) return fail(bodyTooLarge(bodyLimit, config.limitedBy))
      try {
        request.share?.take(chunk.length)
        collector.add(chunk)
      } catch (error) {
        fail(error)
        if (error instanceof TinyChunks) hangUp(request)
        return
      }
    }
    const onEnd = () => {
      if (announced !== undefined && announced !== collector.length)
        return fail(new FacetError('malformed_request', 'The body is not as long as Content-Length says.'))
      ignore()
      collector.join(principalOf(request)).then(resolve, reject)
    }
    const onError = (error: Error) => fail(Object.assign(error, { statusCode: 400 }))
    const ignore = () => {
      pace.end(arriving)
      payload.off('data', onData).off('end', onEnd).off('error', onError)
    }
    const fail = (error: unknown) => {
      ignore()
      collector.drop()
      request.share?.giveBack()
      reject(error)
    }
    askForBody(request.raw)
    payload.on('data', onData).on('end', onEnd).on('error', onError)
  })
}
