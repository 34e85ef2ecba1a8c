/**
 * Is the service ready? The answer is a real forward pass in every lane of each family's engine: a lane that hangs shows
 * in nothing that the other lanes answer. Many callers share one forward pass, and its result holds for a while, so that
 * asking often costs little.
 */
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import type { ReadyAnswer } from '../http/exchange/deps.js'

/** Milliseconds for which a forward pass proves that the lanes answer. */
const PROOF_LASTS_MS = 2_000

interface FamilyEngine {
  /** Name of the family. */
  readonly family: string
  readonly engine: { readonly state: string; probe(): Promise<void> }
}

export interface ReadinessOptions {
  /** Why the service is never ready, whatever the lanes answer; one sentence. */
  obstacle?: () => string | undefined
  /** That of each family. `probe` resolves when every lane has answered. */
  engines: readonly FamilyEngine[]
  clock: Clock
  logger: Logger
  /** A lane that does not answer within this time, ms, is not ready. */
  timeoutMs: number
}

export class Readiness {
  readonly #options: ReadinessOptions
  #draining = false
  #provedAt = Number.NEGATIVE_INFINITY
  /** The forward passes under way, for as long as a lane hangs; `told`: its hanging was logged. */
  #probe: { since: number; answer: Promise<ReadyAnswer>; told: boolean } | undefined

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  get draining(): boolean {
    return this.#draining
  }

  /** From now on the answer is no: the service is about to end. */
  drain(): void {
    this.#draining = true
  }

  /** Resolves within the time-out, whatever the lanes do. */
  async check(): Promise<ReadyAnswer> {
    const { engines, clock, logger, timeoutMs } = this.#options
    if (this.#draining) return drainingAnswer
    const reason = this.#options.obstacle?.()
    if (reason !== undefined) return { ready: false, code: 'store_problems', reason }
    const missing = engines.find(({ engine }) => engine.state !== 'ready')
    if (missing) return { ready: false, reason: `The engine${this.#of(missing)} is ${missing.engine.state}.` }
    const now = clock.now()
    if (now - this.#provedAt < PROOF_LASTS_MS) return { ready: true }
    this.#probe ??= { since: now, answer: this.#prove(), told: false }
    const probe = this.#probe
    return new Promise((resolve) => {
      const cancel = clock.after(Math.max(0, probe.since + timeoutMs - now), () => {
        if (!probe.told)
          logger.error({ ms: clock.now() - probe.since }, 'a lane of the engine does not answer')
        probe.told = true
        resolve({ ready: false, reason: 'A lane of the engine does not answer.' })
      })
      void probe.answer.then((proved) => {
        cancel()
        resolve(this.#draining ? drainingAnswer : proved)
      })
    })
  }

  async #prove(): Promise<ReadyAnswer> {
    const { engines, clock } = this.#options
    const answers = await Promise.all(engines.map((each) => this.#proveOne(each)))
    this.#probe = undefined
    const failed = answers.find(({ ready }) => !ready)
    if (failed) return failed
    this.#provedAt = clock.now()
    return { ready: true }
  }

  async #proveOne(each: FamilyEngine): Promise<ReadyAnswer> {
    try {
      await each.engine.probe()
      return { ready: true }
    } catch (error) {
      this.#options.logger.error({ err: error, family: each.family }, 'forward pass failed')
      return { ready: false, reason: `A forward pass on the base${this.#of(each)} failed.` }
    }
  }

  /** Whose engine it is, where there are several. */
  #of({ family }: FamilyEngine): string {
    return this.#options.engines.length > 1 ? ` of family '${family}'` : ''
  }
}

const drainingAnswer: ReadyAnswer = {
  ready: false,
  code: 'draining',
  reason: 'The service is shutting down.',
}
