import t from 'tap'
import { resolveVersion, retained } from '../src/registry/versions.js'
import { settle } from './manual-clock.js'
import { base, makePack, openRig } from './registry-rig.js'

const one = makePack(1)
const two = makePack(2)
const three = makePack(3)
const four = makePack(4)

t.test('a new pack is tried, stored and served', async (t) => {
  const rig = await openRig(t)
  const { created, version, view } = await rig.put('pets', one)
  t.match({ created, version }, { created: true, version: one.version })
  t.match(view, { domain: 'pets', version: one.version, residency: 'resident', pinned: false, seed: false })
  t.match(view, { design: 'parallel', classes: 3, bytes: { pack: one.bytes.length } })
  t.match(view.versions, [{ version: one.version, active: true, created: '2026-01-01T00:00:00.000Z' }])
  t.equal(rig.canaries, 1)
  t.equal(await rig.serves('pets'), 1)
  t.match(rig.observed.changes, [
    { action: 'domain.put', domain: 'pets', version: one.version, dropped: [], activate: true },
  ])
})

t.test('a lease tells what the answer needs', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  const lease = await rig.registry.acquire('pets')
  t.match(lease, { domain: 'pets', version: one.version, classes: 3, activation: 'softmax', generation: 1 })
  t.same(lease.labels, ['1a', '1b', '1c'])
})

t.test('after a put no lease of the old version is given, and one in flight keeps its row', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  const old = await rig.registry.acquire('pets')
  t.match(await rig.put('pets', two), { created: false, version: two.version })
  t.equal(await rig.serves('pets'), 2)
  t.equal(rig.engine.marker(old.row), 1)
  old.release()
  t.match(rig.registry.get('pets').versions, [
    { version: one.version, active: false, residency: 'resident' },
    { version: two.version, active: true, residency: 'resident' },
  ])
})

t.test('the same bytes again are no change, or make their version active again', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  t.match(await rig.put('pets', one), { created: false, version: one.version })
  await rig.put('pets', two)
  t.match(await rig.put('pets', one), { created: false, view: { version: one.version } })
  t.equal(await rig.serves('pets'), 1)
  t.equal(rig.canaries, 2, 'a pack is tried once')
  t.equal(rig.registry.get('pets').versions.length, 2)
  t.equal(rig.observed.changes.length, 3)
})

t.test('a staged version is stored and tried but not served, unless it is asked for', async (t) => {
  const rig = await openRig(t)
  t.match(await rig.put('pets', one, false), {
    created: true,
    view: { version: null, residency: 'inactive' },
  })
  await t.rejects(rig.registry.acquire('pets'), { code: 'no_active_version', status: 404 })
  t.equal(await rig.serves('pets', one.version.slice(0, 6)), 1)
  await rig.put('pets', two)
  t.match(await rig.put('pets', three, false), { view: { version: two.version } })
  t.equal(await rig.serves('pets'), 2)
  t.equal(await rig.serves('pets', three.version), 3)
  t.equal(rig.canaries, 3)
})

t.test('activation rolls back and forth, by full version or prefix', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  await rig.put('pets', two)
  t.match(await rig.registry.activate('pets', one.version.slice(0, 8), {}), { version: one.version })
  t.equal(await rig.serves('pets'), 1)
  t.match(await rig.registry.activate('pets', two.version, {}), { version: two.version })
  t.equal(await rig.serves('pets'), 2)
  await rig.registry.activate('pets', two.version, {})
  t.equal(rig.observed.changes.filter(({ action }) => action === 'version.activate').length, 2)
  await t.rejects(rig.registry.activate('pets', '0123456789', {}), { code: 'unknown_version' })
  await t.rejects(rig.registry.activate('nobody', one.version, {}), { code: 'unknown_domain' })
})

