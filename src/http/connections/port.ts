/**
 * The address to listen on: whether it is available, checked before anything heavy is loaded, and why it is
 * not.
 */
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { FastifyInstance } from 'fastify'

/**
 * Listens on one address. @param port 0 asks for any free one. @throws Error of `addressError`
 */
export async function listen(app: FastifyInstance, host: string, port: number): Promise<void> {
  try {
    await app.listen({ host: await addressOf(host), port })
  } catch (error) {
    throw addressError(error, host, port)
  }
}

/**
 * Listens for a moment and closes again. Another process may take the address in between; listening for good
 * then fails with the same message (`addressError`).
 *
 * @param port 0 asks for any free one
 * @throws Error of `addressError`
 */
export async function checkAddress(host: string, port: number): Promise<void> {
  const server = createServer()
  try {
    await once(server.listen(port, await addressOf(host)), 'listening')
  } catch (error) {
    throw addressError(error, host, port)
  } finally {
    if (server.listening) await new Promise((closed) => server.close(closed))
  }
}

/**
 * Fastify listens on every address of `localhost`, on each with a server of its own. What is set on the first server
 * (bounds on connections, the order of pipelined requests, an orderly stop) would not hold on the others.
 */
async function addressOf(host: string): Promise<string> {
  return host === 'localhost' ? (await lookup(host, { order: 'ipv4first' })).address : host
}

/** A failure to listen, with its meaning and its remedy; any other error is returned as it is. */
export function addressError(error: unknown, host: string, port: number): unknown {
  const explained = (message: string) => new Error(message, { cause: error })
  switch ((error as NodeJS.ErrnoException | null)?.code) {
    case 'EADDRINUSE':
      return explained(
        `Port ${port} of ${host} is in use by another process. End it, or choose another port with --port (0 takes a free one).`,
      )
    case 'EACCES':
      return explained(
        `This user may not listen on port ${port}: ports below 1024 are for privileged users. Choose another with --port.`,
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return explained(
        `This machine has no address ${host}. Choose one it has with --host, such as 127.0.0.1.`,
      )
    default:
      return error
  }
}
