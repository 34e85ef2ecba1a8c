/**
 * Bounds the pack uploads at once: each holds a whole body in memory.
 *
 * A slot is taken before the body arrives, and given back when the upload was handled, or when its request
 * ended without having been.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../errors.js'

export class Uploads {
  readonly #most: number
  /** Requests that hold a slot; true once the handler has it. */
  readonly #held = new Map<FastifyRequest, boolean>()

  constructor(most: number) {
    this.#most = most
  }

  /** An `onRequest` hook. @throws FacetError `too_many_uploads` */
  readonly admit = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (this.#held.size >= this.#most)
      throw new FacetError(
        'too_many_uploads',
        `${this.#most} uploads are under way (--max-uploads); try again soon.`,
        {
          retryAfter: 1,
        },
      )
    this.#held.set(request, false)
    reply.raw.once('close', () => {
      if (this.#held.get(request) === false) this.#held.delete(request)
    })
  }

  /** Runs an upload's handler; the slot is free when it is done, even where the client has left. */
  async hold<T>(request: FastifyRequest, handle: () => Promise<T>): Promise<T> {
    this.#held.set(request, true)
    try {
      return await handle()
    } finally {
      this.#held.delete(request)
    }
  }
}
