/**
 * What HTTP needs from the rooms below it, and its limits. Types only.
 *
 * The routes use the registry and the predictor through these interfaces; they neither build nor close them.
 */
import type { Logger } from 'pino'
import type { ErrorCode } from '../../errors.js'
import type { Clock } from '../../concurrency/clock.js'
import type { FamilyManifest } from '../../manifest/manifest.js'
import type { PredictItem, PredictOptions, PredictResult, PredictTimings } from '../../predict/predictor.js'
import type { Statistics } from '../../predict/statistics.js'
import type {
  DomainView,
  ListOptions,
  PackOfVersion,
  Preconditions,
  Registration,
} from '../../registry/types.js'
import type { MemoryAccount, TotalMemory } from '../../residency/types.js'
import type { Principal } from '../access/tokens.js'
import type { Tracing } from './trace.js'

/** The registry, as the routes use it. */
export interface Domains {
  has(domain: string): boolean
  ids(): Iterable<string>
  /** @throws FacetError `unknown_domain` */
  get(domain: string): DomainView
  list(options: ListOptions): { domains: DomainView[]; nextCursor: string | null }
  put(
    domain: string,
    bytes: Uint8Array,
    options: { activate: boolean } & Preconditions,
  ): Promise<Registration & { view: DomainView }>
  activate(domain: string, version: string, pre: Preconditions): Promise<DomainView>
  /** Makes the newest version active where none is. */
  activateNewest(domain: string): Promise<DomainView>
  deactivate(domain: string, pre: Preconditions): Promise<DomainView>
  /** Loads the active version; undefined where it is resident. */
  warm(domain: string): Promise<void> | undefined
  patch(domain: string, change: { pinned: boolean }, pre: Preconditions): Promise<DomainView>
  remove(domain: string, pre: Preconditions): Promise<void>
  removeVersion(domain: string, version: string, pre: Preconditions): Promise<void>
  pack(domain: string, version?: string): PackOfVersion
}

/** The predictor, as the routes use it. */
export interface Predicting {
  predict(
    items: readonly PredictItem[],
    options: PredictOptions,
  ): Promise<{ results: PredictResult[]; timings: PredictTimings }>
}

/** Hears what was predicted. */
export interface PredictionRecorder {
  /** @param results all with a head */
  record(requestId: string, results: readonly PredictResult[]): void
}

/** The option that bounds connections. */
export type ConnectionBound = 'max_connections' | 'max_connections_per_peer'

/** The metrics, as the routes use them. */
export interface RequestMetrics {
  /** @param method empty where the request could not be read */
  request(route: string, code: number, seconds: number, method: string): void
  /** A connection beyond a bound was opened. */
  connectionRefused(bound: ConnectionBound): void
  text(): Promise<string>
  readonly contentType: string
}

/** How a family's trunk runs. */
export interface Execution {
  /** `cpu`, or `cuda:0`. */
  provider: string
  /** What runs the trunk. */
  runtime: 'native' | 'stock'
  /** What its frozen convolutions compute with. */
  precision: 'fp32' | 'fp16' | 'int8'
  /** Number of runs that go in parallel. */
  lanes: number
  /** Images of one run at most. */
  maxBatch: number
  /** Number type of the bank's rows. */
  bankDtype: string
}

/** A family, as the routes show it. */
export interface ServedFamily {
  readonly manifest: FamilyManifest
  readonly execution: Execution
  memory(): MemoryAccount
}

/** Limits and settings of HTTP. Sizes are bytes; each is the largest that is allowed. */
export interface HttpConfig {
  /** The address the service listens on; beyond loopback the control plane needs a token. */
  host: string
  /** Origins whose pages may read the answers; `*` for all. */
  corsOrigins: readonly string[]
  /** Addresses or networks of proxies whose `X-Forwarded-For` names the client in the logs. */
  trustProxy: readonly string[]
  /** One body of a predict or embed request. */
  maxBody: number
  /** Bodies of all predict and embed requests at once: what has come of each, until its answer. */
  maxBodies: number
  /** Bytes a second that a body must bring at least; 0 for no bound. */
  minBodyRate: number
  /** One pack. */
  maxPack: number
  /** Number of images of one request. */
  maxImages: number
  /** Number of pack uploads at once. */
  maxUploads: number
  /** All header fields of a request together. */
  maxHeaderSize: number
  /** Number of open connections; for any more, silent ones are closed. */
  maxConnections: number
  /** Of one peer that is no trusted proxy. The requests of any more are refused. */
  maxConnectionsPerPeer: number
  /** From the first byte of a request to its last, ms. */
  receiveTimeoutMs: number
  /** Time after which an idle connection is closed, ms. */
  keepAliveTimeoutMs: number
  /** Time for a predict request that names none, ms. */
  timeoutMs: number
  /** Longest time a client may ask for, ms; a longer one is cut to it. */
  maxTimeoutMs: number
}

/** A file of a page for browsers. */
export interface PageFile {
  body: Buffer
  /** Its media type. */
  type: string
  /** SHA-256 of the body in hex, its entity tag. */
  tag: string
}

/** By path, such as `/dashboard/app.js`. */
export type PageFiles = ReadonlyMap<string, PageFile>

/** Whether the service takes work; `reason` is one sentence for people. */
export interface ReadyAnswer {
  ready: boolean
  reason?: string
  /** Defaults to `engine_restarting`. */
  code?: ErrorCode
}

export interface AppDeps {
  registry: Domains
  predictor: Predicting
  metrics: RequestMetrics
  statistics: Pick<Statistics, 'of'>
  /** The first one first. */
  families: readonly [ServedFamily, ...ServedFamily[]]
  /** The memory account of all families together. */
  memory(): TotalMemory
  /** Called for each request: the token file may have been read again in the meantime. */
  principals(): readonly Principal[]
  config: HttpConfig
  logger: Logger
  predictionLog?: PredictionRecorder | undefined
  /** Where each request is recorded as a span. */
  tracing?: Tracing | undefined
  clock: Clock
  readiness(): ReadyAnswer | Promise<ReadyAnswer>
  /** True from the beginning of an orderly stop. Each connection is then closed after its answer. */
  draining(): boolean
  /** The files of the pages for browsers. */
  pages: PageFiles
  /** The API's description, in both forms. */
  openapi: { yaml: string; json: string }
  /** Version of the software. */
  version: string
}
