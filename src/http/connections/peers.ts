/**
 * Bounds the connections of one peer, so that nobody can take them all. Trusted proxies may have any number: their
 * connections are those of their clients.
 *
 * A connection beyond the bound gets an answer to its first request and is closed, or is closed in a moment if it
 * sends none.
 */
import { once } from 'node:events'
import type { Server } from 'node:http'
import { BlockList, isIPv6, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../../concurrency/clock.js'
import { FacetError } from '../../errors.js'
import { peerOf } from '../access/peer.js'
import { holdsBodyBack } from '../exchange/expect.js'
import { discard } from '../exchange/failures.js'

/** Time that a surplus connection has for a request, ms. */
const SURPLUS_MS = 2000
/** Surplus connections at once; any more are closed without an answer. */
const MAX_SURPLUS = 32
/** Seconds after which a refused client may come back. */
const RETRY_SECONDS = 1

export interface PeerOptions {
  /** Connections of one peer. */
  most: number
  /** Addresses or networks that are not bounded. */
  trusted: readonly string[]
  clock: Clock
  /** A connection beyond the bound was opened. */
  refused(): void
}

/** Counts the connections of each peer, and refuses the requests on those beyond the bound. */
export function boundPeers(app: FastifyInstance, { most, trusted, clock, refused }: PeerOptions): void {
  const counts = new Map<string, number>()
  const surplus = new Set<Socket>()
  const proxies = listOf(trusted)

  const refuse = (socket: Socket) => {
    refused()
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
  server.on('connection', (socket) => {
    const { remoteAddress } = socket
    if (remoteAddress === undefined) return
    const peer = peerOf(remoteAddress)
    if (proxies.check(peer, isIPv6(peer) ? 'ipv6' : 'ipv4')) return
    const count = counts.get(peer) ?? 0
    if (count >= most) {
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

  app.addHook('onRequest', async ({ raw }, reply) => {
    if (surplus.size === 0 || !surplus.has(raw.socket)) return
    // Closing while bytes of the request are on their way would reset the connection, and the answer with it.
    if (!raw.complete && !holdsBodyBack(raw)) {
      discard(raw)
      await once(raw, 'close')
    }
    void reply.header('connection', 'close')
    throw new FacetError(
      'too_many_connections',
      `Your address has ${most} connections open (--max-connections-per-peer); close some, or use them again.`,
      { retryAfter: RETRY_SECONDS },
    )
  })
}

function listOf(addresses: readonly string[]): BlockList {
  const list = new BlockList()
  for (const each of addresses) {
    const [address, bits] = each.split('/') as [string, string?]
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return list
}
