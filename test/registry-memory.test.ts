import t from 'tap'
import { rowBytes } from '../src/engine/bank-spec.js'
import type { Extent } from '../src/pack/extent.js'
import { memoryAccount } from '../src/residency/memory.js'
import { makePack, manifest, openRig } from './registry-rig.js'

t.test('the account of a known family, by hand', async (t) => {
  const family = {
    parameters: { trunk: 1000, adapter: 50, head: 0 },
    slots: [
      { kind: 'conv' as const, out: 8 },
      { kind: 'norm' as const, out: 5 },
    ].map((slot) => ({ ...manifest.slots[0]!, ...slot })),
  }
  const layout = { elements: 50, tensors: [{ elements: 20 }, { elements: 30 }] }
  const row = (dtype: 'f32' | 'f16', extent: Partial<Extent>) =>
    rowBytes({ layout, dtype, features: 4 }, { adapter: 'whole', classes: 0, halfHead: false, ...extent })
  t.equal(row('f32', {}), 200)
  t.equal(row('f16', { classes: 3 }), 100 + (3 * 4 + 3) * 4)
  t.equal(row('f16', { classes: 2 }), 100 + (2 * 4 + 2) * 4 + 4, 'in words of eight bytes')
  t.equal(row('f16', { classes: 2, halfHead: true }), 100 + 2 * (4 * 2 + 4) + 4)
  t.equal(row('f32', { adapter: 'affine', classes: 3 }), 80 + (3 * 4 + 3) * 4 + 4)
  t.equal(row('f32', { adapter: 'none', classes: 3 }), (3 * 4 + 3) * 4 + 4, 'its head alone')
  const residents = [
    { adapter: 100, head: 0, active: true },
    { adapter: 100, head: 60, active: true },
    { adapter: 100, head: 40, active: false },
  ]
  const account = memoryAccount(family, residents, {
    rows: 7,
    bytes: 1e6,
    trunks: 4,
    precision: 'fp32',
    dedicatedNetworks: 0,
  })
  const adapters = 3 * 100
  const heads = 60 + 40
  const dedicated = 2 * (4000 + 4 * (8 + 2 * 5)) + 60
  t.same(account, {
    trunk: 4 * 4000,
    adapters,
    heads,
    specialised: { networks: 0, bytes: 0 },
    rows: { used: 3, capacity: 7 },
    dedicated,
    saving: dedicated / (16_000 + adapters + heads),
    // Each domain saves 4000 + 72 - 100 bytes; to make up for are four trunks and the row that is not active.
    breakEven: 5,
    note: account.note,
  })
  const { specialised, breakEven, saving } = memoryAccount(family, residents, {
    rows: 7,
    bytes: 1e6,
    trunks: 4,
    precision: 'fp32',
    dedicatedNetworks: 2,
  })
  // The trunk, what each slot has beside it, and what a session takes beside its weights.
  const bytes = 2 * (4000 + 4 * (8 + 2 * 5) + 950_000)
  t.same(specialised, { networks: 2, bytes })
  t.equal(saving, dedicated / (16_000 + adapters + heads + bytes), 'they count on the side of the family')
  t.equal(breakEven, Math.ceil((16_000 + 140 + bytes) / (4000 + 72 - 100)))
})

t.test('below 1, and only there, a note says why and from how many domains on the family pays', async (t) => {
  // An adapter takes what a dedicated network has beside the trunk, so that each domain saves one trunk.
  const family = {
    parameters: { trunk: 1_000_000, adapter: 18, head: 0 },
    slots: [{ ...manifest.slots[0]!, kind: 'conv' as const, out: 18 }],
  }
  const account = (count: number, { trunks = 4, elements = 18, idle = 0, rows = 9, bytes = 1e9 } = {}) => {
    const residents = Array.from({ length: count + idle }, (_, index) => ({
      adapter: elements * 4,
      head: 60,
      active: index < count,
    }))
    return memoryAccount(family, residents, {
      rows,
      bytes,
      trunks,
      precision: 'fp32',
      dedicatedNetworks: 0,
    })
  }
  t.equal(account(3).breakEven, 4)
  t.ok(account(3).saving < 1)
  t.equal(
    account(3).note,
    'The family takes more than dedicated networks would (16.0 MB against 12.0 MB): it holds the trunk 4 times, and an adapter for each domain, for only 3 resident domains (the base included). It pays from 4 resident domains on. With fewer --lanes it holds the trunk fewer times.',
  )
  t.match(account(4), { saving: 1, breakEven: 4, note: undefined })
  t.match(account(5), { breakEven: 4, note: undefined })
  t.ok(account(5).saving > 1)
  for (const idle of [0, 1, 20_000, 80_000])
    for (let count = 1; count < 12; count++) {
      const { saving, breakEven, note } = account(count, { idle })
      t.equal(saving >= 1, count >= breakEven, `${count} domains, ${idle} idle`)
      t.equal(note !== undefined, saving < 1)
    }
  t.match(
    account(1, { trunks: 1, elements: 19 }).note,
    /holds the trunk once.* 1 resident domain \(.* from 2 /,
  )
  t.notMatch(account(1, { trunks: 2 }).note, '--lanes')
  t.match(account(1, { rows: 3 }).note, /pays from 4 .* The bank has room for 3: raise --bank-memory\./)
  t.match(account(1, { bytes: 3 * 72 + 71 }).note, /The bank has room for 3: raise --bank-memory\./)
  const large = account(50, { elements: 1_000_018 })
  t.equal(large.breakEven, Infinity)
  t.match(large.note, /An adapter takes as much as a network here/)
})

t.test('the account follows what is resident', async (t) => {
  const rig = await openRig(t, { rows: 6 })
  const alone = rig.bank.memory()
  t.match(alone, { trunk: 4 * manifest.parameters.trunk, rows: { used: 1, capacity: 6 } })
  await rig.put('a', makePack(1))
  await rig.put('b', makePack(2))
  const three = rig.bank.memory()
  t.equal(three.rows.used, 3)
  t.equal(three.adapters, 3 * alone.adapters)
  t.equal(three.heads, 3 * alone.heads, 'all heads of the tiny family are alike')
  t.equal(three.dedicated, 3 * alone.dedicated)
  t.ok(three.saving > alone.saving)
  t.equal(rig.registry.get('a').bytes.resident, alone.adapters + alone.heads)
  await rig.put('b', makePack(3))
  const idle = rig.bank.memory()
  t.equal(idle.rows.used, 4, 'the version before stays until its row is needed')
  t.equal(idle.dedicated, three.dedicated, 'nobody would deploy a network for it')
  await rig.registry.remove('b', {})
  await rig.registry.remove('a', {})
  t.same(rig.bank.memory(), alone)
})
