/**
 * The one place where the parts are put together: family, store, registry, predictor, HTTP.
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
import type { ServeConfig } from '../config/config.js'
import type { Engine } from '../engine/engine.js'
import { deviceName } from '../engine/runtime/runtime.js'
import { draining } from '../errors.js'
import type { Family } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import { naming } from '../host/file-problem.js'
import { packageFile, VERSION } from '../host/package.js'
import { exposures } from '../http/access/exposure.js'
import { Principals } from '../http/access/token-file.js'
import type { Scope } from '../http/access/tokens.js'
import { checkAddress, listen } from '../http/connections/port.js'
import type { HttpConfig } from '../http/exchange/deps.js'
import { LauncherClient, type LauncherClientOptions, type Starter } from '../image/apart/launcher-client.js'
import { DecodeProcesses } from '../image/apart/processes.js'
import type { DecodeApart } from '../image/decode.js'
import type { NativeAddon } from '../native/addon.js'
import { Admission } from '../predict/admission.js'
import { Predictor } from '../predict/predictor.js'
import { RateLimit } from '../predict/rate-limit.js'
import { ListedVersions } from '../registry/listed-versions.js'
import { baseSeed, describePack } from '../registry/opening.js'
import { Registry } from '../registry/registry.js'
import type { StoreFs } from '../store/fs.js'
import { LocalStore } from '../store/local.js'
import { readSeeds } from '../store/seeds.js'
import { familyEngine, FamilyRuntime } from './family-runtime.js'
import type { Metrics, RejectionReason } from './metrics.js'
import { checkOldData, storeObstacle } from './wrong-folder.js'
import { Readiness } from './readiness.js'
import { choosePrecision } from './precision.js'
import { chooseRuntime } from './runtime.js'

/**
 * An image that takes at most so many milliseconds to decode, by its header, may do so beside `--decode-threads`
 * others: thumbnails and small photographs. A thread of the pool is left for it, which reads files otherwise.
 */
const SMALL_DECODE_MS = 30

export interface Service {
  /** Where it listens, `http://host:port`. */
  readonly url: string
  readonly app: FastifyInstance
  readonly runtime: FamilyRuntime
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
  /** The engine's thread. */
  createWorker?: () => Worker
  /** What starts processes that decode images. */
  createLauncher?: (options: LauncherClientOptions) => Starter
  /** The native runtime; without it and without `createWorker` the configuration chooses. */
  native?: NativeAddon
  /** The store's file system. */
  fs?: StoreFs
}

/** After the grace period, milliseconds for the last answers to reach their clients. */
const LAST_ANSWERS_MS = 250

/** What the service is built on: all that can be checked before anything heavy is loaded. */
interface Ground {
  family: Family
  principals: Principals
  engine: Engine
  processes: DecodeProcesses
  /** The add-on's, where it is used. */
  decodeJpeg: NativeAddon['decodeJpeg'] | undefined
}

/** The parts that are started and stopped. */
interface Assembly {
  app: FastifyInstance
  predictor: Predictor
  runtime: FamilyRuntime
  registry: Registry
  readiness: Readiness
  processes: DecodeProcesses
}

/**
 * Builds the service and listens. When a part fails to start, those that did are stopped again.
 *
 * @throws FacetError or Error that says which part failed and what would mend it
 */
