/**
 * All that belongs to one family while it is served: its engine, the residents of its bank, its scheduler, the batch
 * size it learns, and how an image becomes its input. Composition only: it wires parts and decides nothing.
 */
import type { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import type { Gate } from '../concurrency/gate.js'
import type { SharedBudget } from '../concurrency/shared-budget.js'
import type { ServeConfig } from '../config/config.js'
import { showBytes } from '../config/quantities.js'
import { adapterBytes, deviceRows, rowBytes } from '../engine/bank-spec.js'
import { Engine, type EngineOptions } from '../engine/engine.js'
import type { DeviceOptions } from '../engine/plan.js'
import type { SharedMemory } from '../engine/shared-memory.js'
import { clientClosed, engineRestarting, FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import type { Execution, ServedFamily } from '../http/exchange/deps.js'
import type { openImage } from '../image/decode.js'
import { MAX_DECODE_MS } from '../image/limits.js'
import type { Precision } from '../manifest/graphs.js'
import type { FamilyManifest, InputSpec } from '../manifest/manifest.js'
import { NATIVE_REMEDY, type NativeAddon } from '../native/addon.js'
import { batchRunner, type Sample, type SampleResult } from '../predict/batch-runner.js'
import type { AcceptedImage, PredictingFamily, Wait } from '../predict/predictor.js'
import { canaryImage, createCanary } from '../residency/canary.js'
import { dedicatedNetworkBytes } from '../residency/memory.js'
import { aboutBase } from '../residency/prepare.js'
import { Residency, type ResidencyObserver } from '../residency/residency.js'
import type { MemoryAccount } from '../residency/types.js'
import type { Versions } from '../residency/versions.js'
import { BatchSizer, largestBatch } from '../scheduler/batch-size.js'
import type { Places } from '../scheduler/places.js'
import { Scheduler, type SchedulerObserver } from '../scheduler/scheduler.js'
import { Merging } from '../specialise/merging.js'
import { type SpecialistObserver, Specialists } from '../specialise/specialists.js'

/** Hears what a family's parts do. */
export interface FamilyObserver extends SchedulerObserver, ResidencyObserver, SpecialistObserver {
  /** A batch of so many images was in the engine for so many seconds, and a dedicated network ran it or the trunk. */
  inference(seconds: number, images: number, dedicated: boolean): void
}

export interface FamilyRuntimeOptions {
  family: Family
  /** Made by `familyEngine`; it may still be starting. */
  engine: Engine
  /** Bytes of adapters and heads, shared by all families. */
  bankMemory: SharedBudget
  /** Bytes of dedicated networks, shared by all families. */
  specialiseMemory: SharedBudget
  /** Places for runs that all families share; where there is one family, its lanes bound them. */
  places: Places | undefined
  /** What the domains make of the versions of this family. */
  versions: Versions
  config: ServeConfig
  /** `image/decode.js`, loaded apart: libvips makes for a long start. */
  openImage: typeof openImage
  /** Where images wait for a thread that decodes them, and for memory; shared by all families. */
  decoding: Gate
  clock: Clock
  logger: Logger
  observe: FamilyObserver
  /** Images that ran together. */
  ran(batch: readonly Sample[]): void
}

export class FamilyRuntime implements PredictingFamily, ServedFamily {
  readonly family: Family
  readonly engine: Engine
  readonly sizer: BatchSizer
  readonly scheduler: Scheduler<Sample, SampleResult>
  readonly residency: Residency
  /** Dedicated networks for the versions with the most traffic; undefined where there are to be none. */
  readonly specialists: Specialists | undefined
  readonly #options: FamilyRuntimeOptions
  /** Why nothing is decoded any more. */
  #abandoned: FacetError | undefined

  constructor(options: FamilyRuntimeOptions) {
    this.#options = options
    const { family, engine, versions, places, config, clock, logger, observe } = options
    const { input, features } = family.manifest
    this.family = family
    this.engine = engine
    this.sizer = new BatchSizer(config.maxBatch)
    const shape = { pixels: input.height * input.width * 3, features }
    const run = batchRunner(engine, clock, shape, ({ size, ms, inferenceMs, dedicated }) => {
      // Sizes are learnt from the trunk's runs: the others have the size that their domain's traffic gives them.
      if (!dedicated) this.sizer.record(size, ms)
      observe.inference(inferenceMs / 1000, size, dedicated)
    })
    this.scheduler = new Scheduler({
      run: (batch, signal) => {
        options.ran(batch)
        for (const { version } of batch) this.specialists?.count(version)
        return run(batch, signal)
      },
      apart: ({ row, version, generation }) =>
        generation === engine.generation && engine.hasDedicated(row) ? version : undefined,
      clock,
      lanes: () => engine.readyLanes,
      maxBatch: () => this.sizer.size,
      runMs: (size) => this.sizer.runMs(size),
      ...(places && { places: (offered) => places.join(family.manifest.name, offered) }),
      observe,
    })
    engine.on('down', () => this.scheduler.rejectAll(engineRestarting()))
    this.residency = new Residency({
      family,
      engine,
      versions,
      canary: createCanary(engine, input),
      budget: options.bankMemory,
      clock,
      logger,
      limits: {
        loadTimeoutMs: config.loadTimeout,
        minResidencyMs: config.minResidency,
        bankDtype: config.bankDtype,
      },
      observe,
    })
    this.specialists = specialists(options, this.residency, this.scheduler)
  }

  get manifest(): FamilyManifest {
    return this.family.manifest
  }

  get fingerprint(): string {
    return this.manifest.fingerprint
  }

  get input(): InputSpec {
    return this.manifest.input
  }

  memory(): MemoryAccount {
    return this.residency.memory()
  }

  /** How its batches run now. */
  get execution(): Execution {
    const { lanes, bankDtype } = this.#options.config
    const { provider, runtime, precision } = this.engine
    return { provider, runtime, precision, lanes, maxBatch: this.sizer.size, bankDtype }
  }

  async open(image: Uint8Array, asker: Wait & { principal: string }): Promise<AcceptedImage> {
    const { clock, config, decoding, family, openImage } = this.#options
    const limits = { maxPixels: config.maxImagePixels, memory: config.decodeMemory }
    const { cost, decode } = await openImage(image, family.manifest.input, limits, {
      owner: asker.principal,
      check: () => {
        if (asker.signal?.aborted) throw clientClosed()
        if (asker.deadline !== undefined && clock.now() > asker.deadline)
          throw new FacetError('deadline_exceeded', 'The deadline passed while the image was looked through.')
      },
    })
    return {
      decode: (wait) => {
        const task = () =>
          this.#abandoned
            ? Promise.reject(this.#abandoned)
            : decode({ signal: wait.signal, timeoutMs: timeTo(wait.deadline, clock) })
        return decoding.run(task, { ...wait, size: cost.cpuMs, weight: cost.bytes })
      },
    }
  }

  /**
   * Ends the waiting for good: nothing more is decoded or run, and what runs is given up where the engine can do that;
   * each wait ends with this error.
   */
  abandon(error: FacetError): void {
    this.#abandoned = error
    this.scheduler.abandon(error)
  }
}

/** Undefined where the configuration wants none, or there can be none; the log says why. */
function specialists(
  { family, engine, versions, specialiseMemory, config, clock, logger, observe }: FamilyRuntimeOptions,
  residency: Residency,
  scheduler: Pick<Scheduler<Sample, SampleResult>, 'length' | 'secondsFor'>,
): Specialists | undefined {
  if (config.specialiseMemory === 0) return undefined
  const { manifest, base } = family
  const reason =
    engine.runtime === 'stock'
      ? `the stock runtime has none. ${NATIVE_REMEDY}`
      : manifest.slots.length === 0
        ? 'the domains of this family differ in their heads alone'
        : undefined
  if (reason !== undefined) {
    logger.warn({ family: manifest.name, reason }, 'no dedicated networks')
    return undefined
  }
  const graph = family.graph({ serves: 'one', bank: 'f32' })
  const merging = new Merging({ manifest, base, graph, bankDtype: config.bankDtype }, clock)
  return new Specialists({
    engine,
    residency,
    versions,
    merging,
    canary: canaryImage(manifest.input),
    networkBytes: dedicatedNetworkBytes(manifest),
    budget: specialiseMemory,
    queueSeconds: () => scheduler.secondsFor(scheduler.length),
    clock,
    logger,
    observe,
  })
}

/** Milliseconds to a deadline, at most the longest time that decoding is given. */
function timeTo(deadline: number | undefined, clock: Clock): number {
  return deadline === undefined ? MAX_DECODE_MS : Math.min(MAX_DECODE_MS, Math.max(0, deadline - clock.now()))
}

/**
 * The engine of a family, not yet started.
 * @throws Error where the bank's memory holds no domain beside the base
 */
export function familyEngine(
  family: Family,
  config: ServeConfig,
  {
    clock,
    logger,
    precision,
    native,
    createWorker,
    share,
    sharedMemory,
  }: {
    clock: Clock
    logger: Logger
    precision: Precision
    /** The part of each memory that the family can always have. */
    share: number
    /** Where the rows of all families lie, without the native runtime. */
    sharedMemory: SharedMemory
    native?: NativeAddon | undefined
    createWorker?: (() => Worker) | undefined
  },
): Engine {
  checkMemory(config, family, share)
  checkSpecialiseMemory(config, family, share)
  const isOnDevice = config.bank === 'device'
  return new Engine({
    family,
    ...(isOnDevice ? rowsOnDevice(config, family, share) : rowsOf(config, family)),
    sharedMemory,
    bankDtype: config.bankDtype,
    bankMode: config.bank,
    precision,
    device: config.device,
    deviceOptions: deviceOptions(config, share),
    lanes: config.lanes,
    threads: config.threads,
    warmBatch: warmBatch(config),
    logger,
    clock,
    ...(native && { native }),
    ...(createWorker && { createWorker }),
  })
}

type BankSize = Required<Pick<EngineOptions, 'rows' | 'adapters' | 'memory'>>

/** What a domain takes in this process beside its row, as a rule: labels, versions, entries of tables. */
const LEAST_BYTES_OF_A_DOMAIN = 4096

/**
 * Rows that the bank's memory has room for at most, and those with an adapter of their own: an affine row is the least. A
 * row may be hardly more than a small head; without a least size there would be millions of rows to keep account of.
 */
function rowsOf({ bankMemory, bankDtype: dtype }: ServeConfig, { layout }: Family): BankSize {
  const rows = Math.floor(bankMemory / LEAST_BYTES_OF_A_DOMAIN)
  return {
    rows,
    adapters: Math.min(rows, Math.floor(bankMemory / adapterBytes({ layout, dtype }, 'affine'))),
    memory: bankMemory,
  }
}

/** The same where a device has them, and takes their memory at once: of each family its share. */
function rowsOnDevice(
  { bankMemory, bankDtype: dtype }: ServeConfig,
  { layout }: Family,
  share: number,
): BankSize {
  const memory = Math.floor(bankMemory * share)
  const { rows } = deviceRows({ layout, dtype }, memory, Math.floor(memory / LEAST_BYTES_OF_A_DOMAIN))
  return { rows, adapters: rows, memory }
}

function deviceOptions({ gpuMemory, tf32 }: ServeConfig, share: number): DeviceOptions {
  return { tf32, ...(gpuMemory < Infinity && { memory: Math.floor(gpuMemory * share) }) }
}

/**
 * Images of the run at the start. On a device that has the bank it takes the memory of the largest batch that may come, so
 * that none is refused later. With the stock runtime on a GPU any but the smallest would make for a long start.
 */
function warmBatch({ bank, device, maxBatch }: ServeConfig): number {
  if (bank === 'device') return maxBatch.max
  return device.kind === 'cpu' ? Math.min(maxBatch.max, largestBatch.cpu) : 1
}

/** One dedicated network must fit. */
function checkSpecialiseMemory({ specialiseMemory }: ServeConfig, { manifest }: Family, share: number): void {
  const least = dedicatedNetworkBytes(manifest)
  if (specialiseMemory === 0 || specialiseMemory * share >= least) return
  throw new Error(
    `--specialise-memory ${showBytes(specialiseMemory)} holds no dedicated network${ofEach(share)}: one of family '${manifest.name}' takes ${least} bytes. Give it ${Math.ceil(least / share / 2 ** 20)}MiB or more, or leave it out.`,
  )
}

/** The base is always resident, and a domain needs room beside it: as much as the base at least. */
function checkMemory(
  { bankMemory, bankDtype: dtype }: ServeConfig,
  { manifest, layout, base }: Family,
  share: number,
): void {
  const least = 2 * rowBytes({ layout, dtype, features: manifest.features }, aboutBase(base))
  if (bankMemory * share >= least) return
  throw new Error(
    `--bank-memory ${showBytes(bankMemory)} holds no domain${ofEach(share)}: the base of family '${manifest.name}' and one more domain of its size take ${least} bytes. Give it ${Math.ceil(least / share / 2 ** 20)}MiB or more.`,
  )
}

/** Which part of a memory was looked at, where there are several families. */
function ofEach(share: number): string {
  return share === 1 ? '' : ` in the share of one of ${Math.round(1 / share)} families`
}
