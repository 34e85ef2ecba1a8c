/**
 * A kept connection that reads no more of an answer than it must.
 *
 * Between two requests of a slow model the caches are gone; `node:http` then takes half a millisecond a
 * request, `undici` as much, and a latency would be theirs as well as the server's
 * (docs/experiments/2026-11-26-idle-cores-while-packs-come.md). Answers must say their length.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Reply, Wire } from '../client.js'

export type Answer = Pick<Reply, 'status' | 'text'>

const END_OF_HEAD = '\r\n\r\n'

/** One request at a time. */
export class Connection {
  readonly #socket: Socket
  readonly #host: string
  #received = ''
  /** Length of the whole answer in characters (of latin1, so bytes too), once its head is there. */
  #whole = Number.POSITIVE_INFINITY
  #settle: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null

  private constructor(socket: Socket, host: string) {
    this.#socket = socket
    this.#host = host
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => this.#receive(text))
    socket.on('error', (error) => this.#settle?.reject(error))
    socket.on('close', () => this.#settle?.reject(new Error('the server closed the connection')))
  }

  /**
   * @param url of the server; its path is not looked at
   * @param timeoutMs breaks the connection where nothing moves on it for so long; without one it waits
   */
  static async open(url: string, timeoutMs = 0): Promise<Connection> {
    const { host, hostname, port } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)))
    await once(socket, 'connect')
    return new Connection(socket, host)
  }

  /** @throws Error where the connection breaks, or the answer is of unknown length */
  send({ method, path, type, body }: Required<Wire>): Promise<Answer> {
    const head = [
      `${method} ${path} HTTP/1.1`,
      `Host: ${this.#host}`,
      `Content-Type: ${type}`,
      `Content-Length: ${body.length}`,
    ]
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) return reject(new Error('the server had closed the connection'))
      this.#settle = { resolve, reject }
      this.#socket.cork()
      this.#socket.write(head.join('\r\n') + END_OF_HEAD, 'latin1')
      this.#socket.write(body)
      this.#socket.uncork()
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(text: string): void {
    this.#received += text
    const head = this.#received.indexOf(END_OF_HEAD)
    if (head < 0) return
    if (this.#whole === Number.POSITIVE_INFINITY) {
      const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(this.#received.slice(0, head + 2))?.[1]
      if (length === undefined) {
        this.#socket.destroy(new Error('an answer without Content-Length'))
        return
      }
      this.#whole = head + END_OF_HEAD.length + Number(length)
    }
    if (this.#received.length < this.#whole) return
    const answer = {
      status: Number(this.#received.slice(9, 12)),
      text: this.#received.slice(head + END_OF_HEAD.length),
    }
    this.#received = ''
    this.#whole = Number.POSITIVE_INFINITY
    this.#settle?.resolve(answer)
  }
}