export async function startService(config: ServeConfig, parts: ServiceParts): Promise<Service> {
  await checkInputs(config)
  const family = await readFamily(config.family)
  const principals = await Principals.open(config, parts.clock, parts.logger)
  const chosen = parts.native ?? (parts.createWorker ? undefined : chooseRuntime(config, parts.logger))
  const { precision, reason } = choosePrecision(config, family)
  if (reason !== undefined) parts.logger.info({ precision, reason }, 'precision chosen')
  const engine = familyEngine(family, config, { ...parts, native: chosen, precision })
  // Before there is much memory, of which starting a process copies the page tables.
  const processes = decodeProcesses(parts)
  // Its threads load the trunk while this one loads and builds all the rest.
  const started = engine.start()
  started.catch(() => {})
  let assembly: Assembly
  try {
    const ground = { family, principals, engine, processes, decodeJpeg: chosen?.decodeJpeg }
    assembly = await assemble(ground, config, parts)
  } catch (error) {
    await Promise.all([engine.stop(), processes.stop()])
    throw error
  }
  const { app, registry, runtime } = assembly
  const stop = stopper(assembly, principals, parts.clock, config.gracePeriod)
  try {
    // In this order the pinned domains are resident before the first request comes.
    await started
    await registry.open()
    await listen(app, config.host, config.port)
  } catch (error) {
    await stop()
    throw error
  }
  principals.watch()
  for (const risk of exposures(config.host, principals.current, config))
    parts.logger.warn({ risk }, 'exposed')
  const guarded = (scope: Scope) => principals.current.some(({ scopes }) => scopes.has(scope))
  return { url: address(app), app, runtime, registry, guarded, stop }
}

