/** The address to listen on: found out before anything heavy is loaded whether it can be had, and why not. */
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Listens for a moment and lets go again. Somebody may take the address in between; listening for good then
 * fails with the same words (`addressError`).
 *
 * @throws Error of `addressError`
 */
export async function checkAddress(host: string, port: number): Promise<void> {
  const server = createServer()
  try {
    await once(server.listen(port, host), 'listening')
  } catch (error) {
    throw addressError(error, host, port)
  } finally {
    if (server.listening) await new Promise((closed) => server.close(closed))
  }
}

/** What a failure to listen means and what to do about it; any other error as it is. */
export function addressError(error: unknown, host: string, port: number): unknown {
  const told = (message: string) => new Error(message, { cause: error })
  switch ((error as NodeJS.ErrnoException | null)?.code) {
    case 'EADDRINUSE':
      return told(
        `Port ${port} of ${host} is in use by another process. End it, or choose another port with --port (0 takes a free one).`,
      )
    case 'EACCES':
      return told(
        `This user may not listen on port ${port}: ports below 1024 are for privileged users. Choose another with --port.`,
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return told(`This machine has no address ${host}. Choose one it has with --host, such as 127.0.0.1.`)
    default:
      return error
  }
}
