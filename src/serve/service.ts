/**
 * The one place where the parts are put together: family, engine, store, registry, scheduler, predictor, HTTP.
 *
 * Knows every part's constructor and no part's inside. Signals and exit codes are `main.ts`'s.
 */
import { readdir, readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import type { Worker } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { BatchSizer, largestBatch } from '../scheduler/batch-size.js'
import type { Clock } from '../concurrency/clock.js'
import type { ServeConfig } from '../config/config.js'
import { rowBytes } from '../engine/bank-spec.js'
import { Engine } from '../engine/engine.js'
import { deviceName } from '../engine/runtime/runtime.js'
import { draining, engineRestarting } from '../errors.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import type { Family } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import { naming } from '../host/file-problem.js'
import { Gate } from '../concurrency/gate.js'
import type { HttpConfig } from '../http/exchange/deps.js'
import { exposures } from '../http/access/exposure.js'
import { addressError, checkAddress } from '../http/connections/port.js'
import { Principals } from '../http/access/token-file.js'
import { packageFile, VERSION } from '../host/package.js'
import { batchRunner, Predictor, type Sample, type SampleResult } from '../predict/predictor.js'
import { showBytes } from '../config/quantities.js'
import { RateLimit } from '../predict/rate-limit.js'
import { Readiness } from '../predict/readiness.js'
import { createCanary } from '../residency/canary.js'
import { Residency } from '../residency/residency.js'
import { ListedVersions } from '../registry/listed-versions.js'
import { baseSeed, describePack } from '../registry/opening.js'
import { Registry } from '../registry/registry.js'
import { Scheduler } from '../scheduler/scheduler.js'
import type { StoreFs } from '../store/fs.js'
import { LocalStore } from '../store/local.js'
import { readSeeds } from '../store/seeds.js'

export interface Service {
  /** Where it listens, `http://host:port`. */
  readonly url: string
  readonly family: string
  readonly app: FastifyInstance
  readonly engine: Engine
  readonly registry: Registry
  readonly scheduler: Scheduler<Sample, SampleResult>
  /** From now on `/readyz` fails; requests in flight are answered, then every part ends. Idempotent. */
  stop(): Promise<void>
}

/** What a test may put in the place of the real thing to inject a fault. */
export interface ServiceParts {
  logger: Logger
  clock: Clock
  /** The engine's thread. */
  createWorker?: () => Worker
  /** The store's file system. */
  fs?: StoreFs
}

/**
 * Builds the service and listens. When a part fails to start, those that did are stopped again.
 *
 * @throws FacetError or Error that says which part failed and what would mend it
 */
export async function startService(config: ServeConfig, parts: ServiceParts): Promise<Service> {
  const { logger, clock } = parts
  await checkInputs(config)
  const family = await readFamily(config.family)
  const { layout } = family
  const principals = await Principals.open(config, clock, logger)
  checkMemory(config, family)
  const engine = new Engine({
    family,
    rows: Math.floor(config.bankMemory / rowBytes(layout, config.bankDtype, 0, 0)),
    memory: config.bankMemory,
    bankDtype: config.bankDtype,
    bankMode: config.bank,
    device: config.device,
    lanes: config.lanes,
    threads: config.threads,
    // A larger one, and a GPU's, would make for a long start.
    warmBatch: config.device.kind === 'cpu' ? Math.min(config.maxBatch.max, largestBatch.cpu) : 1,
    logger,
    clock,
    ...(parts.createWorker && { createWorker: parts.createWorker }),
  })
  // Its threads load the trunk while this one loads and builds all the rest.
  const started = engine.start()
  started.catch(() => {})
  try {
    return await serveOn(engine, started, { family, principals }, config, parts)
  } catch (error) {
    await engine.stop()
    throw error
  }
}

/** All parts around an engine that is starting. */
async function serveOn(
  engine: Engine,
  started: Promise<void>,
  { family, principals }: { family: Family; principals: Principals },
  config: ServeConfig,
  { logger, clock, fs }: ServiceParts,
): Promise<Service> {
  const { manifest } = family
  const [seeds, openapi, { buildApp }, { decodeImage }, { Metrics }] = await Promise.all([
    readSeeds(config.adapters, describePack),
    readFile(packageFile('openapi.yaml'), 'utf8'),
    import('../http/app.js'),
    import('../image/decode.js'),
    import('./metrics.js'),
  ])
  const metrics = new Metrics({
    maxDomains: config.metricsMaxDomains,
    version: VERSION,
    family: manifest.name,
    device: deviceName(config.device),
  })
  const readiness = new Readiness({ engine, clock, logger, timeoutMs: config.requestTimeout })
  const sizer = new BatchSizer(config.maxBatch)
  const scheduler = new Scheduler<Sample, SampleResult>({
    run: batchRunner(engine, clock, imageSizes(manifest), ({ size, ms, inferenceMs }) => {
      sizer.record(size, ms)
      metrics.inference(inferenceMs / 1000)
    }),
    clock,
    lanes: () => engine.readyLanes,
    maxBatch: () => sizer.size,
    runMs: (size) => sizer.runMs(size),
    maxQueue: config.maxQueue,
    maxQueuePerDomain: config.maxQueuePerDomain,
    observe: {
      queued: (ms) => metrics.queue(ms / 1000),
      batch: (size, domains) => metrics.batch(size, domains),
      rejected: (reason) => metrics.rejected(reason),
    },
  })
  engine.on('down', () => {
    scheduler.rejectAll(engineRestarting())
  })
  const store = new LocalStore({
    dir: config.data,
    quota: config.storeQuota,
    clock,
    logger,
    ...(fs && { fs }),
  })
  const versions = new ListedVersions(store, baseSeed(family))
  const residency = new Residency({
    family,
    engine,
    versions,
    canary: createCanary(engine, manifest.input),
    clock,
    logger,
    limits: {
      loadTimeoutMs: config.loadTimeout,
      minResidencyMs: config.minResidency,
      bankDtype: config.bankDtype,
      memory: config.bankMemory,
    },
    observe: {
      load: (outcome, tier, seconds) => metrics.adapterLoad(outcome, tier, seconds),
      miss: () => metrics.miss(),
      eviction: (seconds) => metrics.eviction(seconds),
    },
  })
  const registry = new Registry({
    versions,
    residency,
    store,
    seeds,
    clock,
    logger,
    keepVersions: config.keepVersions,
    observe: { forget: (domain) => metrics.forgetDomain(domain) },
  })
  metrics.observe({
    queueLength: () => scheduler.length,
    memory: () => registry.memory(),
    domains: () => registry.counts(),
    knowsDomain: (domain) => registry.has(domain),
    maxBatch: () => sizer.size,
    pinned: () => registry.pinned(),
    lruAge: () => registry.lruAge(),
    storeBytes: () => store.usage().bytes,
    bankCapacity: () => config.bankMemory,
  })
  const refused = (reason: string) => metrics.rejected(reason)
  const decoding = new Gate({
    width: config.decodeThreads,
    clock,
    maxWaiting: config.maxQueue,
    maxWaitingOfOne: config.maxQueuePerDomain,
    words: { task: 'decoded', option: '--max-queue', optionOfOne: '--max-queue-per-domain' },
    refused,
  })
  const { rateLimit: rate, rateBurst: burst } = config
  const rateLimit = rate > 0 ? new RateLimit({ rate, burst, clock, refused }) : undefined
  const predictor = new Predictor({
    decode: (image, wait) => {
      const limits = { maxPixels: config.maxImagePixels, ...(wait.signal && { signal: wait.signal }) }
      return decoding.run(() => decodeImage(image, manifest.input, limits), wait)
    },
    admit: (counts) => {
      decoding.admit(counts)
      rateLimit?.take(counts)
    },
    acquire: (domain, version, options) => registry.acquire(domain, version, options),
    scheduler,
    clock,
    observe: {
      decode: (seconds) => metrics.decode(seconds),
      images: (domain, outcome, count) => metrics.images(domain, outcome, count),
    },
  })
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
    execution: () => {
      const { lanes, bankDtype } = config
      return { provider: engine.provider, lanes, maxBatch: sizer.size, bankDtype }
    },
    openapi,
    version: VERSION,
  })
  const stop = stopper({ app, principals, readiness, scheduler, engine, registry, clock }, config.gracePeriod)
  try {
    // In this order the pinned domains are resident before the first request comes.
    await started
    await registry.open()
    await app.listen({ host: config.host, port: config.port })
  } catch (error) {
    await stop()
    throw addressError(error, config.host, config.port)
  }
  principals.watch()
  for (const risk of exposures(config.host, principals.current, config)) logger.warn({ risk }, 'exposed')
  return { url: address(app), family: manifest.name, app, engine, registry, scheduler, stop }
}

