import t from 'tap'
import { rowBytes } from '../src/engine/bank-spec.js'
import { memoryAccount } from '../src/residency/memory.js'
import { makePack, manifest, openRig } from './registry-rig.js'

t.test('the account of a known family, by hand', async (t) => {
  const family = {
    parameters: { trunk: 1000, adapter: 50, head: 0 },
    features: 4,
    slots: [
      { kind: 'conv' as const, out: 8 },
      { kind: 'norm' as const, out: 5 },
    ].map((slot) => ({ ...manifest.slots[0]!, ...slot })),
  }
  const layout = { elements: 50 }
  t.equal(rowBytes(layout, 'f32', 4, 0), 200)
  t.equal(rowBytes(layout, 'f16', 4, 3), 100 + (3 * 4 + 3) * 4)
  t.equal(rowBytes(layout, 'f16', 4, 2), 100 + (2 * 4 + 2) * 4 + 4, 'in words of eight bytes')
  const residents = [
    { classes: 0, active: true },
    { classes: 3, active: true },
    { classes: 2, active: false },
  ]
  const account = memoryAccount(family, layout, 'f16', residents, { rows: 7, trunks: 4 })
  const adapters = 3 * 100
  const heads = 60 + 40
  const dedicated = 2 * (4000 + 4 * (8 + 2 * 5)) + 60
  t.same(account, {
    trunk: 4 * 4000,
    adapters,
    heads,
    rows: { used: 3, capacity: 7 },
    dedicated,
    saving: dedicated / (16_000 + adapters + heads),
  })
})

t.test('the account follows what is resident', async (t) => {
  const rig = await openRig(t, { rows: 6 })
  const alone = rig.registry.memory()
  t.match(alone, { trunk: 4 * manifest.parameters.trunk, rows: { used: 1, capacity: 6 } })
  await rig.put('a', makePack(1))
  await rig.put('b', makePack(2))
  const three = rig.registry.memory()
  t.equal(three.rows.used, 3)
  t.equal(three.adapters, 3 * alone.adapters)
  t.equal(three.heads, 3 * alone.heads, 'all heads of the tiny family are alike')
  t.equal(three.dedicated, 3 * alone.dedicated)
  t.ok(three.saving > alone.saving)
  t.equal(rig.registry.get('a').bytes.resident, alone.adapters + alone.heads)
  await rig.put('b', makePack(3))
  const idle = rig.registry.memory()
  t.equal(idle.rows.used, 4, 'the version before stays until its row is needed')
  t.equal(idle.dedicated, three.dedicated, 'nobody would deploy a network for it')
  await rig.registry.remove('b', {})
  await rig.registry.remove('a', {})
  t.same(rig.registry.memory(), alone)
})