t.test('a prefix names one version or is refused', async (t) => {
  const records = ['a'.repeat(64), `aaaaaab${'0'.repeat(57)}`].map((version) => ({
    version,
    bytes: 1,
    created: '',
    design: 'bn',
    classes: 0,
  }))
  t.equal(resolveVersion('pets', records, 'aaaaaaa'), records[0])
  t.equal(resolveVersion('pets', records, 'aaaaaab'), records[1])
  t.throws(() => resolveVersion('pets', records, 'aaaaaa'), { code: 'ambiguous_version', status: 409 })
  t.throws(() => resolveVersion('pets', records, 'aaaaa'), { code: 'unknown_version', status: 404 })
  t.throws(() => resolveVersion('pets', records, 'bbbbbb'), { code: 'unknown_version' })
  t.throws(() => resolveVersion('pets', records, '../../etc'), { code: 'unknown_version' })
})

t.test('inactive versions beyond the limit are dropped, the oldest first, from the store too', async (t) => {
  const rig = await openRig(t, { keepVersions: 2 })
  await rig.put('pets', one)
  await rig.put('pets', two)
  await rig.registry.activate('pets', one.version, {})
  await rig.put('pets', three, false)
  t.same(
    rig.registry.get('pets').versions.map(({ version }) => version),
    [one.version, three.version],
    'active and just staged ones stay',
  )
  t.match(rig.observed.changes.at(-1), { action: 'domain.put', activate: false, dropped: [two.version] })
  t.notOk(await rig.store.hasBlob(two.version))
  await t.rejects(rig.registry.acquire('pets', two.version), { code: 'unknown_version' })
  await rig.put('pets', four)
  t.same(new Set(await rig.blobs()), new Set([three.version, four.version]))
})

t.test('retention: shipped versions do not count, held ones stay', async (t) => {
  const entry = (version: string, seed = false) => {
    return { version, bytes: 1, created: '', design: 'bn', classes: 0, seed }
  }
  const all = [entry('s', true), entry('a'), entry('b'), entry('c'), entry('d')]
  const names = (limit: number, ...held: string[]) =>
    retained(all, limit, new Set(held))
      .map(({ version }) => version)
      .join('')
  t.equal(names(4), 'sabcd')
  t.equal(names(2), 'scd')
  t.equal(names(2, 'a'), 'sad')
  t.equal(names(1, 'a', 'd'), 'sad')
})

t.test('a version can be deleted unless it is active', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  await rig.put('pets', two)
  await t.rejects(rig.registry.removeVersion('pets', two.version, {}), {
    code: 'version_active',
    status: 409,
  })
  const lease = await rig.registry.acquire('pets', one.version)
  await rig.registry.removeVersion('pets', one.version.slice(0, 12), {})
  t.equal(rig.engine.marker(lease.row), 1, 'a request in flight keeps the row')
  lease.release()
  t.equal(rig.engine.marker(lease.row), undefined, 'its row is freed with the last lease')
  t.notOk(await rig.store.hasBlob(one.version))
  await t.rejects(rig.registry.removeVersion('pets', one.version, {}), { code: 'unknown_version' })
  await rig.put('pets', three)
  await rig.registry.removeVersion('pets', two.version, {})
  t.equal(rig.bank.memory().rows.used, 2, 'an unused row is freed at once')
  t.match(rig.observed.changes.at(-1), { action: 'version.delete', version: two.version })
})

t.test('a deleted domain is unknown, and its blobs and rows are gone', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  const lease = await rig.registry.acquire('pets')
  await rig.registry.remove('pets', {})
  t.notOk(rig.registry.has('pets'))
  t.throws(() => rig.registry.get('pets'), { code: 'unknown_domain', status: 404 })
  await t.rejects(rig.registry.acquire('pets'), { code: 'unknown_domain' })
  await t.rejects(rig.registry.remove('pets', {}), { code: 'unknown_domain' })
  t.equal(rig.engine.marker(lease.row), 1)
  lease.release()
  lease.release()
  t.equal(rig.engine.marker(lease.row), undefined)
  t.same(await rig.blobs(), [])
  t.same(rig.observed.forgotten, ['pets'])
  t.match(rig.observed.changes.at(-1), { action: 'domain.delete', version: one.version })
  t.match(await rig.put('pets', one), { created: true })
  await rig.registry.remove('pets', {})
  t.equal(rig.bank.memory().rows.used, 1, 'an unused row is freed at once')
})

