/**
 * The HTTP application over small parts: a registry in memory whose packs are JSON, and the real predictor
 * and scheduler with a "trunk" that counts bytes. No engine, no files.
 *
 * An image is `IMG` and then its pixels, one byte each. The score of class k is the number of pixels of value
 * k.
 */
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { type Clock, systemClock } from '../src/concurrency/clock.js'
import { FacetError } from '../src/errors.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { buildApp } from '../src/http/app.js'
import type { AppDeps, Domains, HttpConfig, ServedFamily } from '../src/http/exchange/deps.js'
import { variablePrincipals } from '../src/http/access/tokens.js'
import { Metrics } from '../src/serve/metrics.js'
import { Admission } from '../src/predict/admission.js'
import { Statistics } from '../src/predict/statistics.js'
import type { Sample, SampleResult } from '../src/predict/batch-runner.js'
import { type AcceptedImage, Predictor } from '../src/predict/predictor.js'
import { totalMemory } from '../src/residency/memory.js'
import type { MemoryAccount } from '../src/residency/types.js'
import type { DomainView, Lease, ListOptions, PackInfo, Preconditions } from '../src/registry/types.js'
import { Scheduler } from '../src/scheduler/scheduler.js'
import { until } from './until.js'

export const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

export const image = (...pixels: number[]) => Buffer.from([...Buffer.from('IMG'), ...pixels])

/** A pack for the registry in memory; without labels it serves `embed` only. `note`: what it says of itself. */
export const pack = (labels: string[] | null, note: string | Partial<PackInfo> = '') =>
  Buffer.from(JSON.stringify({ labels, note }))

interface Version {
  version: string
  bytes: Uint8Array
  labels: string[] | null
}

interface Domain {
  versions: Version[]
  active: string | null
  pinned: boolean
}

export class MemoryDomains implements Domains {
  readonly #domains = new Map<string, Domain>()
  /** Classes by row, for the trunk. */
  readonly rows: Version[] = []
  /** Awaited inside `put`, so that a test can hold an upload. */
  gate: Promise<void> = Promise.resolve()
  active = 0
  /** Packs whose bytes were read. */
  packsRead = 0

  has(id: string): boolean {
    return this.#domains.has(id)
  }

  ids() {
    return this.#domains.keys()
  }

  get(id: string): DomainView {
    const { versions, active, pinned } = this.#domain(id)
    const serving = versions.find(({ version }) => version === active)
    return {
      domain: id,
      version: active,
      versions: versions.map(({ version, bytes, labels }) => ({
        version,
        bytes: bytes.length,
        created: '2026-01-01T00:00:00.000Z',
        design: 'parallel',
        classes: labels?.length ?? 0,
        family: manifest.name,
        active: version === active,
        residency: version === active ? 'resident' : 'cold',
      })),
      residency: active === null ? 'inactive' : 'resident',
      pinned,
      seed: false,
      bytes: { pack: serving?.bytes.length ?? 0, resident: 100 },
      family: serving ? manifest.name : null,
      design: serving ? 'parallel' : null,
      classes: serving?.labels?.length ?? 0,
      updated: '2026-01-01T00:00:00.000Z',
    }
  }

