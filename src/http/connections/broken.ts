/**
 * Connections on which a request never becomes complete: no HTTP, header fields too long, a body too slow.
 *
 * Node reports these below the routes. Here they are answered in the format of the plane, and counted and
 * logged for the request they interrupt, if its header had arrived.
 */
import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { failureHeaders, toFacetError } from '../exchange/failures.js'

interface Exchange {
  request: FastifyRequest
  reply: FastifyReply
}

/** The client ended the connection; there is nobody to answer. */
const goneCodes: readonly unknown[] = ['ECONNRESET', 'HPE_INVALID_EOF_STATE']

export class BrokenRequests {
  /** The last request of each connection that is not answered yet. */
  readonly #current = new WeakMap<Socket, Exchange>()
  readonly #app: FastifyInstance
  readonly #count: (status: number, request?: FastifyRequest) => void

  /**
   * Follows the requests of every connection.
   *
   * @param count records a broken request; `request` where its header had arrived
   */
  constructor(app: FastifyInstance, count: (status: number, request?: FastifyRequest) => void) {
    this.#app = app
    this.#count = count
    app.addHook('onRequest', async (request, reply) => {
      const { socket } = request.raw
      this.#current.set(socket, { request, reply })
      reply.raw.once('close', () => {
        if (this.#current.get(socket)?.request === request) this.#current.delete(socket)
      })
    })
  }

  /** Node's `clientError`. */
  readonly answer = (error: Error, socket: Socket): void => {
    const { request, reply } = this.#current.get(socket) ?? {}
    const gone = goneCodes.includes((error as NodeJS.ErrnoException).code)
    if (gone || !socket.writable || reply?.raw.headersSent === true) {
      socket.destroy()
      return
    }
    const failure = toFacetError(Object.assign(error, { statusCode: 400 }))
    if (request) request.failure = failure
    this.#count(failure.status, request)
    const { plane } = request?.server ?? this.#app
    const { type, body } = plane.failureBody(failure, request?.id ?? randomUUID())
    const fields = {
      ...plane.headers,
      ...request?.routeOptions.config.headers,
      ...failureHeaders(failure),
      'content-type': type,
      connection: 'close',
    }
    const head = [
      `HTTP/1.1 ${failure.status} ${STATUS_CODES[failure.status]}`,
      ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`),
      `content-length: ${Buffer.byteLength(body)}`,
    ]
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
  }
}
