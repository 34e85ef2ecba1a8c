/**
 * Bounds the connections of all, and of one peer, so that nobody can take them all. Trusted proxies may have any number:
 * their connections are those of their clients.
 *
 * A connection beyond the bound of its peer gets an answer to its first request and is closed, or is closed in a moment
 * if it sends none. Where all places are taken, a silent connection is closed for a new one (open-connections.ts), or
 * the new one where it is beyond the bound of its peer or none is silent.
 */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../../concurrency/clock.js'
import { FacetError } from '../../errors.js'
import { peerOf, trustedProxies } from '../access/peer.js'
import { holdsBodyBack } from '../exchange/expect.js'
import { discard } from '../exchange/rest-of-body.js'
import type { ConnectionBound } from '../exchange/deps.js'
import { OpenConnections } from './open-connections.js'

/** Time that a surplus connection has for a request, ms. */
const SURPLUS_MS = 2000
/** Surplus connections at once; any more are closed without an answer. */
const MAX_SURPLUS = 32
/** Seconds after which a refused client may come back. */
const RETRY_SECONDS = 1

export interface ConnectionsOptions {
  /** Connections of all peers. */
  most: number
  /** Connections of one peer. */
  mostOfPeer: number
  /** Addresses or networks whose connections are bounded only with those of all. */
  trusted: readonly string[]
  clock: Clock
  /** A connection beyond a bound was opened. */
  refused(bound: ConnectionBound): void
}

/** Counts the connections, closes those beyond the bound of all, and refuses the requests on those beyond a peer's. */
export function boundConnections(
  app: FastifyInstance,
  { most, mostOfPeer, trusted, clock, refused }: ConnectionsOptions,
): void {
  const counts = new Map<string, number>()
  const surplus = new Set<Socket>()
  const isProxy = trustedProxies(trusted)

  const refuse = (socket: Socket) => {
    refused('max_connections_per_peer')
    if (surplus.size >= MAX_SURPLUS) {
      socket.destroy()
      return
    }
    surplus.add(socket)
    const cancel = clock.after(SURPLUS_MS, () => socket.destroy())
    socket.once('close', () => {
      cancel()
      surplus.delete(socket)
    })
  }

  const server = app.server as Server
  const open = new OpenConnections(server, most)
  server.on('connection', (socket) => {
    // None where the client has gone already.
    const { remoteAddress = '' } = socket
    const [peer, proxy] = [peerOf(remoteAddress), isProxy(remoteAddress)]
    const count = counts.get(peer) ?? 0
    const beyondPeer = !proxy && count >= mostOfPeer
    if (open.full) {
      refused('max_connections')
      if (beyondPeer || !open.makeRoom()) {
        socket.destroy()
        return
      }
    }
    open.add(socket, peer, proxy)
    if (beyondPeer) {
      refuse(socket)
      return
    }
    counts.set(peer, count + 1)
    socket.once('close', () => {
      const left = counts.get(peer)! - 1
      if (left === 0) counts.delete(peer)
      else counts.set(peer, left)
    })
  })

  app.addHook('preClose', async () => open.endUnused())
  app.addHook('onRequest', ({ raw }, reply, done) => {
    if (surplus.size === 0 || !surplus.has(raw.socket)) return done()
    const refuseRequest = () => {
      void reply.header('connection', 'close')
      const message = `Your address has ${mostOfPeer} connections open (--max-connections-per-peer); close some, or use them again.`
      done(new FacetError('too_many_connections', message, { retryAfter: RETRY_SECONDS }))
    }
    if (raw.complete || holdsBodyBack(raw)) return refuseRequest()
    // Closing while bytes of the request are on their way would reset the connection, and the answer with it.
    discard(raw)
    once(raw, 'close').then(refuseRequest, done)
  })
}