/**
 * What can be known to fail before anything heavy is loaded: folders that were named and are not there, an
 * address that cannot be had.
 */
async function checkInputs({ family, adapters, adaptersGiven, host, port }: ServeConfig): Promise<void> {
  const familyRemedy = 'Build one with facet family build, or leave the option out for the shipped one.'
  await naming('The family (--family)', family, familyRemedy, () => readdir(family))
  const adaptersRemedy = 'Name a folder of <domain>.safetensors files, or leave the option out.'
  if (adaptersGiven)
    await naming('The shipped packs (--adapters)', adapters, adaptersRemedy, () => readdir(adapters))
  if (port !== 0) await checkAddress(host, port)
}

/** The base is always resident, and a domain needs room beside it: one of the base's size at least. */
function checkMemory({ bankMemory, bankDtype }: ServeConfig, { manifest, layout, base }: Family): void {
  const { classes = 0 } = base.head ?? {}
  const least = 2 * rowBytes(layout, bankDtype, manifest.features, classes)
  if (bankMemory >= least) return
  throw new Error(
    `--bank-memory ${showBytes(bankMemory)} holds no domain: the base of family '${manifest.name}' and one more domain of its size take ${least} bytes. Give it ${Math.ceil(least / 2 ** 20)}MiB or more.`,
  )
}

