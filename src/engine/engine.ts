/**
 * The engine as the service sees it: rows are written, batches are run, and threads that die are replaced.
 *
 * It belongs to the thread that serves HTTP and computes nothing there: the lanes do, each in a thread of its
 * own. It knows rows and no domains: the residency decides which version is in which row, and writes rows
 * again after a restart.
 *
 * Its states, and what leads from one to the next, are in `lifecycle.ts`. `writeRow`, `run` and `probe` work in
 * `ready` alone. `clear` does nothing elsewhere, because no rows are left.
 */
import { EventEmitter } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import { turns } from '../concurrency/turns.js'
import { engineRestarting, FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { checkUnchanged } from '../family/folder.js'
import type { Precision } from '../manifest/graphs.js'
import type { NativeRuntime } from '../native/addon.js'
import { checkRow, deviceRows } from './bank-spec.js'
import { LaneGone, type LaneGroup, type LaneMaker, type OpenedNetwork, RequestFailed } from './lane-group.js'
import { WorkerLaneMaker } from './lanes.js'
import { type EngineState, Lifecycle } from './lifecycle.js'
import { NativeLaneMaker } from './native-lanes.js'
import { packRow } from './row.js'
import type { EngineBatch, EngineResult, RowTensors } from './batch.js'
import type { BankDtype, BankMode, DeviceOptions, TrunkPlan } from './plan.js'
import type { Device } from './runtime/runtime.js'
import { SharedMemory } from './shared-memory.js'

export interface EngineOptions {
  family: Family
  /** Rows of the bank, the base's (0) included. */
  rows: number
  /** How many of them may have an adapter of their own, the base's included; all unless given. */
  adapters?: number
  /** Bytes of all rows and heads at most (`rowBytes` each); unbounded unless given. */
  memory?: number
  /** Where rows and heads lie without the native runtime, shared with other engines; unless given, of its own. */
  sharedMemory?: SharedMemory
  bankDtype: BankDtype
  bankMode: BankMode
  /** Of the trunk's frozen convolutions; `fp32` unless given. */
  precision?: Precision
  device: Device
  /** Of a device that has the bank (`bankMode: 'device'`). */
  deviceOptions?: DeviceOptions
  /** Runs side by side, each in a thread of its own. */
  lanes: number
  /** Threads of one run. */
  threads: number
  /**
   * Images of the largest usual batch, 1 unless given: its memory is taken at the start. Larger ones are run
   * as well.
   */
  warmBatch?: number
  logger: Logger
  clock: Clock
  /** The native runtime, which runs the lanes on one session. Without it each lane has sessions of its own. */
  native?: NativeRuntime
  /** Makes a lane's thread, without the native runtime. Tests give one that injects faults. */
  createWorker?: () => Worker
}

/**
 * Limit of V8's young generation in a lane, MB. Without one V8 doubles it every few minutes, up to 48 MB a
 * lane, however little garbage there is, and that looks like a leak
 * (docs/experiments/2026-11-25-what-grew-in-the-soak.md).
 */
const LANE_YOUNG_GENERATION_MB = 3

function createWorker(): Worker {
  return new Worker(new URL('./worker.js', import.meta.url), {
    name: 'facet-engine',
    resourceLimits: { maxYoungGenerationSizeMb: LANE_YOUNG_GENERATION_MB },
  })
}

/** `down`: a lane was lost, and every row with it. `up`: a lane is ready, and only the base is in the bank. */
export interface EngineEvents {
  down: [reason: Error]
  up: [generation: number]
}

export class Engine extends EventEmitter<EngineEvents> {
  readonly #options: EngineOptions
  readonly #plan: TrunkPlan
  readonly #maker: LaneMaker
  readonly #life: Lifecycle
  /** Number of unanswered runs that use a row, by row. */
  readonly #running = new Map<number, number>()
  /** Rows that were cleared while a run used them: their memory is freed when that is answered. */
  readonly #cleared = new Set<number>()

  constructor(options: EngineOptions) {
    super()
    this.#options = options
    const { family, logger, clock } = options
    this.#plan = trunkPlan(options)
    this.#maker = laneMaker(options, this.#plan)
    this.#life = new Lifecycle({
      maker: this.#maker,
      // With another trunk every answer would be wrong, and nothing would say so.
      check: () => checkUnchanged(family),
      logger,
      clock,
      onDown: (reason) => {
        this.#cleared.clear()
        this.emit('down', reason)
      },
      onUp: (generation) => this.emit('up', generation),
    })
  }

  get state(): EngineState {
    return this.#life.state
  }

  /** How often the engine became ready: 1 after `start`. Rows written in an earlier generation are gone. */
  get generation(): number {
    return this.#life.generation
  }

  /** `cpu` or `cuda:0`; empty before the first start. */
  get provider(): string {
    return this.#life.provider
  }

  /** What runs the trunk. */
  get runtime(): 'native' | 'stock' {
    return this.#options.native ? 'native' : 'stock'
  }

  /** Of the trunk's frozen convolutions. */
  get precision(): Precision {
    return this.#options.precision ?? 'fp32'
  }

  /** Rows of the bank, the base's included. */
  get rows(): number {
    return this.#options.rows
  }

  /** Lanes ready now; fewer than configured while later lanes are still starting. */
  get readyLanes(): number {
    return this.#life.lanes?.ready ?? 0
  }

  /** Sessions that hold the trunk's weights, when all lanes are ready. */
  get trunks(): number {
    return this.#maker.trunks
  }

  /**
   * Loads the trunk in the first lane and runs the base there once; the other lanes follow while the first
   * serves. Where the first cannot start the engine is stopped, and no thread is left.
   * @throws Error naming the cause and the remedy; FacetError `draining` when stopped meanwhile.
   */
  start(): Promise<void> {
    return this.#life.start()
  }

  /**
   * Resolves when the last lane of this start is ready. @throws Error where one could not start; the engine
   * is down then
   */
  async allLanesReady(): Promise<void> {
    await this.#life.lanes?.allReady()
  }

  /**
   * Writes a row that no run uses; runs sent afterwards see it. What it does not have itself is the base's. Takes over
   * the buffers of `tensors`, which are empty then.
   * @throws RangeError for row 0 (the base's), rows that the bank does not have, a row in a run, tensors that
   * do not fit the trunk, and where `memory` leaves no room; FacetError `engine_restarting` (503), `draining`
   * (503).
   */
  async writeRow(row: number, tensors: RowTensors): Promise<void> {
    this.#checkNumber(row)
    checkRow(row, tensors, this.#plan)
    const lanes = this.#life.live()
    if (this.#running.has(row)) throw new RangeError(`bank row ${row} is in a run`)
    try {
      // A restart frees the row's bytes, and others may be given them.
      const check = () => {
        if (this.#life.live() !== lanes) throw engineRestarting()
      }
      await turns.run(lanes.write(row, tensors), { check })
      check()
      await lanes.publish(row)
    } catch (error) {
      throw this.#publicError(error, 'internal', 'The adapter could not be brought into the bank.')
    }
  }

  /**
   * Makes a row unusable once the runs sent before are answered. A no-op while the engine is down: no rows
   * are left.
   * @throws RangeError for row 0 and rows that the bank does not have.
   */
  clear(row: number): void {
    this.#checkNumber(row)
    const lanes = this.#lanes
    lanes?.clear(row)
    if (lanes && this.#running.has(row)) this.#cleared.add(row)
    else lanes?.free(row)
  }

  /** Dedicated networks in use. */
  get dedicatedNetworks(): number {
    return this.#lanes?.dedicated?.rows.size ?? 0
  }

  /** Whether a dedicated network runs the batches of this row alone. */
  hasDedicated(row: number): boolean {
    return this.#lanes?.dedicated?.rows.has(row) ?? false
  }

  /**
   * Opens the dedicated network of what a row holds now, beside the lanes, and tries it on an image. It runs nothing
   * until its `use`. Only the native runtime can do that.
   * @param network an ONNX graph from the trunk's pixels to its features @param pixels `[H, W, 3]`
   * @throws FacetError `engine_restarting` (503), `draining` (503); Error that says why it cannot be opened
   */
  async openDedicated(row: number, network: Uint8Array, pixels: Uint8Array): Promise<OpenedNetwork> {
    const lanes = this.#life.live()
    if (!lanes.dedicated) throw new Error('the stock runtime has no dedicated networks')
    try {
      return await lanes.dedicated.open(row, network, pixels)
    } catch (error) {
      // What the end of the lanes cuts short fails in whatever way.
      if (this.#life.live() === lanes && !(error instanceof LaneGone)) throw error
      throw engineRestarting(error)
    }
  }

  /** From now on the trunk runs the row's batches again. */
  dropDedicated(row: number): void {
    this.#lanes?.dedicated?.drop(row)
  }

  /**
   * One run of the trunk over any mix of rows, and each row's head on its samples. Takes over the buffer of
   * `pixels`, unless they are a part of a larger one.
   * @param generation the generation in which the rows were written
   * @param signal gives the run up where the lanes can do that (the native runtime's); the reason is thrown then
   * @throws FacetError `engine_restarting` (503) when the engine is down or of another generation, `draining`
   * (503) once it stops, `inference_failed` (500) when this run throws; RangeError for a misshapen batch.
   */
  async run(batch: EngineBatch, generation: number, signal?: AbortSignal): Promise<EngineResult> {
    const { height, width } = this.#options.family.manifest.input
    const samples = batch.rows.length
    if (samples === 0 || batch.pixels.length !== samples * height * width * 3)
      throw new RangeError(
        `${batch.pixels.length} pixel values for ${samples} samples of ${height}x${width}x3`,
      )
    const rows = new Set(batch.rows)
    try {
      const lanes = this.#life.live()
      if (generation !== this.generation) throw engineRestarting()
      this.#count(rows, 1)
      return await lanes.run(batch, signal).finally(() => this.#count(rows, -1))
    } catch (error) {
      if (signal?.aborted && error instanceof RequestFailed) throw signal.reason
      throw this.#publicError(error, 'inference_failed', 'The model run failed.')
    }
  }

  /**
   * A real forward pass on the base in every lane that is ready. Resolves when all have answered: never,
   * where one hangs.
   * @throws FacetError as `run`, and when the features are not finite.
   */
  async probe(): Promise<void> {
    const { height, width } = this.#options.family.manifest.input
    const black = () => ({ pixels: new Uint8Array(height * width * 3), rows: Int32Array.of(0) })
    let results: EngineResult[]
    try {
      results = await this.#life.live().runInEach(black)
    } catch (error) {
      throw this.#publicError(error, 'inference_failed', 'The model run failed.')
    }
    if (!results.every(({ features }) => features.every(Number.isFinite)))
      throw new FacetError('inference_failed', 'The forward pass on the base is not finite.')
  }

  /**
   * Ends the engine: the lanes answer what they were sent, then their threads exit. Resolves when all have.
   * May be called at any time and more than once. It never aborts a run, so it waits for one that hangs.
   */
  stop(): Promise<void> {
    return this.#life.stop()
  }

  /** Counts one more run that uses these rows, or one fewer. */
  #count(rows: Iterable<number>, by: 1 | -1): void {
    for (const row of rows) {
      const runs = (this.#running.get(row) ?? 0) + by
      if (runs > 0) {
        this.#running.set(row, runs)
        continue
      }
      this.#running.delete(row)
      if (this.#cleared.delete(row)) this.#life.lanes?.free(row)
    }
  }

  /** Undefined unless the engine is ready. */
  get #lanes(): LaneGroup | undefined {
    return this.state === 'ready' ? this.#life.lanes : undefined
  }

  #checkNumber(row: number): void {
    if (Number.isInteger(row) && row >= 1 && row < this.rows) return
    throw new RangeError(`bank row ${row} is not a domain's: those are 1-${this.rows - 1}`)
  }

  /** The error that a client may see; its cause stays in the log. */
  #publicError(error: unknown, code: 'internal' | 'inference_failed', message: string): unknown {
    if (error instanceof LaneGone) return engineRestarting(error)
    if (!(error instanceof RequestFailed)) return error
    this.#options.logger.error({ err: error }, message)
    return new FacetError(code, message, { cause: error })
  }
}

function laneMaker(options: EngineOptions, plan: TrunkPlan): LaneMaker {
  const { family, bankDtype, native, rows, adapters = rows, lanes, memory = Infinity } = options
  const { sharedMemory = new SharedMemory(memory) } = options
  const base = () => packRow(family.base, null, family.manifest, family.layout, bankDtype)
  if (native) {
    const { matrices } = deviceRows({ layout: family.layout, dtype: bankDtype }, memory, adapters)
    return new NativeLaneMaker({ plan, count: lanes, memory, base, native, rows, adapters, matrices })
  }
  if (plan.bankMode === 'device') throw new Error('The stock runtime has no bank in a device’s memory.')
  const threads = options.createWorker ?? createWorker
  return new WorkerLaneMaker({
    plan,
    count: lanes,
    memory: sharedMemory,
    base: base(),
    createWorker: threads,
  })
}

function trunkPlan(options: EngineOptions): TrunkPlan {
  const { family, bankDtype, bankMode, precision = 'fp32', device, deviceOptions = {} } = options
  const { threads, native, warmBatch = 1 } = options
  const { layout, manifest } = family
  // It runs batches of one domain as well. Its weights take more memory than those of one other graph.
  const hasPrecision = { fp32: true, fp16: false, int8: native?.hasOwnInt8 }[precision]
  const isFast = native?.hasOwnOperator && hasPrecision
  const own =
    isFast && bankMode === 'shared'
      ? family.findGraph({ serves: 'any', bank: bankDtype, precision, own: true })
      : undefined
  // A device that prepares for each new shape keeps to one graph, and in half precision there is no other.
  const single = own === undefined && bankMode === 'shared' && precision !== 'fp16'
  return {
    mixedGraph: own ?? family.graph({ serves: 'any', bank: bankDtype, precision }),
    singleGraph: single ? family.graph({ serves: 'one', bank: bankDtype, precision }) : null,
    own: own !== undefined,
    bankDtype,
    bankMode,
    device,
    deviceOptions,
    threads,
    tensors: layout.tensors,
    height: manifest.input.height,
    width: manifest.input.width,
    features: manifest.features,
    warmBatch,
  }
}
