/** Sends one request byte by byte as it is given, and reads its whole answer without keeping it. */
import { connect } from 'node:net'

export interface Outgoing {
  /** Requests to send first, on the same connection. */
  before?: Buffer
  /** Method, target and header fields; `Host`, `Connection: close` and the empty line are added. */
  head: readonly string[]
  body?: readonly Buffer[]
}

/** Milliseconds after which an answer is no longer waited for. */
const PATIENCE_MS = 120_000

/**
 * @returns the status of the first answer on the connection; 0 where it ended without one
 */
export function exchange(url: string, { before, head, body = [] }: Outgoing): Promise<number> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname)
    let start = ''
    const timer = setTimeout(() => socket.destroy(new Error('no end of the answer')), PATIENCE_MS)
    socket.on('data', (chunk: Buffer) => {
      if (start.length < 64) start += chunk.toString('latin1', 0, 64)
    })
    let failure: NodeJS.ErrnoException | undefined
    socket.on('error', (error: NodeJS.ErrnoException) => {
      failure = error
    })
    socket.on('close', () => {
      clearTimeout(timer)
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(start)?.[1] ?? 0)
      // A refused body may be cut off while it is sent.
      if (status === 0 && failure !== undefined && failure.code === undefined) reject(failure)
      else resolve(status)
    })
    if (before !== undefined) socket.write(before)
    socket.write(`${[...head, 'Host: localhost', 'Connection: close'].join('\r\n')}\r\n\r\n`)
    for (const piece of body) socket.write(piece)
  })
}
