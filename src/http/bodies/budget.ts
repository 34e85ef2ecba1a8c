/**
 * Bounds the bytes of the bodies that requests hold at once, and the number of requests at work on theirs.
 *
 * A body counts with the bytes that have come, and not with those its header announces: a sender that sends nothing
 * takes nothing from anybody. A request gives its bytes back when its handler has ended, even if the client left
 * earlier, or when the connection ends before the handler began.
 *
 * A peer's address and a token are *parties*. A party may hold no more than is left for all others. However many
 * parties flood, room is kept for one that does not (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on
 * Networking 6(2), 1998).
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../errors.js'
import { principalOf } from '../access/auth.js'
import { peerOf } from '../access/peer.js'
import type { HttpConfig } from '../exchange/deps.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** What its body holds, where its route has a budget. */
    share: Share | null
  }
}

export interface BudgetOptions {
  /** Bytes of all bodies at most. */
  maxBytes: number
  /** Bytes of the longest body. Where three of them do not fit, a party may hold one whatever is left. */
  longest: number
  /** Requests whose handlers run at once; unbounded by default. */
  maxAtWork?: number
  /** The error for a request that does not fit. @param why one clause */
  refuse(why: string): FacetError
}

/** What one body holds of a budget. */
export class Share {
  readonly #budget: BodyBudget
  readonly parties: ReadonlySet<string>
  bytes = 0
  handled = false

  constructor(budget: BodyBudget, parties: ReadonlySet<string>) {
    this.#budget = budget
    this.parties = parties
  }

  /** Counts bytes that have come. @throws FacetError if there is no room for them */
  take(bytes: number): void {
    this.#budget.take(this, bytes)
  }

  /** Gives all its bytes back. */
  giveBack(): void {
    this.#budget.giveBack(this)
  }
}

export class BodyBudget {
  readonly #options: BudgetOptions
  /** Bytes of a party that are within its bound whatever is left. */
  readonly #guaranteed: number
  readonly #held = new Map<string, number>()
  #bytes = 0
  #atWork = 0

  constructor(options: BudgetOptions) {
    this.#options = options
    const { maxBytes, longest } = options
    this.#guaranteed = maxBytes < 3 * longest ? longest : 0
  }

  /**
   * An `onRequest` hook: opens the request's share. A body that would not fit now is refused before it comes.
   *
   * @throws FacetError of `refuse`
   */
  readonly admit = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    this.#checkWork()
    const share = new Share(this, new Set([`peer ${peerOf(request.ip)}`, principalOf(request)]))
    const announced = Number(request.headers['content-length'] ?? 0)
    this.#check(share, Math.min(announced, this.#options.longest))
    request.share = share
    reply.raw.once('close', () => {
      if (!share.handled) share.giveBack()
    })
    done()
  }

  /** Runs a request's handler and gives its bytes back when it has ended. */
  async hold<T>({ share }: FastifyRequest, handle: () => Promise<T>): Promise<T> {
    if (share === null) return await handle()
    share.handled = true
    try {
      this.#checkWork()
      this.#atWork++
      return await handle().finally(() => this.#atWork--)
    } finally {
      share.giveBack()
    }
  }

  /** For `Share`. */
  take(share: Share, bytes: number): void {
    this.#check(share, bytes)
    this.#add(share, bytes)
  }

  /** For `Share`. */
  giveBack(share: Share): void {
    this.#add(share, -share.bytes)
  }

  #check({ parties }: Share, bytes: number): void {
    const { maxBytes, refuse } = this.#options
    const left = maxBytes - this.#bytes
    if (bytes > left) throw refuse(`the requests under way hold ${this.#bytes} bytes`)
    const most = Math.max(this.#guaranteed, left)
    for (const party of parties) {
      const held = this.#held.get(party) ?? 0
      if (held + bytes > most)
        throw refuse(`your requests under way hold ${held} bytes, as many as are left for all others`)
    }
  }

  #checkWork(): void {
    const { maxAtWork = Number.POSITIVE_INFINITY, refuse } = this.#options
    if (this.#atWork >= maxAtWork) throw refuse(`${this.#atWork} are at work`)
  }

  #add(share: Share, bytes: number): void {
    share.bytes += bytes
    this.#bytes += bytes
    for (const party of share.parties) {
      const held = (this.#held.get(party) ?? 0) + bytes
      if (held === 0) this.#held.delete(party)
      else this.#held.set(party, held)
    }
  }
}

/** Seconds after which a refused client may come back. */
const RETRY_SECONDS = 1

/** The bounds that all planes share. */
export interface Budgets {
  /** Of predict requests. */
  bodies: BodyBudget
  /** Of packs. */
  uploads: BodyBudget
}

export function budgetsOf(
  config: Pick<HttpConfig, 'maxBodies' | 'maxBody' | 'maxUploads' | 'maxPack'>,
): Budgets {
  return {
    bodies: bodyBudget(config.maxBodies, config.maxBody),
    uploads: uploadBudget(config.maxUploads, config.maxPack),
  }
}

/** Limits the pack uploads at once: the bytes that they hold, and how many are stored at the same time. */
export function uploadBudget(maxUploads: number, maxPack: number): BodyBudget {
  return new BodyBudget({
    maxBytes: maxUploads * maxPack,
    longest: maxPack,
    maxAtWork: maxUploads,
    refuse: (why) => {
      const message = `Too many uploads at once: ${why} (--max-uploads, --max-pack); try again soon.`
      return new FacetError('too_many_uploads', message, { retryAfter: RETRY_SECONDS })
    },
  })
}

/** Limits the bytes of bodies at once. */
export function bodyBudget(maxBodies: number, maxBody: number): BodyBudget {
  return new BodyBudget({
    maxBytes: maxBodies,
    longest: maxBody,
    refuse: (why) => {
      const message = `Too many bytes of bodies at once: ${why} (--max-bodies); try again soon.`
      return new FacetError('too_many_bodies', message, { retryAfter: RETRY_SECONDS })
    },
  })
}
