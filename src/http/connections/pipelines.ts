/**
 * Requests that a client sends without waiting for the answers to those before (pipelining, RFC 9112, section
 * 9.3.2).
 *
 * Node hands over all requests that one read from the socket brings, some two thousand, in one turn of the
 * event loop. Here those of a connection are handled one after the other, each in a turn of its own, and a
 * connection with too many is closed before Node has made objects of the rest.
 */
import type { RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { endParse } from '../exchange/node-parser.js'

/** Requests of a connection that wait for their turn. A connection with more is closed. */
const MAX_WAITING = 100

/** To be called when the server has its request listener, before it listens. */
export function orderPipelines(server: Server): void {
  const [handle] = server.listeners('request') as RequestListener[]
  const waiting = new WeakMap<Socket, number>()
  server.removeAllListeners('request')
  server.on('request', (request, response: ServerResponse) => {
    // The response has its socket unless another one before it is not finished.
    if (response.socket !== null) {
      handle!(request, response)
      return
    }
    const { socket } = request
    const before = waiting.get(socket) ?? 0
    waiting.set(socket, before + 1)
    if (before >= MAX_WAITING) {
      endParse(socket)
      socket.destroy()
      return
    }
    response.once('socket', () => {
      waiting.set(socket, waiting.get(socket)! - 1)
      setImmediate(() => {
        // The connection may end with the answer before (broken.ts).
        if (socket.writable) handle!(request, response)
      })
    })
  })
}
