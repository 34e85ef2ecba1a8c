/**
 * Connections on which a request never becomes complete: no HTTP, header fields too long, a body too slow, a tunnel
 * that is asked for.
 *
 * Node reports these below the routes. Here they are answered in the format of the plane, and counted and
 * logged for the request they interrupt, if its header had arrived.
 *
 * What is wrong may also be a later request of the connection than the one that is at work. Then that one gets its own
 * answer, and the connection ends.
 */
import { randomUUID } from 'node:crypto'
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { failureHeaders, toFacetError } from '../exchange/failures.js'

interface Exchange {
  request: FastifyRequest
  reply: FastifyReply
}

/** The client ended its side in the middle of a request. */
const CUT_OFF = 'HPE_INVALID_EOF_STATE'

export class BrokenRequests {
  /** The last request of each connection that is not answered yet. */
  readonly #current = new WeakMap<Socket, Exchange>()
  /** Connections that end when the request at work on them is answered. */
  readonly #ending = new WeakSet<Socket>()
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
    app.addHook('onRequest', (request, reply, done) => {
      const { socket } = request.raw
      this.#current.set(socket, { request, reply })
      reply.raw.once('close', () => {
        if (this.#current.get(socket)?.request === request) this.#current.delete(socket)
      })
      done()
    })
  }

  /** The answer that a connection waits for. */
  replyOf(socket: Socket): FastifyReply | undefined {
    return this.#current.get(socket)?.reply
  }

  /** Node's `connect`: a request for a tunnel. Without a listener Node closes the connection. */
  readonly refuseTunnel = (_request: IncomingMessage, socket: Socket): void => {
    this.#send(socket, new FacetError('method_not_allowed', 'This service is no proxy.'))
  }

  /** Node's `clientError`. */
  readonly answer = (error: Error, socket: Socket): void => {
    // Node may tell of what is wrong more than once.
    if (this.#ending.has(socket)) return
    const current = this.#current.get(socket)
    const { code } = error as NodeJS.ErrnoException
    const failure = toFacetError(Object.assign(error, { statusCode: 400 }))
    // After a reset there is nobody to answer.
    if (code === 'ECONNRESET' || !socket.writable) socket.destroy()
    else if (current?.request.raw.complete) {
      if (code !== CUT_OFF) this.#count(failure.status)
      this.#endAfter(current.reply, socket)
    } else if (code === CUT_OFF || current?.reply.raw.headersSent) socket.destroy()
    else this.#send(socket, failure, current?.request)
  }

  /** Ends the connection when this answer is sent. */
  #endAfter(reply: FastifyReply, socket: Socket): void {
    this.#ending.add(socket)
    if (!reply.raw.headersSent) void reply.header('connection', 'close')
    reply.raw.once('finish', () => socket.destroySoon())
  }

  /** Answers without Fastify, and closes the connection. */
  #send(socket: Socket, failure: FacetError, request?: FastifyRequest): void {
    if (request) request.failure = failure
    this.#count(failure.status, request)
    const { plane } = request?.server ?? this.#app
    const id = request?.id ?? randomUUID()
    const { type, body } = plane.failureBody(failure, id)
    const fields = {
      ...plane.headers,
      ...request?.routeOptions.config.headers,
      ...failureHeaders(failure),
      'content-type': type,
      'x-request-id': id,
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
