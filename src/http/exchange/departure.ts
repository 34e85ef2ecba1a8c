import type { FastifyReply } from 'fastify'

/** A signal that fires when the client leaves before its answer. */
export function departure(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  const { raw } = reply
  if (raw.destroyed || raw.closed) controller.abort()
  else
    raw.once('close', () => {
      if (!raw.writableFinished) controller.abort()
    })
  return controller.signal
}
