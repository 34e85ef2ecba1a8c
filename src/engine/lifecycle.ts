/**
 * An engine's life: its lanes are started, started again when one is lost, and ended. It knows neither rows nor runs.
 *
 * When one lane is lost the others answer what they were sent and end, and new ones are started when all have
 * ended. A new launch is a new generation: the rows of the last one are void.
 */
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import { draining, engineRestarting } from '../errors.js'
import type { LaneGroup, LaneMaker } from './lane-group.js'
import { Restarts } from './restarts.js'

export type EngineState = 'starting' | 'ready' | 'restarting' | 'stopping' | 'stopped'

/**
 * - `ready`: the first lane of a launch has run the base; further ones follow
 * - `failed`: the first lane of a launch cannot start
 * - `lost`: a lane's thread has exited
 * - `stop`: the engine is to end
 * - `gone`: the last thread has exited
 */
type LifeEvent = 'ready' | 'failed' | 'lost' | 'stop' | 'gone'

/** The next state. An event that a state does not list changes nothing there. */
const NEXT: Record<EngineState, Partial<Record<LifeEvent, EngineState>>> = {
  // A first start that fails ends the engine; later ones are tried again.
  starting: { ready: 'ready', failed: 'stopping', stop: 'stopping' },
  ready: { lost: 'restarting', stop: 'stopping' },
  restarting: { ready: 'ready', failed: 'restarting', stop: 'stopping' },
  stopping: { gone: 'stopped' },
  stopped: {},
}

export interface LifecycleOptions {
  maker: LaneMaker
  /** Before lanes are started again. @throws where they would not be what they were */
  check: () => Promise<void>
  logger: Logger
  clock: Clock
  /** A lane was lost, and every row with it. */
  onDown: (reason: Error) => void
  /** A lane is ready, and only the base is in the bank. */
  onUp: (generation: number) => void
}

export class Lifecycle {
  readonly #options: LifecycleOptions
  readonly #restarts: Restarts
  #state: EngineState = 'starting'
  #generation = 0
  #provider = ''
  #lanes: LaneGroup | undefined
  /** What `start` and `stop` returned, for further calls. */
  #started: Promise<void> | undefined
  #stopped: Promise<void> | undefined

  constructor(options: LifecycleOptions) {
    this.#options = options
    this.#restarts = new Restarts(options.clock)
  }

  get state(): EngineState {
    return this.#state
  }

  /** How often a launch became ready. */
  get generation(): number {
    return this.#generation
  }

  /** `cpu` or `cuda:0`; empty before the first start. */
  get provider(): string {
    return this.#provider
  }

  /** Those of the last launch, whatever the state. */
  get lanes(): LaneGroup | undefined {
    return this.#lanes
  }

  /** The lanes, in `ready`. @throws FacetError `engine_restarting` (503), `draining` (503) elsewhere */
  live(): LaneGroup {
    if (this.#ending) throw draining()
    if (this.#state !== 'ready') throw engineRestarting()
    return this.#lanes!
  }

  /**
   * Resolves when the first lane is ready. Where it cannot start, the engine is stopped and no thread is left.
   * @throws what the lane says; FacetError `draining` when stopped meanwhile
   */
  start(): Promise<void> {
    this.#started ??= this.#launch().catch(async (error: unknown) => {
      this.#enter('failed')
      await this.stop()
      throw error
    })
    return this.#started
  }

  /** Resolves when the last thread has exited. It never aborts a run, so it waits for one that hangs. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  get #ending(): boolean {
    return this.#state === 'stopping' || this.#state === 'stopped'
  }

  /** @returns false where the event changes nothing */
  #enter(event: LifeEvent): boolean {
    const next = NEXT[this.#state][event]
    if (next !== undefined) this.#state = next
    return next !== undefined
  }

  async #stop(): Promise<void> {
    this.#enter('stop')
    this.#restarts.cancel()
    this.#lanes?.finish()
    await this.#lanes?.gone
    this.#enter('gone')
  }

  /** Starts new lanes. Threads that fail to start end by themselves. */
  async #launch(): Promise<void> {
    const { maker, logger, clock, onUp } = this.#options
    if (this.#ending) throw draining()
    const began = clock.now()
    const lanes = maker.launch()
    this.#lanes = lanes
    void lanes.lost.then((reason) => this.#lost(reason))
    const { provider } = await lanes.start().catch((error: unknown) => {
      throw this.#ending ? draining() : error
    })
    if (!this.#enter('ready')) throw draining()
    this.#provider = provider
    this.#generation += 1
    // A lane that cannot follow is lost, which is handled there.
    lanes.allReady().then(
      () => {
        // Lanes that were lost meanwhile may still have become ready.
        if (this.#lanes === lanes && this.#state === 'ready') this.#restarts.whole()
      },
      () => {},
    )
    logger.info({ provider, generation: this.#generation, ms: clock.now() - began }, 'engine ready')
    onUp(this.#generation)
  }

  /** Before the launch is ready it rejects, and that is all. */
  #lost(reason: Error): void {
    if (!this.#enter('lost')) return
    this.#restarts.lost()
    this.#options.logger.error({ err: reason, generation: this.#generation }, 'engine down')
    this.#options.onDown(reason)
    this.#restarts.schedule(() => void this.#restart())
  }

  async #restart(): Promise<void> {
    try {
      // Other lanes of the last generation may still be answering.
      await this.#lanes?.gone
      await this.#options.check()
      await this.#launch()
    } catch (error) {
      if (!this.#enter('failed')) return
      this.#options.logger.error({ err: error, attempt: this.#restarts.tries }, 'engine restart failed')
      this.#restarts.schedule(() => void this.#restart())
    }
  }
}