function imageSizes({ input, features }: FamilyManifest): { pixels: number; features: number } {
  return { pixels: input.height * input.width * 3, features }
}

function httpConfig(config: ServeConfig): HttpConfig {
  return {
    host: config.host,
    trustProxy: config.trustedProxy,
    maxBody: config.maxBody,
    maxBodies: config.maxBodies,
    maxPack: config.maxPack,
    maxImages: config.maxImages,
    maxUploads: config.maxUploads,
    maxHeaderSize: config.maxHeader,
    maxConnections: config.maxConnections,
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
 * answered, then the queue, the engine and the store. Past the grace period what still waits is refused and
 * its connections are closed.
 */
function stopper(
  parts: Pick<Service, 'app' | 'engine' | 'registry' | 'scheduler'> & {
    principals: Principals
    readiness: Readiness
    clock: Clock
  },
  gracePeriodMs: number,
): () => Promise<void> {
  const { app, principals, readiness, scheduler, engine, registry, clock } = parts
  const end = async () => {
    readiness.drain()
    principals.close()
    const cancel = clock.after(gracePeriodMs, () => {
      scheduler.rejectAll(draining())
      app.server.closeAllConnections()
    })
    // Whatever fails to end, the parts below it are ended too; the first failure is told.
    try {
      await app.close()
    } finally {
      cancel()
      await scheduler.drain()
      try {
        await registry.close()
      } finally {
        await engine.stop()
      }
    }
  }
  let ended: Promise<void> | undefined
  return () => {
    ended ??= end()
    return ended
  }
}
