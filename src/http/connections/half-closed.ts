/**
 * Clients that end their side of the connection behind a request, and wait for the answer. By default Node ends the
 * other side too, and they get none.
 *
 * A client that has gone looks the same until something is sent to it. So an interim answer is sent while the request is
 * at work (100 Continue, which every client passes over, RFC 9110, section 15.2): a machine whose client has gone
 * replies with a reset, and the request is given up.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Clock } from '../../concurrency/clock.js'

/** Time from the first interim answer to the second, ms; it doubles with each. The second one meets the reset. */
const FIRST_INTERVAL_MS = 50
const MAX_INTERVAL_MS = 1000

/** @param replyOf the answer that a connection waits for */
export function answerHalfClosed(
  app: FastifyInstance,
  clock: Clock,
  replyOf: (socket: Socket) => FastifyReply | undefined,
): void {
  const server = app.server as Server & { httpAllowHalfOpen: boolean }
  server.httpAllowHalfOpen = true
  const probe = (socket: Socket, interval: number) => {
    const reply = replyOf(socket)
    if (reply === undefined || reply.raw.headersSent || socket.destroyed) return
    // A client of HTTP/1.0 knows no interim answers.
    if (reply.request.raw.httpVersion === '1.0') return
    reply.raw.writeContinue()
    clock.after(interval, () => probe(socket, Math.min(2 * interval, MAX_INTERVAL_MS)))
  }
  server.on('connection', (socket) => {
    socket.once('end', () => probe(socket, FIRST_INTERVAL_MS))
  })
}
