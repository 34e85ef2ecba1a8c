/**
 * Bounds what requests hold at once: the number of uploads, or the bytes of bodies.
 *
 * A request takes its share before its body arrives. It returns the share when its handler has ended, even if
 * the client left earlier, or when the connection ends before the handler began.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'

export interface BudgetOptions {
  /** Sum of the shares at most. */
  most: number
  /** The share of a request; 1 by default. */
  weigh?(request: FastifyRequest): number
  /** The error for a request whose share does not fit. */
  refuse(): FacetError
}

export class Budget {
  readonly #options: BudgetOptions
  readonly #held = new Map<FastifyRequest, { weight: number; handled: boolean }>()
  #used = 0

  constructor(options: BudgetOptions) {
    this.#options = options
  }

  /**
   * An `onRequest` hook: takes the request's share.
   *
   * @throws FacetError of `refuse`
   */
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

  /** Runs a request's handler and returns the share when it has ended. */
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

/** Seconds after which a refused client may come back. */
const RETRY_SECONDS = 1

/** Limits the pack uploads at once; each holds a whole body in memory. */
export function uploadBudget(most: number): Budget {
  const message = `${most} uploads are under way (--max-uploads); try again soon.`
  return new Budget({
    most,
    refuse: () => new FacetError('too_many_uploads', message, { retryAfter: RETRY_SECONDS }),
  })
}

/**
 * Limits the bytes of bodies at once.
 *
 * @param longest bytes of the longest body a route takes; a body of unknown length counts as that
 */
export function bodyBudget(most: number, longest: number): Budget {
  const message = `The requests under way hold too many bytes (${most}, --max-bodies); try again soon.`
  return new Budget({
    most,
    weigh: ({ headers }) => Math.min(longest, Number(headers['content-length'] ?? longest)),
    refuse: () => new FacetError('too_many_bodies', message, { retryAfter: RETRY_SECONDS }),
  })
}
