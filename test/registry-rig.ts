/**
 * A registry for tests: the real store on a disk in memory, real packs of a tiny family, the real canary, a
 * clock that tests move, and a small engine that keeps its rows in memory and computes with them.
 */
import { EventEmitter } from 'node:events'
import { pino } from 'pino'
import type { Test } from 'tap'
import type { EngineEvents } from '../src/engine/engine.js'
import type { EngineState } from '../src/engine/lifecycle.js'
import type { EngineBatch, EngineResult, RowTensors } from '../src/engine/batch.js'
import { FacetError } from '../src/errors.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { SharedBudget } from '../src/concurrency/shared-budget.js'
import { createFamily, type Family } from '../src/family/family.js'
import type { Pack } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { type Canary, createCanary } from '../src/residency/canary.js'
import { ListedVersions } from '../src/registry/listed-versions.js'
import type { Change } from '../src/registry/options.js'
import { baseSeed, describePack } from '../src/registry/opening.js'
import { Registry } from '../src/registry/registry.js'
import { preparer } from '../src/residency/prepare.js'
import { Residency, type ResidencyLimits, type ResidencyOptions } from '../src/residency/residency.js'
import { sha256Now } from '../src/bytes/digest.js'
import { LocalStore } from '../src/store/local.js'
import type { Seed } from '../src/store/seeds.js'
import { tinyFamily, tinyPack } from './families.js'
import { ManualClock, settle } from './manual-clock.js'
import { MemoryFs, type MemoryFsOptions } from './memory-fs.js'

export interface Made {
  bytes: Uint8Array
  version: string
}

/** A promise that a step of the engine or the store waits for. */
export type Step = (name: string) => Promise<void>

/** Keeps rows as an engine does: in order, one content a row, and loses all of them in a crash. */
export class MemoryEngine extends EventEmitter<EngineEvents> {
  readonly rows: number
  readonly trunks = 1
  readonly precision = 'fp32'
  readonly dedicatedNetworks = 0
  state: EngineState = 'ready'
  generation = 1
  /** Rows written so far, in order. */
  readonly written: number[] = []
  step: Step = async () => {}
  readonly #features: number
  readonly #contents = new Map<number, RowTensors>()
  readonly #pending = new Set<(error: Error) => void>()

  constructor(rows: number, features: number) {
    super()
    this.rows = rows
    this.#features = features
  }

  /** The marker of the pack in a row (`makePack`), or undefined for an empty one. */
  marker(row: number): number | undefined {
    return this.#contents.get(row)?.head?.bias[0]
  }