  list({ limit, cursor, only }: ListOptions) {
    const ids = [...this.#domains.keys()]
      .filter((id) => (cursor === undefined || id > cursor) && (!only || only.has(id)))
      .sort()
    const page = ids.slice(0, limit)
    return {
      domains: page.map((id) => this.get(id)),
      nextCursor: ids.length > limit ? page.at(-1)! : null,
    }
  }

  async put(id: string, bytes: Uint8Array, { activate, ...pre }: { activate: boolean } & Preconditions) {
    this.active++
    await this.gate
    this.active--
    const labels = parsePack(bytes)
    this.#check(id, pre)
    const created = !this.#domains.has(id)
    const domain = this.#domains.get(id) ?? { versions: [], active: null, pinned: false }
    this.#domains.set(id, domain)
    const version = sha256(bytes)
    if (!domain.versions.some((old) => old.version === version))
      domain.versions.push({ version, bytes, labels })
    if (activate) domain.active = version
    return { created, version, view: this.get(id), projection: null }
  }

  async activate(id: string, prefix: string, pre: Preconditions) {
    const domain = this.#domain(id)
    this.#check(id, pre)
    domain.active = this.#find(domain, prefix).version
    return this.get(id)
  }

  async activateNewest(id: string) {
    const domain = this.#domain(id)
    domain.active ??= domain.versions.at(-1)!.version
    return this.get(id)
  }

  async deactivate(id: string, pre: Preconditions) {
    if (id === 'base') throw new FacetError('base_immutable', 'The base cannot be changed.')
    const domain = this.#domain(id)
    this.#check(id, pre)
    domain.active = null
    return this.get(id)
  }

  /** Domains that were loaded. */
  readonly warmed: string[] = []

  warm(id: string) {
    this.#asked(id, undefined)
    this.warmed.push(id)
    return undefined
  }

  async patch(id: string, { pinned }: { pinned: boolean }, pre: Preconditions) {
    const domain = this.#domain(id)
    this.#check(id, pre)
    domain.pinned = pinned
    return this.get(id)
  }

  async remove(id: string, pre: Preconditions) {
    if (id === 'base') throw new FacetError('base_immutable', 'The base domain cannot be deleted.')
    this.#domain(id)
    this.#check(id, pre)
    this.#domains.delete(id)
  }

  async removeVersion(id: string, prefix: string, pre: Preconditions) {
    const domain = this.#domain(id)
    this.#check(id, pre)
    const { version } = this.#find(domain, prefix)
    if (version === domain.active) throw new FacetError('version_active', 'The version is active.')
    domain.versions = domain.versions.filter((other) => other.version !== version)
  }

  pack(id: string, prefix?: string) {
    const { version, bytes } = this.#asked(id, prefix)
    const read = async () => {
      this.packsRead++
      return bytes
    }
    const describe = async (): Promise<PackInfo> => {
      const { labels, ...more } = JSON.parse(Buffer.from(await read()).toString())
      const { fingerprint: family, design } = manifest
      const channels: [number, number, number] = [0.5, 0.5, 0.5]
      const about = typeof more.note === 'object' ? more.note : {}
      return { family, design, labels, activation: 'softmax', mean: channels, std: channels, ...about }
    }
    return { version, read, describe }
  }

  async acquire(id: string, prefix: string | undefined): Promise<Lease> {
    const found = this.#asked(id, prefix)
    const row = this.rows.push(found) - 1
    const { version, labels } = found
    const classes = labels?.length ?? 0
    return {
      domain: id,
      version,
      family: manifest.fingerprint,
      row,
      generation: 0,
      labels,
      activation: 'softmax',
      classes,
      release() {},
    }
  }

  #domain(id: string): Domain {
    const domain = this.#domains.get(id)
    if (!domain) throw new FacetError('unknown_domain', `There is no domain '${id}'.`)
    return domain
  }

  /** The version that is meant, the active one by default. */
  #asked(id: string, prefix: string | undefined): Version {
    const domain = this.#domain(id)
    if (prefix === undefined && domain.active === null)
      throw new FacetError('no_active_version', `Domain '${id}' has no active version.`)
    return this.#find(domain, prefix ?? domain.active!)
  }

  #find(domain: Domain, prefix: string): Version {
    const found = domain.versions.find(({ version }) => version.startsWith(prefix))
    if (!found) throw new FacetError('unknown_version', `There is no version ${prefix}.`)
    return found
  }

  #check(id: string, { ifMatch, ifNoneMatch }: Preconditions) {
    const active = this.#domains.get(id)?.active ?? null
    const matches = (tags: readonly string[] | '*') =>
      tags === '*' ? this.#domains.has(id) : active !== null && tags.includes(active)
    if ((ifMatch !== undefined && !matches(ifMatch)) || (ifNoneMatch !== undefined && matches(ifNoneMatch)))
      throw new FacetError('precondition_failed', 'The domain is not in the state asked for.')
  }
}

function parsePack(bytes: Uint8Array): string[] | null {
  try {
    return JSON.parse(Buffer.from(bytes).toString()).labels
  } catch (error) {
    throw new FacetError('invalid_pack', 'The pack is not valid.', {
      cause: error,
      problems: ['header: not JSON', 'tensors: none'],
    })
  }
}

/** Features are the number of pixels of each value 0-7; logits the first `classes` of them. */
function countingTrunk(rows: readonly Version[]) {
  return async (batch: Sample[]): Promise<SampleResult[]> =>
    batch.map(({ pixels, row }) => {
      const features = new Float32Array(8)
      for (const pixel of pixels) features[pixel % 8]! += 1
      const classes = rows[row]!.labels?.length ?? 0
      return { features, logits: classes > 0 ? features.slice(0, classes) : null, inferenceMs: 2 }
    })
}

async function open(bytes: Uint8Array): Promise<AcceptedImage> {
  if (Buffer.from(bytes.subarray(0, 3)).toString() !== 'IMG')
    throw new FacetError('undecodable_image', 'The bytes are not an image.')
  return { decode: async () => bytes.subarray(3) }
}

const manifest: FamilyManifest = {
  format: 'facet-family/1',
  name: 'tiny',
  fingerprint: 'f'.repeat(64),
  design: 'parallel',
  input: { height: 8, width: 8, resize: 8, kernel: 'linear', mean: [0, 0, 0], std: [1, 1, 1] },
  features: 8,
  slots: [{ name: 'c1', kind: 'conv', in: 3, out: 4, kernel: [3, 3], stride: [1, 1], columns: 3 }],
  parameters: { trunk: 100, adapter: 20, head: 0 },
  weights: 'e'.repeat(64),
  files: { 'trunk.onnx': { sha256: 'd'.repeat(64), bytes: 400 } },
  provenance: { source: 'test', created: '2026-01-01', tool: 'test' },
  license: 'Apache-2.0',
}

