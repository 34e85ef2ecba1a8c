/**
 * Random interleavings of requests, changes and engine restarts over a bank that is too small, checked
 * against a model of what may be served when. The scheduler of fast-check decides which step of the engine
 * ends next.
 */
import fc from 'fast-check'
import t from 'tap'
import { FacetError } from '../src/errors.js'
import type { Lease } from '../src/registry/types.js'
import { settle } from './manual-clock.js'
import { Random } from './random.js'
import { makePack, Rig } from './registry-rig.js'

const domains = ['a', 'b', 'c', 'd']
const markers = [1, 2, 3, 4, 5]
const packs = new Map(markers.map((marker) => [marker, makePack(marker)]))
const markerOf = new Map(Array.from(packs, ([marker, { version }]) => [version, marker]))

type Op =
  | {
      type: 'acquire' | 'stage' | 'put' | 'activate' | 'version' | 'removeVersion'
      domain: string
      marker: number
    }
  | { type: 'remove' | 'pin' | 'unpin'; domain: string }
  | { type: 'release'; which: number }
  | { type: 'advance'; ms: number }
  | { type: 'restart' }

const domain = fc.constantFrom(...domains)
const marker = fc.constantFrom(...markers)
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ type: fc.constant('acquire' as const), domain, marker }) },
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constantFrom('put' as const, 'put', 'stage', 'activate', 'version', 'removeVersion'),
      domain,
      marker,
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('remove' as const, 'pin', 'unpin'), domain }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('release' as const), which: fc.nat(7) }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('advance' as const), ms: fc.constantFrom(1, 60, 400) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('restart' as const) }) },
)

/**
 * A request in flight: the versions that its domain had or may get while it waits; null if it serves none.
 */
interface Request {
  domain: string
  allowed: Set<string | null>
}

const benign = new Set([
  'unknown_domain',
  'no_active_version',
  'unknown_version',
  'version_active',
  'load_timeout',
  'bank_full',
  'engine_restarting',
  'pins_exceed_memory',
])

class Model {
  /** The active version of each domain after the acknowledged changes; no entry for an unknown domain. */
  readonly active = new Map<string, string | null>()
  readonly held: Lease[] = []
  readonly requests = new Set<Request>()
  readonly running = new Set<Promise<void>>()
  /** Versions that changes in flight may make active. */
  readonly #pending = new Set<{ domain: string; target: string | null }>()
  readonly #rig: Rig

  constructor(rig: Rig) {
    this.#rig = rig
  }

  start(op: Op): void {
    const { registry, clock, engine } = this.#rig
    switch (op.type) {
      case 'acquire':
        this.#request(op.domain)
        break
      case 'version':
        this.#track(async () => {
          const lease = await registry.acquire(op.domain, packs.get(op.marker)!.version)
          if (lease.version !== packs.get(op.marker)!.version)
            throw new Error('another version than asked for')
          this.held.push(lease)
        })
        break
      case 'put':
        this.#change(op.domain, packs.get(op.marker)!.version, async () => {
          await registry.put(op.domain, packs.get(op.marker)!.bytes, { activate: true })
          this.active.set(op.domain, packs.get(op.marker)!.version)
        })
        break
      case 'stage':
        this.#track(async () => {
          const { view } = await registry.put(op.domain, packs.get(op.marker)!.bytes, { activate: false })
          this.active.set(op.domain, view.version)
        })
        break
      case 'activate':
        this.#change(op.domain, packs.get(op.marker)!.version, async () => {
          await registry.activate(op.domain, packs.get(op.marker)!.version, {})
          this.active.set(op.domain, packs.get(op.marker)!.version)
        })
        break
      case 'remove':
        this.#change(op.domain, null, async () => {
          await registry.remove(op.domain, {})
          this.active.delete(op.domain)
        })
        break
      case 'removeVersion':
        this.#track(() => registry.removeVersion(op.domain, packs.get(op.marker)!.version, {}))
        break
      case 'pin':
      case 'unpin':
        this.#track(async () => {
          await registry.patch(op.domain, { pinned: op.type === 'pin' }, {})
        })
        break
      case 'release':
        this.held.splice(op.which % (this.held.length || 1), 1)[0]?.release()
        break
      case 'advance':
        clock.advance(op.ms)
        break
      case 'restart':
        engine.crash()
        this.#track(async () => {
          await engine.step('boot')
          if (engine.state !== 'ready') engine.recover()
        })
        break
    }
  }

  /** No row in use changed its content or was given to another version. */
  check(): void {
    const versionOf = new Map<number, string>()
    for (const { row, version, generation } of this.held) {
      if (generation !== this.#rig.engine.generation || this.#rig.engine.state !== 'ready') continue
      const marker = this.#rig.engine.marker(row)
      if (marker !== markerOf.get(version)) throw new Error(`row ${row} of a lease holds ${marker}`)
      const other = versionOf.get(row)
      if (other !== undefined && other !== version) throw new Error(`row ${row} is leased for two versions`)
      versionOf.set(row, version)
    }
    const { used, capacity } = this.#rig.bank.memory().rows
    if (used > capacity) throw new Error('more rows than there are')
  }

  #request(domain: string): void {
    const allowed = new Set<string | null>([this.active.get(domain) ?? null])
    for (const { domain: other, target } of this.#pending) if (other === domain) allowed.add(target)
    const request = { domain, allowed }
    this.requests.add(request)
    this.#track(async () => {
      try {
        const lease = await this.#rig.registry.acquire(domain)
        if (!allowed.has(lease.version)) throw new Error(`served ${lease.version}, which was not active`)
        this.held.push(lease)
      } catch (error) {
        const absent = ['unknown_domain', 'no_active_version']
        if (error instanceof FacetError && absent.includes(error.code) && !allowed.has(null))
          throw new Error(`${error.code}, although a version was active all the time`)
        throw error
      } finally {
        this.requests.delete(request)
      }
    })
  }

  #change(domain: string, target: string | null, task: () => Promise<void>): void {
    const change = { domain, target }
    this.#pending.add(change)
    for (const request of this.requests) if (request.domain === domain) request.allowed.add(target)
    this.#track(async () => {
      try {
        await task()
        // The version that was active before is not served any more, not even to requests that wait.
        for (const request of this.requests) {
          if (request.domain !== domain) continue
          request.allowed.clear()
          request.allowed.add(this.active.get(domain) ?? null)
          for (const { domain: other, target } of this.#pending)
            if (other === domain) request.allowed.add(target)
        }
      } finally {
        this.#pending.delete(change)
      }
    })
  }

  #track(task: () => Promise<void>): void {
    const run = task()
      .catch((error: unknown) => {
        if (!(error instanceof FacetError) || !benign.has(error.code)) this.failure ??= error
      })
      .finally(() => this.running.delete(run))
    this.running.add(run)
  }

  failure: unknown
}