  writeRow(row: number, tensors: RowTensors): Promise<void> {
    if (row < 1 || row >= this.rows) throw new RangeError(`row ${row}`)
    return this.#alive('writeRow', () => {
      this.#contents.set(row, tensors)
      this.written.push(row)
    })
  }

  clear(row: number): void {
    this.#contents.delete(row)
  }

  hasDedicated(): boolean {
    return false
  }

  /** A feature is the image's mean under the first scale; overflow gives Infinity, as in the real trunk. */
  run({ pixels, rows }: EngineBatch, generation: number): Promise<EngineResult> {
    return this.#alive('run', () => {
      if (generation !== this.generation) throw restarting()
      const size = pixels.length / rows.length
      const features = new Float32Array(rows.length * this.#features)
      const logits = Array.from(rows, (row, sample) => {
        const { tensors, head } = this.#contents.get(row)!
        const [affine] = tensors
        const image = pixels.subarray(sample * size, (sample + 1) * size)
        const mean = image.reduce((sum, value) => sum + value, 0) / size
        features.fill(mean * affine![6]!, sample * this.#features, (sample + 1) * this.#features)
        return head === null
          ? null
          : head.bias.map((bias, index) => bias + mean * head.weight[index * this.#features]!)
      })
      return { features, logits, inferenceMs: 1, runs: 1 }
    })
  }

  crash(): void {
    this.state = 'restarting'
    this.#contents.clear()
    for (const reject of this.#pending) reject(restarting())
    this.#pending.clear()
    this.emit('down', new Error('crash'))
  }

  recover(): void {
    this.state = 'ready'
    this.generation++
    this.emit('up', this.generation)
  }

  async #alive<T>(name: string, work: () => T): Promise<T> {
    if (this.state !== 'ready') throw restarting()
    return new Promise<T>((resolve, reject) => {
      this.#pending.add(reject)
      this.step(name)
        .then(() => {
          if (!this.#pending.delete(reject)) return
          resolve(work())
        })
        .catch(reject)
    })
  }
}

function restarting(): FacetError {
  return new FacetError('engine_restarting', 'Restarting.', { retryAfter: 1 })
}

export interface RigOptions {
  rows?: number
  seeds?: Record<string, Made>
  fs?: MemoryFsOptions
  quota?: number
  keepVersions?: number
  limits?: Partial<ResidencyLimits>
  /** Bytes of adapters and heads; unbounded unless given. */
  memory?: number
}

export interface Observed {
  loads: [outcome: 'ok' | 'error', tier: string][]
  misses: number
  evictions: number[]
  forgotten: string[]
  changes: Change[]
}

export const manifest: FamilyManifest = tinyFamily()
const basePack = tinyPack(manifest)
const baseBytes = writePack(basePack, manifest, { dtype: 'f32' })
export const base: Made = { bytes: baseBytes, version: sha256Now(baseBytes) }
manifest.files['base.safetensors'] = { sha256: base.version, bytes: baseBytes.length }

export function makeFamily(dir: string): Family {
  return createFamily(dir, manifest, basePack)
}

/** A valid pack. Packs with different markers (whole numbers) differ in every tensor. */
export function makePack(marker: number, changes: Partial<Pack> = {}): Made {
  const pack = tinyPack(manifest, (index) => ((index * 31 + marker * 7) % 64) / 64)
  pack.head!.bias[0] = marker
  const whole = { ...pack, labels: [`${marker}a`, `${marker}b`, `${marker}c`], ...changes }
  const bytes = writePack(whole, { ...manifest, fingerprint: whole.family }, { dtype: 'f32' })
  return { bytes, version: sha256Now(bytes) }
}

/** One run of a process: a registry with its engine, on a disk that outlives it. */
export class Rig {
  readonly clock = new ManualClock()
  readonly observed: Observed = { loads: [], misses: 0, evictions: [], forgotten: [], changes: [] }
  readonly engine: MemoryEngine
  readonly fs: MemoryFs
  readonly store: LocalStore
  readonly bank: Residency
  readonly registry: Registry
  /** Canary runs so far. */
  canaries = 0
  readonly #dir: string
  readonly #options: RigOptions

  constructor(dir: string, options: RigOptions = {}) {
    this.#dir = dir
    this.#options = options
    const { clock, observed } = this
    this.fs = new MemoryFs(options.fs)
    this.store = new LocalStore({ dir: '/data', fs: this.fs, clock, quota: options.quota ?? Infinity })
    this.engine = new MemoryEngine(options.rows ?? 8, manifest.features)
    const run = createCanary(this.engine, manifest.input)
    const canary: Canary = (row, generation) => {
      this.canaries++
      return run(row, generation)
    }
    const family = makeFamily(dir)
    const logger = pino({ level: 'silent' })
    const base = baseSeed(family)
    const versions = new ListedVersions(this.store, [base])
    this.bank = new Residency({
      family,
      engine: this.engine as unknown as ResidencyOptions['engine'],
      versions: versions.ofFamily(base),
      canary,
      budget: new SharedBudget(options.memory ?? Infinity),
      clock,
      logger,
      limits: { loadTimeoutMs: 10_000, minResidencyMs: 0, bankDtype: 'f32', ...options.limits },
      observe: {
        load: (outcome, tier) => void observed.loads.push([outcome, tier]),
        miss: () => void observed.misses++,
        eviction: (age) => void observed.evictions.push(age),
      },
    })
    this.registry = new Registry({
      versions,
      residencies: [this.bank],
      prepare: preparer([family], 'f32'),
      store: this.store,
      seeds: Object.entries(options.seeds ?? {}).map(seedOf),
      clock,
      logger,
      keepVersions: options.keepVersions ?? 3,
      observe: {
        forget: (domain) => void observed.forgotten.push(domain),
        audit: (change) => void observed.changes.push(change),
      },
    })
  }

  /** Closes this run and starts the next one on the same disk. */
  async restart(options: RigOptions = {}): Promise<Rig> {
    await this.registry.close()
    return this.copy(options)
  }

  /** Starts the next run on the same disk without closing this one. */
  async copy(options: RigOptions = {}): Promise<Rig> {
    const next = new Rig(this.#dir, { ...this.#options, fs: { disk: this.fs.disk }, ...options })
    await next.registry.open()
    return next
  }

  put(domain: string, { bytes }: Made, activate = true) {
    return this.registry.put(domain, bytes, { activate })
  }

  /** The marker of the pack with which a request would be answered. Returns its lease. */
  async serves(domain: string, version?: string): Promise<number | undefined> {
    const lease = await this.registry.acquire(domain, version)
    const marker = this.engine.marker(lease.row)
    lease.release()
    return marker
  }

  /** Makes a domain resident, and returns the lease. */
  async touch(...domains: string[]): Promise<void> {
    for (const domain of domains) (await this.registry.acquire(domain)).release()
  }

  /** Registers packs and restarts the engine, so that all of them are cold. */
  async register(packs: Record<string, Made>): Promise<void> {
    for (const [domain, made] of Object.entries(packs)) await this.put(domain, made)
    this.engine.crash()
    this.engine.recover()
    await settle()
  }

  residency(domain: string): string {
    return this.registry.get(domain).residency
  }

  /** Versions of the blobs in the store. */
  async blobs(): Promise<string[]> {
    const written = this.fs.log
      .flatMap((operation) => (operation.name === 'rename' ? [operation.to] : []))
      .filter((path) => path.endsWith('.safetensors'))
      .map((path) => path.slice(-'.safetensors'.length - 64, -'.safetensors'.length))
    const there = await Promise.all(written.map((version) => this.store.hasBlob(version)))
    return written.filter((_, index) => there[index])
  }
}

export async function openRig(t: Test, options: RigOptions = {}): Promise<Rig> {
  const rig = new Rig(t.testdir({ 'base.safetensors': Buffer.from(base.bytes) }), options)
  await rig.registry.open()
  return rig
}

/** Tells whether a promise has settled, and how, without waiting for it. */
export function track<T>(promise: Promise<T>): {
  state: 'pending' | 'done' | 'failed'
  value?: T
  error?: FacetError
} {
  const tracked: ReturnType<typeof track<T>> = { state: 'pending' }
  promise.then(
    (value) => Object.assign(tracked, { state: 'done', value }),
    (error) => Object.assign(tracked, { state: 'failed', error }),
  )
  return tracked
}

/** A step that waits until the test lets it through. */
export class Barrier {
  readonly #waiting: (() => void)[] = []
  #open = false

  readonly step = (): Promise<void> =>
    this.#open ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve))

  get waiting(): number {
    return this.#waiting.length
  }

  pass(): void {
    this.#open = true
    for (const resume of this.#waiting.splice(0)) resume()
  }
}

/** The path of a pack in the rig's store. */
export function blobPath({ version }: Made): string {
  return `/data/blobs/${version.slice(0, 2)}/${version}.safetensors`
}

function seedOf([domain, { bytes, version }]: [string, Made]): Seed {
  const record = { version, bytes: bytes.length, created: '', design: 'unknown', classes: 0, seed: true }
  const seed = { domain, path: `${domain}.safetensors`, read: async () => bytes.slice() }
  try {
    return { ...seed, record: { ...record, ...describePack(bytes, [{ manifest, base: basePack }]) } }
  } catch (failure) {
    return { ...seed, record, failure }
  }
}