export const account: MemoryAccount = {
  trunk: 1000,
  adapters: 500,
  heads: 50,
  specialised: { networks: 1, bytes: 5 },
  rows: { used: 2, capacity: 8 },
  dedicated: 3000,
  saving: 2,
  breakEven: 1,
}

export const servedFamilies: readonly [ServedFamily] = [
  {
    manifest,
    execution: {
      provider: 'cpu',
      runtime: 'stock',
      precision: 'fp32',
      lanes: 1,
      maxBatch: 4,
      bankDtype: 'f32',
    },
    memory: () => account,
  },
]

export const testConfig: HttpConfig = {
  host: '127.0.0.1',
  corsOrigins: [],
  trustProxy: [],
  maxBody: 4096,
  maxBodies: 16 * 4096,
  minBodyRate: 0,
  maxPack: 8192,
  maxImages: 4,
  maxUploads: 2,
  maxHeaderSize: 8192,
  maxConnections: 50,
  maxConnectionsPerPeer: 50,
  receiveTimeoutMs: 10_000,
  keepAliveTimeoutMs: 5000,
  timeoutMs: 30_000,
  maxTimeoutMs: 60_000,
}

export interface TestAppOptions extends Partial<Omit<AppDeps, 'config'>> {
  config?: Partial<HttpConfig>
  adminToken?: string
  predictToken?: string
  clock?: Clock
}

export interface TestApp {
  app: FastifyInstance
  domains: MemoryDomains
  /** Log lines, parsed. */
  logs: Record<string, unknown>[]
}

/** Builds the application with two domains: `colours` (red, green, blue) and `shapes` (round, square). */
export async function testApp(
  t: { teardown(close: () => Promise<void>): void },
  options: TestAppOptions = {},
): Promise<TestApp> {
  const { config, adminToken, predictToken, clock = systemClock, ...deps } = options
  const domains = new MemoryDomains()
  await domains.put('colours', pack(['red', 'green', 'blue']), { activate: true })
  await domains.put('shapes', pack(['round', 'square']), { activate: true })
  const statistics = new Statistics(() => clock.date().getTime())
  const scheduler = new Scheduler<Sample, SampleResult>({
    run: (batch) => {
      statistics.ran(batch)
      return countingTrunk(domains.rows)(batch)
    },
    clock,
    lanes: () => 1,
    maxBatch: () => 4,
  })
  const logs: Record<string, unknown>[] = []
  const principals = variablePrincipals({ adminToken, predictToken })
  const metrics = new Metrics({ maxDomains: 10, version: '0.0.0', families: [manifest] })
  const app = await buildApp({
    registry: domains,
    predictor: new Predictor({
      admission: new Admission({ maxImages: 64, maxImagesOfDomain: 32, maxBytes: Number.POSITIVE_INFINITY }),
      familyOf: () => ({ fingerprint: manifest.fingerprint, input: manifest.input, open, scheduler }),
      acquire: (domain, version) => domains.acquire(domain, version),
      clock,
      observe: {
        answered: (results, timings, ms) => statistics.answered(results, timings, ms),
        failed: (domains, ms) => statistics.failed(domains, ms),
      },
    }),
    metrics,
    statistics,
    families: servedFamilies,
    memory: () => totalMemory([account], 1000),
    principals: () => principals,
    config: { ...testConfig, maxBodies: 16 * (config?.maxBody ?? testConfig.maxBody), ...config },
    logger: pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line)) }),
    clock,
    readiness: () => ({ ready: true }),
    draining: () => false,
    pages: new Map(),
    openapi: { yaml: 'openapi: 3.1.0\n', json: '{}' },
    version: '0.0.0',
    ...deps,
  })
  t.teardown(() => app.close())
  return { app, domains, logs }
}

/** A multipart body of named parts; a part without file name where `filename` is null. */
export function multipart(parts: { name: string; bytes: Uint8Array; filename?: string | null }[]) {
  const boundary = 'facet-test-boundary'
  const chunks = parts.flatMap(({ name, bytes, filename = 'x.bin' }) => [
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${filename === null ? '' : `; filename="${filename}"`}\r\n` +
        'Content-Type: image/png\r\n\r\n',
    ),
    bytes,
    Buffer.from('\r\n'),
  ])
  return {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    payload: Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)]),
  }
}

/** The page of metrics, once it has this text. */
export async function metricsWith(app: FastifyInstance, text: string): Promise<string> {
  let page = ''
  await until(async () => {
    page = (await app.inject('/metrics')).body
    return page.includes(text)
  })
  return page
}