t.test(
  'two domains may serve one pack: one blob, one row, and neither takes it from the other',
  async (t) => {
    const rig = await openRig(t)
    await rig.put('cats', one)
    await rig.put('dogs', one)
    t.equal(rig.canaries, 1)
    t.equal(rig.bank.memory().rows.used, 2)
    await rig.registry.remove('cats', {})
    t.equal(await rig.serves('dogs'), 1)
    t.ok(await rig.store.hasBlob(one.version))
  },
)

t.test('one pack registered for two domains at once takes one row in the end', async (t) => {
  const rig = await openRig(t, { rows: 3 })
  await Promise.all([rig.put('cats', one), rig.put('dogs', one)])
  t.equal(rig.bank.memory().rows.used, 2)
  await rig.put('birds', two)
  t.same([await rig.serves('cats'), await rig.serves('dogs'), await rig.serves('birds')], [1, 1, 2])
  t.same(rig.observed.evictions, [], 'the other row is free again')
})

t.test('the base is there, resident, and cannot be changed', async (t) => {
  const rig = await openRig(t)
  t.match(rig.registry.get('base'), {
    version: base.version,
    residency: 'resident',
    pinned: true,
    seed: true,
  })
  t.match(await rig.registry.acquire('base'), { row: 0, version: base.version })
  t.match(await rig.registry.acquire('base', base.version.slice(0, 12)), { row: 0 })
  t.same(Buffer.from(await rig.registry.pack('base').read()), Buffer.from(base.bytes))
  const refused = { code: 'base_immutable', status: 409 }
  await t.rejects(rig.put('base', one), refused)
  await t.rejects(rig.registry.remove('base', {}), refused)
  await t.rejects(rig.registry.activate('base', base.version, {}), refused)
  await t.rejects(rig.registry.removeVersion('base', base.version, {}), refused)
  await t.rejects(rig.registry.patch('base', { pinned: false }, {}), refused)
})

t.test('bad ids and bad packs change nothing', async (t) => {
  const rig = await openRig(t)
  for (const id of ['', '../etc', 'A', 'a'.repeat(64), '.a', 'a/b'])
    await t.rejects(rig.put(id, one), { code: 'bad_domain_id', status: 400 })
  await t.rejects(rig.registry.put('pets', one.bytes.subarray(0, 100), { activate: true }), {
    code: 'invalid_pack',
    status: 422,
  })
  await t.rejects(rig.put('pets', makePack(1, { family: 'f'.repeat(64) })), { code: 'invalid_pack' })
  t.notOk(rig.registry.has('pets'))
  t.same(rig.engine.written, [])
  t.same(await rig.blobs(), [])
  await t.rejects(rig.registry.acquire('pets'), { code: 'unknown_domain' }, 'never the base instead')
})

t.test('pack gives the bytes of a version', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  await rig.put('pets', two)
  const active = rig.registry.pack('pets')
  t.equal(active.version, two.version)
  t.same(Buffer.from(await active.read()), Buffer.from(two.bytes))
  const older = rig.registry.pack('pets', one.version)
  t.same(Buffer.from(await older.read()), Buffer.from(one.bytes))
  t.throws(() => rig.registry.pack('pets', 'abcdef'), { code: 'unknown_version' })
  await rig.registry.removeVersion('pets', one.version, {})
  await t.rejects(older.read(), { code: 'unknown_version' }, 'deleted before it was read')
})

