/**
 * Connections on which nothing was ever sent: browsers open them ahead of time, load balancers to check the
 * port. Node does not count them as idle, so an orderly stop would wait for them.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** Closes them when the application begins to stop. */
export function endSilentConnections(app: FastifyInstance): void {
  const open = new Set<Socket>()
  const server = app.server as Server
  server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  app.addHook('preClose', async () => {
    for (const socket of open) if (socket.bytesRead === 0) socket.destroy()
  })
}