t.test(
  'in any interleaving no request gets a version that was not active, and no row changes while it is used',
  async (t) => {
    const dir = t.testdir()
    const property = fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ op, steps: fc.nat(3) }), { minLength: 5, maxLength: 60 }),
      fc.record({
        rows: fc.integer({ min: 2, max: 5 }),
        minResidencyMs: fc.constantFrom(0, 50),
        seed: fc.nat(),
      }),
      async (scheduler, ops, { rows, minResidencyMs, seed }) => {
        const limits = { minResidencyMs, loadTimeoutMs: 300 }
        // Most steps of the disk are quick and some are slow, so that loads overtake each other.
        const random = new Random(seed)
        const delay = () => random.pick([0, 1, 5, 150])
        const rig = new Rig(dir, { rows, limits, fs: { delay } })
        await rig.registry.open()
        rig.engine.step = (name) => scheduler.schedule(Promise.resolve(), name)
        const model = new Model(rig)
        const step = async () => {
          if (scheduler.count() > 0) await scheduler.waitOne()
          await settle()
          model.check()
          if (model.failure) throw model.failure
        }
        for (const { op, steps } of ops) {
          model.start(op)
          for (let count = 0; count < steps; count++) await step()
        }
        while (model.running.size > 0) {
          await step()
          if (scheduler.count() === 0) rig.clock.advance(50)
        }
        for (const lease of model.held.splice(0)) lease.release()
        rig.engine.step = async () => {}
        await settle()

        const shown = () =>
          rig.registry
            .list({ limit: 99 })
            .domains.filter(({ domain }) => domain !== 'base')
            .map(({ domain, version }) => [domain, version])
        const expected = [...model.active].sort(([a], [b]) => (a < b ? -1 : 1))
        if (JSON.stringify(shown()) !== JSON.stringify(expected))
          throw new Error(`shown ${JSON.stringify(shown())}, acknowledged ${JSON.stringify(expected)}`)
        const next = await rig.restart({ rows: 8, fs: { disk: rig.fs.disk } })
        for (const [domain, version] of expected) {
          if (version === null) continue
          const marker = await next.serves(domain)
          if (marker !== markerOf.get(version)) throw new Error(`after a restart ${domain} serves ${marker}`)
        }
        for (const domain of model.active.keys()) await next.registry.remove(domain, {})
        await settle()
        if (next.bank.memory().rows.used !== 1) throw new Error('rows are lost')
        if ((await next.blobs()).length > 0) throw new Error('blobs are lost')
        for (let row = 1; row < 8; row++)
          if (next.engine.marker(row) !== undefined) throw new Error(`row ${row} is not cleared`)
        await next.registry.close()
      },
    )
    await t.resolves(fc.assert(property, { numRuns: 100, seed: 3 }))
  },
)
