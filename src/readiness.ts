/**
 * Is the service ready? Answered by a real forward pass, unless a batch has just succeeded.
 */
import type { Logger } from 'pino'
import type { Clock } from './clock.js'
import type { ReadyAnswer } from './http/deps.js'

/** A batch that succeeded this recently, ms, proves the engine as well as a probe does. */
const PROOF_MS = 2_000

export interface ReadinessOptions {
  engine: { readonly state: string; probe(): Promise<void> }
  clock: Clock
  logger: Logger
}

export class Readiness {
  readonly #options: ReadinessOptions
  #draining = false
  #provedAt = Number.NEGATIVE_INFINITY
  #probe: Promise<void> | undefined

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  get draining(): boolean {
    return this.#draining
  }

  /** The service is about to end: never ready again. */
  drain(): void {
    this.#draining = true
  }

  /** A batch was answered. */
  proved(): void {
    this.#provedAt = this.#options.clock.now()
  }

  /** Many callers share one probe. */
  async check(): Promise<ReadyAnswer> {
    const { engine, clock, logger } = this.#options
    if (this.#draining) return { ready: false, code: 'draining', reason: 'The service is shutting down.' }
    if (engine.state !== 'ready') return { ready: false, reason: `The engine is ${engine.state}.` }
    if (clock.now() - this.#provedAt < PROOF_MS) return { ready: true }
    this.#probe ??= engine.probe().finally(() => {
      this.#probe = undefined
    })
    try {
      await this.#probe
    } catch (error) {
      logger.error({ err: error }, 'forward pass failed')
      return { ready: false, reason: 'A forward pass on the base failed.' }
    }
    this.proved()
    return { ready: true }
  }
}
