/**
 * All open connections, not more than so many, and which of them are silent: no request is at work on them, and
 * nothing, or only part of a head, has come of the next one.
 *
 * Whoever opens many connections and says nothing would take all places, and everybody else would be turned away until
 * these time out. So where all places are taken, a silent connection makes room for a new one: the longest silent one of
 * the peer that has most of them. Those who open many push out their own first. Trusted proxies come last: their
 * connections are those of many clients.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

interface Connection {
  peer: string
  proxy: boolean
  /** Requests whose answers are not finished. */
  requests: number
}

/** The silent connections of a peer, the longest silent one first. */
interface Silent {
  proxy: boolean
  /** With the number of the time since when; the lowest is the longest ago. */
  since: Map<Socket, number>
}

export class OpenConnections {
  readonly #most: number
  readonly #open = new Map<Socket, Connection>()
  readonly #silent = new Map<string, Silent>()
  #now = 0

  /** To be made when the server has its request listener, before it listens. */
  constructor(server: Server, most: number) {
    this.#most = most
    server.on('request', ({ socket }, response) => {
      const connection = this.#open.get(socket)
      if (connection === undefined) return
      connection.requests++
      this.#unlist(socket, connection)
      response.once('close', () => {
        connection.requests--
        if (connection.requests === 0 && this.#open.has(socket)) this.#list(socket, connection)
      })
    })
  }

  get full(): boolean {
    return this.#open.size >= this.#most
  }

  add(socket: Socket, peer: string, proxy: boolean): void {
    const connection = { peer, proxy, requests: 0 }
    this.#open.set(socket, connection)
    this.#list(socket, connection)
    socket.once('close', () => this.#remove(socket))
  }

  /** Closes a silent connection. False where none is silent. */
  makeRoom(): boolean {
    let chosen: Silent | undefined
    for (const silent of this.#silent.values())
      if (chosen === undefined || goesBefore(silent, chosen)) chosen = silent
    if (chosen === undefined) return false
    const [socket] = longest(chosen)
    this.#remove(socket)
    socket.destroy()
    return true
  }

  /**
   * Closes those on which nothing was ever sent: browsers open them ahead of time, load balancers to check the port. Node
   * does not count them as idle, so an orderly stop would wait for them.
   */
  endUnused(): void {
    for (const socket of this.#open.keys()) if (socket.bytesRead === 0) socket.destroy()
  }

  #remove(socket: Socket): void {
    const connection = this.#open.get(socket)
    if (connection === undefined) return
    this.#open.delete(socket)
    this.#unlist(socket, connection)
  }

  #list(socket: Socket, { peer, proxy }: Connection): void {
    const silent = this.#silent.get(peer) ?? { proxy, since: new Map() }
    this.#silent.set(peer, silent)
    silent.since.set(socket, this.#now++)
  }

  #unlist(socket: Socket, { peer }: Connection): void {
    const since = this.#silent.get(peer)?.since
    since?.delete(socket)
    if (since?.size === 0) this.#silent.delete(peer)
  }
}

function goesBefore(a: Silent, b: Silent): boolean {
  if (a.proxy !== b.proxy) return b.proxy
  if (a.since.size !== b.since.size) return a.since.size > b.since.size
  return longest(a)[1] < longest(b)[1]
}

function longest({ since }: Silent): [socket: Socket, since: number] {
  return since.entries().next().value!
}
