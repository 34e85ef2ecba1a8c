/** The registry over the real engine, the shipped trunk and a store on a real disk. */
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { systemClock } from '../src/concurrency/clock.js'
import { SharedBudget } from '../src/concurrency/shared-budget.js'
import type { Engine } from '../src/engine/engine.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { createCanary } from '../src/residency/canary.js'
import { ListedVersions } from '../src/registry/listed-versions.js'
import { baseSeed } from '../src/registry/opening.js'
import { Registry } from '../src/registry/registry.js'
import { preparer } from '../src/residency/prepare.js'
import { Residency } from '../src/residency/residency.js'
import { LocalStore } from '../src/store/local.js'
import { family, random, randomHead, randomPixels, startEngine } from './engine-rig.js'
import { Fault } from './faulty-worker-control.mjs'

/** A pack that differs from the base in every slot; `size` scales its weights. */
function makePack(seed: number, size = 1): Uint8Array {
  const { base, manifest } = family
  const next = random(seed)
  const slots = new Map<string, SlotWeights>()
  for (const [name, { scale, bias, matrix }] of base.slots) {
    const spread = 0.5 / Math.sqrt(manifest.slots.find((slot) => slot.name === name)!.columns || 1)
    slots.set(name, {
      scale: scale.map((value) => size * value * (0.75 + 0.5 * next())),
      bias,
      ...(matrix && { matrix: matrix.map(() => spread * (next() - 0.5)) }),
    })
  }
  const labels = ['x', 'y', 'z'].map((label) => label + seed)
  const pack: Pack = { ...base, slots, labels, head: randomHead(3, seed) }
  return writePack(pack, manifest, { dtype: 'f32' })
}

async function openRegistry(t: Test, engine: Engine): Promise<{ registry: Registry; residency: Residency }> {
  const store = new LocalStore({ dir: t.testdir(), clock: systemClock })
  const base = baseSeed(family)
  const versions = new ListedVersions(store, [base])
  const parts = { clock: systemClock, logger: pino({ level: 'silent' }) }
  const canary = createCanary(engine, family.manifest.input)
  const limits = { loadTimeoutMs: 30_000, minResidencyMs: 0, bankDtype: 'f32' as const }
  const residency = new Residency({
    ...parts,
    versions: versions.ofFamily(base),
    family,
    engine,
    canary,
    budget: new SharedBudget(Infinity),
    limits,
  })
  const registry = new Registry({
    ...parts,
    versions,
    residencies: [residency],
    prepare: preparer([family], 'f32'),
    store,
    seeds: [],
    keepVersions: 2,
  })
  await registry.open()
  t.teardown(() => registry.close())
  return { registry, residency }
}

/** Logits of one image by the domain's active version. */
async function answer(registry: Registry, engine: Engine, domain: string): Promise<number[]> {
  const lease = await registry.acquire(domain)
  try {
    const batch = { pixels: randomPixels(1, 7), rows: Int32Array.of(lease.row) }
    const { logits } = await engine.run(batch, lease.generation)
    return Array.from(logits[0]!)
  } finally {
    lease.release()
  }
}

t.test('domains keep their answers through evictions and a restart of the engine', async (t) => {
  const { engine, control } = await startEngine(t, { rows: 3 })
  const { registry } = await openRegistry(t, engine)
  const domains = ['a', 'b', 'c']
  const first = new Map<string, number[]>()
  for (const [index, domain] of domains.entries()) {
    await registry.put(domain, makePack(index + 1), { activate: true })
    first.set(domain, await answer(registry, engine, domain))
  }
  t.notSame(first.get('a'), first.get('b'))
  for (const domain of ['a', 'b', 'c', 'b', 'a'])
    t.same(await answer(registry, engine, domain), first.get(domain))
  t.equal(registry.counts().cold, 1)

  control.nextRun(Fault.throws)
  await t.rejects(answer(registry, engine, 'a'))
  const down = new Promise((resolve) => engine.once('down', resolve))
  control.nextRun(Fault.exits)
  await t.rejects(answer(registry, engine, 'a'), { code: 'engine_restarting' })
  await down
  for (const domain of domains) t.same(await answer(registry, engine, domain), first.get(domain))
})

t.test('a pack that overflows the real trunk is refused by its canary', async (t) => {
  const { engine } = await startEngine(t, { rows: 3 })
  const { registry, residency } = await openRegistry(t, engine)
  await registry.put('pets', makePack(1), { activate: true })
  const before = await answer(registry, engine, 'pets')
  const error = { code: 'invalid_pack', message: /white canary image are not finite/ }
  await t.rejects(registry.put('pets', makePack(2, 1e20), { activate: true }), error)
  t.same(await answer(registry, engine, 'pets'), before)
  t.equal(residency.memory().rows.used, 2)
})