t.test('preconditions hold or the change is refused', async (t) => {
  const rig = await openRig(t)
  const { registry } = rig
  const failed = { code: 'precondition_failed', status: 412 }
  const put = (made: typeof one, pre: object) => registry.put('pets', made.bytes, { activate: true, ...pre })
  await t.rejects(put(one, { ifMatch: '*' }), failed, 'nothing there')
  await t.rejects(put(one, { ifMatch: [one.version] }), failed)
  await put(one, { ifNoneMatch: '*' })
  await t.rejects(put(two, { ifNoneMatch: '*' }), failed, 'create only')
  await t.rejects(put(two, { ifMatch: [two.version] }), failed)
  await t.rejects(put(two, { ifNoneMatch: [one.version] }), failed)
  await put(two, { ifMatch: [three.version, one.version] })
  await t.rejects(registry.activate('pets', one.version, { ifMatch: [one.version] }), failed)
  await t.rejects(registry.patch('pets', { pinned: true }, { ifMatch: [one.version] }), failed)
  await t.rejects(registry.removeVersion('pets', one.version, { ifMatch: [one.version] }), failed)
  await t.rejects(registry.remove('pets', { ifMatch: [one.version] }), failed)
  t.equal(registry.get('pets').version, two.version)
  await registry.remove('pets', { ifMatch: [two.version] })
})

t.test(
  'changes of one domain take turns: of two conditional puts one wins, the last of two plain ones',
  async (t) => {
    const rig = await openRig(t)
    await rig.put('pets', one)
    const pre = { activate: true, ifMatch: [one.version] }
    const [first, second] = await Promise.allSettled([
      rig.registry.put('pets', two.bytes, pre),
      rig.registry.put('pets', three.bytes, pre),
    ])
    t.equal(first.status, 'fulfilled')
    t.match(second, { status: 'rejected', reason: { code: 'precondition_failed' } })
    t.equal(await rig.serves('pets'), 2)
    const results = await Promise.all([rig.put('pets', three), rig.put('pets', four)])
    t.same(
      results.map(({ view }) => view.version),
      [three.version, four.version],
      'each answer shows its own change',
    )
    t.equal(await rig.serves('pets'), 4)
  },
)

t.test('changes of different domains do not wait for each other', async (t) => {
  const rig = await openRig(t)
  let hold: (() => void) | undefined
  rig.engine.step = (name) =>
    name === 'run' && hold === undefined ? new Promise((resolve) => (hold = resolve)) : Promise.resolve()
  const slow = rig.put('slow', one)
  while (hold === undefined) await settle()
  await rig.put('fast', two)
  t.equal(await rig.serves('fast'), 2)
  t.notOk(rig.registry.has('slow'))
  hold()
  await slow
})

t.test('a listing goes through all domains, whatever changes meanwhile', async (t) => {
  const rig = await openRig(t)
  for (const domain of ['d', 'a', 'c', 'e']) await rig.put(domain, one)
  const first = rig.registry.list({ limit: 2 })
  t.same(
    first.domains.map(({ domain }) => domain),
    ['a', 'base'],
  )
  await rig.registry.remove('a', {})
  await rig.put('aa', one)
  const second = rig.registry.list({ limit: 2, cursor: first.nextCursor! })
  t.same(
    second.domains.map(({ domain }) => domain),
    ['c', 'd'],
  )
  const last = rig.registry.list({ limit: 2, cursor: second.nextCursor! })
  t.same(
    last.domains.map(({ domain }) => domain),
    ['e'],
  )
  t.equal(last.nextCursor, null)
  const only = new Set(['e', 'base', 'gone'])
  const own = rig.registry.list({ limit: 1, only })
  const rest = rig.registry.list({ limit: 1, cursor: own.nextCursor!, only })
  t.same(
    [...own.domains, ...rest.domains].map(({ domain }) => domain),
    ['base', 'e'],
  )
  t.equal(rest.nextCursor, null)
  for (const cursor of ['', '!', 'a b', 'YQ=='])
    t.throws(() => rig.registry.list({ limit: 1, cursor }), { code: 'bad_parameter', status: 400 })
})
