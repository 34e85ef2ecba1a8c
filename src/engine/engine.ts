/**
 * The engine as the service sees it: rows are staged, batches run, and a thread that dies is replaced.
 *
 * Runs on the thread that serves HTTP and computes nothing there; the work is the worker's. Knows rows, not
 * domains: which domain is in which row, and staging them again after a restart, is the registry's business.
 */
import { EventEmitter } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import { draining, engineRestarting, FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { checkRow } from './bank-spec.js'
import { Lanes } from './lanes.js'
import { packRow } from './row.js'
import type {
  BankDtype,
  BankMode,
  EngineBatch,
  EngineInit,
  EngineResult,
  Ready,
  RowTensors,
} from './messages.js'
import { SharedRows } from './shared-rows.js'
import { RequestFailed, ThreadGone } from './thread.js'

/** Milliseconds before dead threads are replaced: the first time, and at most. Each try doubles it. */
const FIRST_RESTART_MS = 100
const LAST_RESTART_MS = 30_000

export interface EngineOptions {
  family: Family
  /** Rows of the bank, the base's (0) included. */
  rows: number
  /** Bytes of all rows and heads at most (`rowBytes` each); unbounded unless given. */
  memory?: number
  bankDtype: BankDtype
  bankMode: BankMode
  device: EngineInit['device']
  /** Runs side by side, each in a thread of its own with its own sessions. */
  lanes: number
  /** Threads of one run. */
  threads: number
  /** The most images of a run that memory is taken for at the start; 1 unless given. More are run all the same. */
  warmBatch?: number
  logger: Logger
  clock: Clock
  /** Makes a lane's thread, where it is not the engine's own: tests wrap it to inject faults. */
  createWorker?: () => Worker
}

/**
 * The most a lane's young generation may take. A lane makes little garbage, and still V8 doubles it every few minutes, up to
 * 48 MB in each lane, which looks like a leak (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
const LANE_YOUNG_MB = 3

function createWorker(): Worker {
  return new Worker(new URL('./worker.js', import.meta.url), {
    name: 'facet-engine',
    resourceLimits: { maxYoungGenerationSizeMb: LANE_YOUNG_MB },
  })
}

export type EngineState = 'starting' | 'ready' | 'restarting' | 'stopping' | 'stopped'

/** `down`: a thread died, and every row with it. `up`: new ones are ready; only the base is staged. */
export interface EngineEvents {
  down: [reason: Error]
  up: [generation: number]
}

export class Engine extends EventEmitter<EngineEvents> {
  readonly #options: EngineOptions
  readonly #init: Omit<EngineInit, 'segments'>
  readonly #sharedRows: SharedRows
  /** Rows in the runs that are not answered yet, and in how many. */
  readonly #running = new Map<number, number>()
  /** Rows that were cleared meanwhile. */
  readonly #cleared = new Set<number>()
  #state: EngineState = 'starting'
  #generation = 0
  #ready: Ready = { provider: '' }
  #lanes: Lanes | undefined
  #started: Promise<void> | undefined
  #stopped: Promise<void> | undefined
  #cancelRestart: (() => void) | undefined
  /** Restarts since the engine last ran for longer than the longest wait. */
  #attempts = 0
  /** When the last lane became ready; Infinity before. */
  #wholeSince = Number.POSITIVE_INFINITY

  constructor(options: EngineOptions) {
    super()
    this.#options = options
    const { bankDtype, family, memory = Infinity } = options
    const init = engineInit(options)
    this.#sharedRows = new SharedRows(init, memory, (segment) => this.#lanes?.share(segment))
    const base = packRow(family.base, family.base, family.manifest, family.layout, bankDtype)
    this.#init = { ...init, base: this.#sharedRows.write(0, base) }
  }

  get state(): EngineState {
    return this.#state
  }

  /** How often the threads became ready: 1 after `start`. Rows staged in an earlier generation are gone. */
  get generation(): number {
    return this.#generation
  }

  /** `cpu` or `cuda:0`; empty before the first start. */
  get provider(): string {
    return this.#ready.provider
  }

  /** Rows of the bank, the base's included. */
  get rows(): number {
    return this.#options.rows
  }

  /** Runs that can go side by side now: fewer than at last while lanes are still following. */
  get readyLanes(): number {
    return this.#lanes?.ready ?? 0
  }

  /** Sessions that hold the trunk's weights. */
  get trunks(): number {
    return this.#options.lanes * (this.#init.singleGraph === null ? 1 : 2)
  }

  /**
   * Loads the trunk and runs the base once in one lane; the others follow while it serves. When that fails nothing is
   * left running and the engine is stopped; only threads that were ready once are replaced.
   * @throws Error naming the cause and the remedy; FacetError `draining` when stopped meanwhile.
   */
  start(): Promise<void> {
    this.#started ??= this.#launch().catch(async (error: unknown) => {
      await this.stop()
      throw error
    })
    return this.#started
  }

  /** Resolves when all lanes have followed the first. @throws Error where one did not, and the engine is down */
  async widened(): Promise<void> {
    await this.#lanes?.widened()
  }

  /**
   * Writes a row that no run uses; runs sent after it see the new one. Takes the buffers of `tensors` over.
   * @throws RangeError for row 0 (the base's), rows the bank has not, a row in a run, and tensors that do not
   * fit the trunk; FacetError `engine_restarting` (503), `draining` (503).
   */
  async stage(row: number, tensors: RowTensors): Promise<void> {
    this.#checkNumber(row)
    checkRow(row, tensors, this.#init)
    const lanes = this.#live()
    if (this.#running.has(row)) throw new RangeError(`bank row ${row} is in a run`)
    try {
      await lanes.stage(row, this.#sharedRows.write(row, tensors))
    } catch (error) {
      throw this.#publicError(error, 'internal', 'The adapter could not be brought into the bank.')
    }
  }

  /**
   * Makes a row unusable, after the runs sent before. A no-op while the engine is down: no rows are left.
   * @throws RangeError for row 0 and rows the bank has not.
   */
  clear(row: number): void {
    this.#checkNumber(row)
    if (this.#state !== 'ready') return
    this.#lanes?.clear(row)
    if (this.#running.has(row)) this.#cleared.add(row)
    else this.#sharedRows.free(row)
  }

  /**
   * One run of the trunk over any mix of rows, and each row's head on its samples. Takes the buffer of
   * `pixels` over.
   * @param generation the one the rows were staged in
   * @throws FacetError `engine_restarting` (503) when the engine is down or of another generation, `draining`
   * (503) once it stops, `inference_failed` (500) when this run throws; RangeError for a misshapen batch.
   */
  async run(batch: EngineBatch, generation: number): Promise<EngineResult> {
    const { height, width } = this.#options.family.manifest.input
    const samples = batch.rows.length
    if (samples === 0 || batch.pixels.length !== samples * height * width * 3)
      throw new RangeError(
        `${batch.pixels.length} pixel values for ${samples} samples of ${height}x${width}x3`,
      )
    const rows = new Set(batch.rows)
    try {
      const lanes = this.#live()
      if (generation !== this.#generation) throw engineRestarting()
      this.#count(rows, 1)
      return await lanes.run(batch).finally(() => this.#count(rows, -1))
    } catch (error) {
      throw this.#publicError(error, 'inference_failed', 'The model run failed.')
    }
  }

  /**
   * A real forward pass on the base in every lane that is ready. Resolves when all have answered, so a lane that hangs
   * holds it up. @throws FacetError as `run`, and when the features are not finite.
   */
  async probe(): Promise<void> {
    const { height, width } = this.#options.family.manifest.input
    const black = () => ({ pixels: new Uint8Array(height * width * 3), rows: Int32Array.of(0) })
    let results: EngineResult[]
    try {
      results = await this.#live().runInEach(black)
    } catch (error) {
      throw this.#publicError(error, 'inference_failed', 'The model run failed.')
    }
    if (!results.every(({ features }) => features.every(Number.isFinite)))
      throw new FacetError('inference_failed', 'The forward pass on the base is not finite.')
  }

  /**
   * Ends the engine: what was sent is answered, then the threads exit by themselves. Resolves when they have. May be
   * called at any time and more than once; never aborts a run, so a run that hangs holds it up.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#state = 'stopping'
    this.#cancelRestart?.()
    this.#lanes?.finish()
    await this.#lanes?.gone
    this.#state = 'stopped'
  }

  /** Starts the threads; those that fail to start end by themselves. */
  async #launch(): Promise<void> {
    const { clock, logger } = this.#options
    if (this.#stopped) throw draining()
    const began = clock.now()
    // No lane is left that could read them.
    this.#sharedRows.reset()
    const lanes = new Lanes(this.#options.lanes, this.#options.createWorker ?? createWorker)
    this.#lanes = lanes
    void lanes.lost.then((reason) => this.#lost(reason))
    const ready = await lanes.start({ ...this.#init, segments: [...this.#sharedRows.segments] })
    if (this.#stopped) throw draining()
    this.#ready = ready
    this.#generation += 1
    this.#wholeSince = Number.POSITIVE_INFINITY
    lanes.widened().then(
      () => {
        this.#wholeSince = clock.now()
      },
      () => {},
    )
    this.#state = 'ready'
    const { provider } = ready
    logger.info({ provider, generation: this.#generation, ms: clock.now() - began }, 'engine ready')
    this.emit('up', this.#generation)
  }

  /** A thread has exited. Unless it was ready, whoever started it hears of that. */
  #lost(reason: Error): void {
    if (this.#state !== 'ready') return
    const { clock, logger } = this.#options
    if (clock.now() - this.#wholeSince > LAST_RESTART_MS) this.#attempts = 0
    this.#state = 'restarting'
    logger.error({ err: reason, generation: this.#generation }, 'engine down')
    this.emit('down', reason)
    this.#restartLater()
  }

  #restartLater(): void {
    const ms = Math.min(FIRST_RESTART_MS * 2 ** this.#attempts, LAST_RESTART_MS)
    this.#attempts += 1
    this.#cancelRestart = this.#options.clock.after(ms, () => void this.#restart())
  }

  async #restart(): Promise<void> {
    try {
      // The other lanes of the last generation may still be at their last run.
      await this.#lanes?.gone
      await this.#launch()
    } catch (error) {
      if (this.#stopped) return
      this.#options.logger.error({ err: error, attempt: this.#attempts }, 'engine restart failed')
      this.#restartLater()
    }
  }

  /** More runs that use these rows, or fewer. */
  #count(rows: Iterable<number>, by: 1 | -1): void {
    for (const row of rows) {
      const runs = (this.#running.get(row) ?? 0) + by
      if (runs > 0) {
        this.#running.set(row, runs)
        continue
      }
      this.#running.delete(row)
      if (this.#cleared.delete(row)) this.#sharedRows.free(row)
    }
  }

  #checkNumber(row: number): void {
    if (Number.isInteger(row) && row >= 1 && row < this.rows) return
    throw new RangeError(`bank row ${row} is not a domain's: those are 1-${this.rows - 1}`)
  }

  #live(): Lanes {
    if (this.#state === 'stopping' || this.#state === 'stopped') throw draining()
    if (this.#state !== 'ready') throw engineRestarting()
    return this.#lanes!
  }

  /** What a client may hear; the cause stays in the log. */
  #publicError(error: unknown, code: 'internal' | 'inference_failed', message: string): unknown {
    if (error instanceof ThreadGone) return engineRestarting(error)
    if (!(error instanceof RequestFailed)) return error
    this.#options.logger.error({ err: error }, message)
    return new FacetError(code, message, { cause: error })
  }
}

function engineInit(options: EngineOptions): Omit<EngineInit, 'base' | 'segments'> {
  const { family, bankDtype, bankMode, device, threads, warmBatch = 1 } = options
  const { layout, manifest } = family
  return {
    mixedGraph: family.graph({ serves: 'any', bank: bankDtype }),
    // A device that copies its inputs keeps to one graph, whose shapes it has searched algorithms for.
    singleGraph: bankMode === 'compact' ? null : family.graph({ serves: 'one', bank: bankDtype }),
    bankDtype,
    bankMode,
    device,
    threads,
    affine: layout.affine,
    biases: layout.biases,
    matrices: layout.matrices.map(({ input, rows, columns }) => ({ input, rows, columns })),
    height: manifest.input.height,
    width: manifest.input.width,
    features: manifest.features,
    warmBatch,
  }
}
