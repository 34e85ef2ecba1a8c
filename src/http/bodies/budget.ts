/**
 * Bounds what requests hold at once: uploads, or the bytes of bodies.
 *
 * A request takes its share before its body arrives, and gives it back when it was handled, even where the client
 * has left meanwhile, or when it ended without having been.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'

export interface BudgetOptions {
  most: number
  /** What a request takes of it; 1 unless given. */
  weigh?(request: FastifyRequest): number
  /** The error where it does not fit any more. */
  refuse(): FacetError
}

export class Budget {
  readonly #options: BudgetOptions
  readonly #held = new Map<FastifyRequest, { weight: number; handled: boolean }>()
  #used = 0

  constructor(options: BudgetOptions) {
    this.#options = options
  }

  /** An `onRequest` hook. @throws what `refuse` gives */
  readonly admit = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const { most, weigh, refuse } = this.#options
    const weight = weigh?.(request) ?? 1
    if (this.#used + weight > most) throw refuse()
    this.#used += weight
    const held = { weight, handled: false }
    this.#held.set(request, held)
    reply.raw.once('close', () => {
      if (!held.handled) this.#release(request)
    })
  }

  /** Runs a request's handler, and returns its share after it. */
  async hold<T>(request: FastifyRequest, handle: () => Promise<T>): Promise<T> {
    const held = this.#held.get(request)
    if (held) held.handled = true
    try {
      return await handle()
    } finally {
      this.#release(request)
    }
  }

  #release(request: FastifyRequest): void {
    const held = this.#held.get(request)
    if (held === undefined) return
    this.#held.delete(request)
    this.#used -= held.weight
  }
}

/** Pack uploads at once: each holds a whole body. */
export function uploadBudget(most: number): Budget {
  const message = `${most} uploads are under way (--max-uploads); try again soon.`
  return new Budget({
    most,
    refuse: () => new FacetError('too_many_uploads', message, { retryAfter: 1 }),
  })
}

/** Bytes of bodies at once. A body of unknown length counts as the longest its route takes. */
export function bodyBudget(most: number, longest: number): Budget {
  const message = `The requests under way hold too many bytes (${most}, --max-bodies); try again soon.`
  return new Budget({
    most,
    weigh: ({ headers }) => Math.min(longest, Number(headers['content-length'] ?? longest)),
    refuse: () => new FacetError('too_many_bodies', message, { retryAfter: 1 }),
  })
}