/** Puts all parts around an engine that is starting. */
async function assemble(
  { family, principals, engine, processes, decodeJpeg }: Ground,
  config: ServeConfig,
  { logger, clock, fs }: ServiceParts,
): Promise<Assembly> {
  const [seeds, openapi, { buildApp }, { openImage }, { Metrics }, { knownRequests }] = await Promise.all([
    readSeeds(config.adapters, describePack),
    readFile(packageFile('openapi.yaml'), 'utf8'),
    import('../http/app.js'),
    import('../image/decode.js'),
    import('./metrics.js'),
    import('./known-requests.js'),
  ])
  const metrics = new Metrics({
    maxDomains: config.metricsMaxDomains,
    version: VERSION,
    family: family.manifest.name,
    device: deviceName(config.device),
    precision: engine.precision,
  })
  const store = new LocalStore({
    dir: config.data,
    quota: config.storeQuota,
    clock,
    logger,
    ...(fs && { fs }),
  })
  const versions = new ListedVersions(store, baseSeed(family))
  const decoding = new Gate({
    width: config.decodeThreads,
    capacity: config.decodeMemory,
    smallSize: SMALL_DECODE_MS,
    clock,
    purpose: 'for the image to be decoded',
  })
  const decodeApart: DecodeApart = (bytes, input, options) => processes.decode(bytes, input, options)
  const runtime = new FamilyRuntime({
    family,
    engine,
    versions,
    config,
    openImage: (bytes, input, limits, work) =>
      openImage(bytes, input, limits, { ...work, apart: decodeApart, decodeJpeg }),
    decoding,
    clock,
    logger,
    observe: metrics,
  })
  const { keepVersions } = config
  const { residency } = runtime
  const registry = new Registry({
    versions,
    residency,
    store,
    seeds,
    clock,
    logger,
    keepVersions,
    observe: metrics,
  })
  metrics.expect(knownRequests(openapi))
  metrics.observe({
    queueLength: () => runtime.scheduler.length,
    memory: () => registry.memory(),
    domains: () => registry.counts(),
    knowsDomain: (domain) => registry.has(domain),
    ids: () => registry.ids(),
    loaded: () => registry.loaded(),
    maxBatch: () => runtime.sizer.size,
    pinned: () => registry.pinned(),
    lruAge: () => registry.lruAge(),
    storeBytes: () => store.usage().bytes,
    bankCapacity: () => config.bankMemory,
    specialiseCapacity: () => (runtime.specialists ? config.specialiseMemory : 0),
    storeProblems: () => registry.problems(),
  })
  const readiness = new Readiness({
    engine,
    clock,
    logger,
    timeoutMs: config.requestTimeout,
    obstacle: () => (config.strictStore ? storeObstacle(registry.problems()) : undefined),
  })
  const predictor = buildPredictor(runtime, registry, config, clock, metrics)
  const app = await buildApp({
    registry,
    predictor,
    metrics,
    family,
    principals: () => principals.current,
    config: httpConfig(config),
    logger,
    clock,
    readiness: () => readiness.check(),
    draining: () => readiness.draining,
    execution: () => runtime.execution,
    openapi,
    version: VERSION,
  })
  return { app, predictor, runtime, registry, readiness, processes }
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

/** The path of a request over the one family there is. */
function buildPredictor(
  runtime: FamilyRuntime,
  registry: Registry,
  config: ServeConfig,
  clock: Clock,
  metrics: Metrics,
): Predictor {
  const refused = (reason: RejectionReason) => metrics.rejected(reason)
  const { rateLimit, rateBurst } = config
  const options = { rate: rateLimit, burst: rateBurst, clock, refused }
  const limit = rateLimit > 0 ? new RateLimit(options) : undefined
  return new Predictor({
    admission: new Admission({
      maxImages: config.maxQueue,
      maxImagesOfDomain: config.maxQueuePerDomain,
      maxBytes: config.maxBodies,
      secondsFor: (images) => runtime.scheduler.secondsFor(images),
      refused,
    }),
    limitRate: (images) => limit?.take(images),
    familyOf: () => runtime,
    warm: (domain, version, wait) => registry.warm(domain, version, wait),
    acquire: (domain, version, wait) => registry.acquire(domain, version, wait),
    clock,
    observe: metrics,
  })
}

/**
 * What can be known to fail before anything heavy is loaded: folders that were named and are not there, an
 * address that cannot be had.
 */
async function checkInputs(config: ServeConfig): Promise<void> {
  const { family, adapters, adaptersGiven, data, dataGiven, host, port } = config
  const familyRemedy = 'Build one with facet family build, or leave the option out for the shipped one.'
  await naming('The family (--family)', family, familyRemedy, () => readdir(family))
  const adaptersRemedy = 'Name a folder of <domain>.safetensors files, or leave the option out.'
  if (adaptersGiven)
    await naming('The shipped packs (--adapters)', adapters, adaptersRemedy, () => readdir(adapters))
  if (!dataGiven) checkOldData(data)
  if (port !== 0) await checkAddress(host, port)
}

function httpConfig(config: ServeConfig): HttpConfig {
  return {
    host: config.host,
    trustProxy: config.trustedProxy,
    maxBody: config.maxBody,
    maxBodies: config.maxBodies,
    minBodyRate: config.minBodyRate,
    maxPack: config.maxPack,
    maxImages: config.maxImages,
    maxUploads: config.maxUploads,
    maxHeaderSize: config.maxHeader,
    maxConnections: config.maxConnections,
    maxConnectionsPerPeer: config.maxConnectionsPerPeer,
    receiveTimeoutMs: config.receiveTimeout,
    keepAliveTimeoutMs: config.keepAlive,
    timeoutMs: config.requestTimeout,
    maxTimeoutMs: config.maxRequestTimeout,
  }
}

/** `http://host:port` of the first address, IPv6 in brackets. */
function address(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/**
 * The orderly end, in the order of the request's path: not ready, no new connections, requests in flight
 * answered, then the queue, the engine and the store. Past the grace period predictions still in the service are
 * answered with `draining`; then all connections are closed.
 */
function stopper(
  { app, predictor, runtime, registry, readiness, processes }: Assembly,
  principals: Principals,
  clock: Clock,
  gracePeriodMs: number,
): () => Promise<void> {
  const { engine, scheduler } = runtime
  const end = async () => {
    readiness.drain()
    principals.close()
    let cancel = clock.after(gracePeriodMs, () => {
      predictor.abandon(draining())
      runtime.abandon(draining())
      cancel = clock.after(LAST_ANSWERS_MS, () => app.server.closeAllConnections())
    })
    // Whatever fails to end, the parts below it are ended too; the first failure is told.
    try {
      await app.close()
    } finally {
      cancel()
      await runtime.specialists?.close()
      await scheduler.drain()
      try {
        await registry.close()
      } finally {
        await Promise.all([engine.stop(), processes.stop()])
      }
    }
  }
  let ended: Promise<void> | undefined
  return () => {
    ended ??= end()
    return ended
  }
}
