/**
 * The Expect field (RFC 9110, section 10.1.1). `100-continue` asks whether the body is wanted. It is answered when
 * the body is about to be read: a request that is refused by its header gets its answer and sends no body.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { FacetError } from '../../errors.js'

/** Requests whose clients wait to be asked for the body. */
const waiting = new WeakMap<IncomingMessage, ServerResponse>()
/** Requests that expect something else. */
const unmet = new WeakSet<IncomingMessage>()

/** Leaves the answer to the routes. Node would ask for each body before any route has seen the request. */
export function answerExpectations(app: FastifyInstance): void {
  const server = app.server as Server
  server.on('checkContinue', (request, response) => {
    waiting.set(request, response)
    server.emit('request', request, response)
  })
  server.on('checkExpectation', (request, response) => {
    unmet.add(request)
    server.emit('request', request, response)
  })
  app.addHook('onRequest', ({ raw }, _reply, done) => {
    if (unmet.has(raw))
      throw new FacetError('expectation_failed', 'Of Expect, only 100-continue is understood.')
    done()
  })
}

/** Whether the client sends its body only when it is asked to. */
export function holdsBodyBack(request: IncomingMessage): boolean {
  return waiting.has(request)
}

/** To be called before a body is read. */
export function askForBody(request: IncomingMessage): void {
  waiting.get(request)?.writeContinue()
  waiting.delete(request)
}
