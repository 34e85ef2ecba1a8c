/**
 * The one place where the parts are put together: families, store, registry, predictor, HTTP.
 *
 * Knows every part's constructor and no part's inside. What belongs to one family is `family-runtime.ts`'s, signals
 * and exit codes are `main.ts`'s.
 */
import { readdir, readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import type { Worker } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import { Gate } from '../concurrency/gate.js'
import { SharedBudget } from '../concurrency/shared-budget.js'
import type { ServeConfig } from '../config/config.js'
import type { Engine } from '../engine/engine.js'
import { SharedMemory } from '../engine/shared-memory.js'
import { deviceName } from '../engine/runtime/runtime.js'
import type { Family } from '../family/family.js'
import { naming } from '../host/file-problem.js'
import { packageFile, VERSION } from '../host/package.js'
import { exposures } from '../http/access/exposure.js'
import { Principals } from '../http/access/token-file.js'
import type { Scope } from '../http/access/tokens.js'
import { checkAddress, listen } from '../http/connections/port.js'
import type { Tracing } from '../http/exchange/trace.js'
import { readPages } from '../http/pages/files.js'
import { LauncherClient, type LauncherClientOptions, type Starter } from '../image/apart/launcher-client.js'
import { DecodeProcesses } from '../image/apart/processes.js'
import type { DecodeApart } from '../image/decode.js'
import type { NativeAddon } from '../native/addon.js'
import { Statistics } from '../predict/statistics.js'
import { ListedVersions } from '../registry/listed-versions.js'
import { baseSeed, describePack } from '../registry/opening.js'
import { Registry } from '../registry/registry.js'
import { totalMemory } from '../residency/memory.js'
import { preparer } from '../residency/prepare.js'
import { projector } from '../residency/projecting.js'
import { Places } from '../scheduler/places.js'
import type { StoreFs } from '../store/fs.js'
import { LocalStore } from '../store/local.js'
import { type Describe, readSeeds } from '../store/seeds.js'
import { checkFolders, type Each, forEach, readFamilies } from './families.js'
import { familyEngine, FamilyRuntime } from './family-runtime.js'
import type { FamilySource } from './gauges.js'
import { buildPredictor } from './predicting.js'
import { checkOldData, checkOtherData, storeObstacle } from './wrong-folder.js'
import { httpConfig } from './http-config.js'
import { openPredictionLog } from './prediction-log.js'
import { Prewarm } from './prewarm.js'
import { Readiness } from './readiness.js'
import { choosePrecision } from './precision.js'
import { type ChosenRuntime, chooseRuntime, tellCopies } from './runtime.js'
import { SpareMemory } from './spare-memory.js'
import { type Assembly, stopper } from './stopping.js'

/**
 * An image that takes at most so many milliseconds to decode, by its header, may do so beside `--decode-threads`
 * others: thumbnails and small photographs. A thread of the pool is left for it, which reads files otherwise.
 */
const SMALL_DECODE_MS = 30
/**
 * Images are decoded in order of arrival while no more of them wait than also run in order of arrival on two lanes
 * (scheduler/policy.ts), and while the last of them is expected to wait no longer than this for a place, without what
 * is being decoded (docs/experiments/2026-11-28-order-of-decoding.md).
 */
const LITTLE_DECODING = { tasks: 32, ms: 100 }

export interface Service {
  /** Where it listens, `http://host:port`. */
  readonly url: string
  readonly app: FastifyInstance
  /** Of each family, the first one first. */
  readonly runtimes: Each<FamilyRuntime>
  readonly registry: Registry
  /** Whether a scope needs a token now. */
  guarded(scope: Scope): boolean
  /** From now on `/readyz` fails; requests in flight are answered, then every part ends. Idempotent. */
  stop(): Promise<void>
}

/** What a test may put in the place of the real thing to inject a fault. */
export interface ServiceParts {
  logger: Logger
  clock: Clock
  /** A lane's thread. */
  createWorker?: () => Worker
  /** What starts processes that decode images. */
  createLauncher?: (options: LauncherClientOptions) => Starter
  /** The native runtime; without it and without `createWorker` the configuration chooses. */
  native?: NativeAddon
  /** The store's file system. */
  fs?: StoreFs
  /** Where each request is recorded as a span. */
  tracing?: Tracing | undefined
}

/** What the service is built on: all that can be checked before anything heavy is loaded. */
interface Ground {
  /** The families, and the engine of each. */
  families: Each<{ family: Family; engine: Engine }>
  principals: Principals
  processes: DecodeProcesses
  /** The add-on, where it is used. */
  native: NativeAddon | undefined
}

/**
 * Builds the service and listens. When a part fails to start, those that did are stopped again.
 *
 * @throws FacetError or Error that says which part failed and what would mend it
 */
export async function startService(given: ServeConfig, parts: ServiceParts): Promise<Service> {
  const { native: chosen, bank } = runtimeOf(given, parts)
  const config = { ...given, bank }
  await checkInputs(config)
  const read = await readFamilies(config.families)
  if (!config.dataGiven)
    await checkOtherData(
      config.data,
      read.map(({ manifest }) => manifest.fingerprint),
    )
  const principals = await Principals.open(config, parts.clock, parts.logger)
  tellCopies(config, read, parts.logger)
  const sharedMemory = new SharedMemory(config.bankMemory)
  const families = forEach(read, (family) => {
    const { precision, reason } = choosePrecision(config, family)
    const { name } = family.manifest
    if (reason !== undefined) parts.logger.info({ family: name, precision, reason }, 'precision chosen')
    const engine = familyEngine(family, config, {
      ...parts,
      logger: loggerOf(parts.logger, name, read),
      native: chosen,
      precision,
      share: 1 / read.length,
      sharedMemory,
    })
    return { family, engine }
  })
  // Before there is much memory, of which starting a process copies the page tables.
  const processes = decodeProcesses(parts)
  // Their threads load the trunks while this one loads and builds all the rest.
  const started = Promise.all(families.map(({ engine }) => engine.start()))
  started.catch(() => {})
  let assembly: Assembly
  try {
    const ground = { families, principals, processes, native: chosen }
    assembly = await assemble(ground, config, parts)
  } catch (error) {
    await Promise.all([...families.map(({ engine }) => engine.stop()), processes.stop()])
    throw error
  }
  const { app, registry, runtimes } = assembly
  const stop = stopper(assembly, principals, parts.clock, config.gracePeriod)
  try {
    // In this order the pinned domains are resident before the first request comes.
    await registry.open(started)
    await assembly.prewarm.warm()
    await listen(app, config.host, config.port)
  } catch (error) {
    await stop()
    throw error
  }
  principals.watch()
  assembly.spareMemory.begin()
  assembly.prewarm.begin()
  for (const risk of exposures(config.host, principals.current, config))
    parts.logger.warn({ risk }, 'exposed')
  const guarded = (scope: Scope) => principals.current.some(({ scopes }) => scopes.has(scope))
  return { url: address(app), app, runtimes, registry, guarded, stop }
}

/** The runtime that the parts bring, or that the configuration chooses. */
function runtimeOf(config: ServeConfig, { native, createWorker, logger }: ServiceParts): ChosenRuntime {
  if (!native && !createWorker) return chooseRuntime(config, logger)
  return { native, bank: config.bank }
}

/** Puts all parts around engines that are starting. */
async function assemble(
  { families, principals, processes, native }: Ground,
  config: ServeConfig,
  { logger, clock, fs, tracing }: ServiceParts,
): Promise<Assembly> {
  const served = families.map(({ family }) => family)
  const describe: Describe = (bytes) => describePack(bytes, served)
  const [seeds, yaml, json, pages, { buildApp }, { openImage }, { Metrics }, { knownRequests }] =
    await Promise.all([
      Promise.all(config.adapters.map((folder) => readSeeds(folder, describe))),
      readFile(packageFile('openapi.yaml'), 'utf8'),
      readFile(packageFile('openapi.json'), 'utf8'),
      readPages(),
      import('../http/app.js'),
      import('../image/decode.js'),
      import('./metrics.js'),
      import('./known-requests.js'),
    ])
  const metrics = new Metrics({
    maxDomains: config.metricsMaxDomains,
    version: VERSION,
    families: families.map(({ family, engine }) => ({
      name: family.manifest.name,
      precision: engine.precision,
    })),
    device: deviceName(config.device),
  })
  const store = new LocalStore({
    dir: config.data,
    quota: config.storeQuota,
    clock,
    logger,
    ...(fs && { fs }),
  })
  const bases = forEach(families, ({ family }) => baseSeed(family))
  const versions = new ListedVersions(store, bases)
  const decoding = new Gate({
    width: config.decodeThreads,
    capacity: config.decodeMemory,
    smallSize: SMALL_DECODE_MS,
    little: LITTLE_DECODING,
    clock,
    purpose: 'for the image to be decoded',
  })
  const decodeApart: DecodeApart = (bytes, input, options) => processes.decode(bytes, input, options)
  const statistics = new Statistics(() => clock.date().getTime())
  const bankMemory = new SharedBudget(config.bankMemory, families.length)
  // On a device each family's rows have memory of their own.
  const budget = () => {
    const share = new SharedBudget(config.bankMemory / families.length)
    return config.bank === 'device' ? share : bankMemory
  }
  const specialiseMemory = new SharedBudget(config.specialiseMemory, families.length)
  const places = families.length > 1 ? new Places(config.lanes, clock) : undefined
  const runtimes = forEach(
    families,
    ({ family, engine }, index) =>
      new FamilyRuntime({
        family,
        engine,
        versions: versions.ofFamily(bases[index]!),
        bankMemory: budget(),
        places,
        specialiseMemory,
        config,
        openImage: (bytes, input, limits, work) =>
          openImage(bytes, input, limits, { ...work, apart: decodeApart, decodeJpeg: native?.decodeJpeg }),
        decoding,
        clock,
        logger: loggerOf(logger, family.manifest.name, families),
        observe: metrics.ofFamily(family.manifest.name),
        ran: (batch) => statistics.ran(batch),
      }),
  )
  const { keepVersions } = config
  const registry = new Registry({
    versions,
    residencies: forEach(runtimes, ({ residency }) => residency),
    prepare: preparer(
      forEach(families, ({ family }) => family),
      config.bankDtype,
    ),
    project: projector(
      families.map(({ family }) => family),
      config.maxProjectionError,
    ),
    store,
    seeds: seeds.flat(),
    clock,
    logger,
    keepVersions,
    observe: {
      forget: (domain) => {
        metrics.forget(domain)
        statistics.forget(domain)
      },
    },
  })
  metrics.expect(knownRequests(yaml))
  metrics.observe({
    families: runtimes.map((runtime) => gaugesOf(runtime, registry)),
    otherDomains: () => registry.counts(null),
    knowsDomain: (domain) => registry.has(domain),
    ids: () => registry.ids(),
    loaded: () => registry.loaded(),
    pinned: () => registry.pinned(),
    storeBytes: () => store.usage().bytes,
    bankCapacity: () => config.bankMemory,
    specialiseCapacity: () => (runtimes.some(({ specialists }) => specialists) ? config.specialiseMemory : 0),
    storeProblems: () => registry.problems(),
  })
  const readiness = new Readiness({
    engines: runtimes.map(({ engine, manifest }) => ({ family: manifest.name, engine })),
    clock,
    logger,
    timeoutMs: config.requestTimeout,
    obstacle: () => (config.strictStore ? storeObstacle(registry.problems()) : undefined),
  })
  const predictor = buildPredictor(runtimes, registry, config, clock, metrics, statistics)
  const predictionLog = await openPredictionLog(config, { logger, clock })
  const app = await buildApp({
    registry,
    predictor,
    metrics,
    statistics,
    families: runtimes,
    memory: () =>
      totalMemory(
        runtimes.map((runtime) => runtime.memory()),
        config.bankMemory,
      ),
    principals: () => principals.current,
    config: httpConfig(config),
    logger,
    predictionLog,
    tracing,
    clock,
    readiness: () => readiness.check(),
    draining: () => readiness.draining,
    pages,
    openapi: { yaml, json },
    version: VERSION,
  })
  const spareMemory = new SpareMemory(native, clock)
  const prewarm = new Prewarm({ list: config.prewarm, data: config.data, registry, logger, clock })
  return { app, predictor, runtimes, registry, readiness, processes, spareMemory, predictionLog, prewarm }
}

/** What the parts of a family log says whose they are, where there are several. */
function loggerOf(logger: Logger, family: string, all: readonly unknown[]): Logger {
  return all.length > 1 ? logger.child({ family }) : logger
}

/** What the gauges of a family read. */
function gaugesOf(runtime: FamilyRuntime, registry: Registry): FamilySource {
  const { manifest, scheduler, residency, sizer } = runtime
  return {
    name: manifest.name,
    queueLength: () => scheduler.length,
    memory: () => runtime.memory(),
    domains: () => registry.counts(manifest.name),
    maxBatch: () => sizer.size,
    lruAge: () => residency.lruAge() / 1000,
  }
}

function decodeProcesses({ clock, logger, createLauncher }: ServiceParts): DecodeProcesses {
  const options: LauncherClientOptions = {
    clock,
    ended: (reason) => logger.warn({ reason }, 'the process that starts decoders has ended'),
  }
  return new DecodeProcesses({
    clock,
    launcher: createLauncher?.(options) ?? new LauncherClient(options),
    ended: (reason) => logger.warn({ reason }, 'a process that decodes images has ended'),
  })
}

/**
 * What can be known to fail before anything heavy is loaded: folders that were named and are not there, an
 * address that cannot be had.
 */
async function checkInputs(config: ServeConfig): Promise<void> {
  const { families, adapters, adaptersGiven, data, dataGiven, host, port } = config
  await checkFolders(families)
  const adaptersRemedy = 'Name a folder of <domain>.safetensors files, or leave the option out.'
  for (const folder of adaptersGiven ? adapters : [])
    await naming('The shipped packs (--adapters)', folder, adaptersRemedy, () => readdir(folder))
  if (!dataGiven) checkOldData(data)
  if (port !== 0) await checkAddress(host, port)
}

/** `http://host:port` of the first address, IPv6 in brackets. */
function address(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
