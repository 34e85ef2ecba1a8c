import t from 'tap'
import { FacetError } from '../src/errors.js'
import { tinyPack } from './families.js'
import { settle } from './manual-clock.js'
import { base, blobPath, makePack, manifest, openRig } from './registry-rig.js'

const one = makePack(1)
const two = makePack(2)
const three = makePack(3)

t.test('a restart brings back every domain as it was, and no deleted one', async (t) => {
  let rig = await openRig(t)
  await rig.put('pets', one)
  await rig.put('pets', two)
  await rig.put('gone', three)
  await rig.put('staged', three, false)
  await rig.registry.activate('pets', one.version, {})
  await rig.registry.patch('pets', { pinned: true }, {})
  await rig.registry.remove('gone', {})
  const before = rig.registry.get('pets')
  rig = await rig.restart()
  t.same(
    rig.registry.list({ limit: 9 }).domains.map(({ domain, version }) => [domain, version]),
    [
      ['base', base.version],
      ['pets', one.version],
      ['staged', null],
    ],
  )
  t.match(rig.registry.get('pets'), { pinned: true, updated: before.updated, classes: 3, design: 'parallel' })
  t.equal(await rig.serves('pets'), 1)
  t.equal(await rig.serves('pets', two.version), 2)
  await t.rejects(rig.registry.acquire('gone'), { code: 'unknown_domain' })
})

t.test('a start reads no packs but those of pinned domains', async (t) => {
  let rig = await openRig(t, { rows: 16 })
  for (let index = 0; index < 10; index++) await rig.put(`d${index}`, makePack(index))
  await rig.registry.patch('d3', { pinned: true }, {})
  rig = await rig.restart()
  t.same(rig.observed.loads, [['ok', 'store']])
  t.equal(rig.residency('d3'), 'resident')
  t.equal(rig.residency('d4'), 'cold')
  t.same(rig.registry.counts(), { resident: 2, cold: 9, loading: 0, failed: 0, inactive: 0 })
})

t.test('shipped packs are served, and a put over one survives a restart', async (t) => {
  let rig = await openRig(t, { seeds: { birds: one } })
  t.match(rig.registry.get('birds'), { version: one.version, seed: true, classes: 3, design: 'parallel' })
  t.equal(await rig.serves('birds'), 1)
  t.same(rig.observed.loads, [['ok', 'seed']])
  t.match(await rig.put('birds', two), { created: false, view: { seed: false } })
  rig = await rig.restart()
  t.equal(await rig.serves('birds'), 2)
  t.match(await rig.registry.activate('birds', one.version, {}), { seed: true })
  await t.rejects(rig.registry.activate('birds', three.version, {}), { code: 'unknown_version' })
  await rig.registry.removeVersion('birds', two.version, {})
  rig = await rig.restart()
  t.equal(await rig.serves('birds'), 1)
  await rig.put('birds', two)
  await t.rejects(rig.registry.removeVersion('birds', one.version, {}), {
    code: 'seed_immutable',
    status: 409,
  })
})

t.test('a deleted shipped domain stays deleted until it is registered again', async (t) => {
  let rig = await openRig(t, { seeds: { birds: one } })
  await rig.registry.remove('birds', {})
  t.notOk(rig.registry.has('birds'))
  rig = await rig.restart()
  t.notOk(rig.registry.has('birds'))
  t.match(await rig.put('birds', one), { created: true, view: { seed: true, version: one.version } })
  t.same(await rig.blobs(), [], 'the shipped bytes need no blob')
  rig = await rig.restart()
  t.equal(await rig.serves('birds'), 1)
})

t.test('a domain at its shipped pack follows a newer release, a registered version stays', async (t) => {
  let rig = await openRig(t, { seeds: { follows: one, stays: one } })
  await rig.put('follows', two)
  await rig.registry.activate('follows', one.version, {})
  await rig.put('stays', two)
  rig = await rig.restart({ seeds: { follows: three, stays: three } })
  t.equal(await rig.serves('follows'), 3)
  t.equal(await rig.serves('stays'), 2)
  t.equal(await rig.serves('stays', three.version), 3)
  rig = await rig.restart({ seeds: {} })
  t.equal(rig.residency('follows'), 'inactive', 'shipped no more')
  t.equal(await rig.serves('follows', two.version), 2)
  t.equal(await rig.serves('stays'), 2)
})

t.test(
  'a domain without an active version keeps its versions, the last active one as the newest',
  async (t) => {
    let rig = await openRig(t, { seeds: { birds: one } })
    await rig.put('birds', two)
    await rig.registry.activate('birds', one.version, {})
    await rig.registry.patch('birds', { pinned: true }, {})
    const lease = await rig.registry.acquire('birds')
    const view = await rig.registry.deactivate('birds', {})
    t.match(view, { version: null, residency: 'inactive', classes: 0, pinned: true })
    t.equal(rig.engine.marker(lease.row), 1, 'requests in flight keep their row')
    lease.release()
    t.match(rig.observed.changes.at(-1), { action: 'domain.unload', domain: 'birds', version: one.version })
    const changes = rig.observed.changes.length
    await rig.registry.deactivate('birds', {})
    t.equal(rig.observed.changes.length, changes, 'it is so already')
    rig = await rig.restart()
    await t.rejects(rig.registry.acquire('birds'), { code: 'no_active_version' })
    t.equal(await rig.serves('birds', two.version), 2)
    t.match(rig.registry.get('birds').versions, [{ version: two.version }, { version: one.version }])
    await rig.registry.activate('birds', one.version, {})
    t.equal(await rig.serves('birds'), 1)
    await t.rejects(rig.registry.deactivate('base', {}), { code: 'base_immutable' })
    await t.rejects(rig.registry.deactivate('bees', {}), { code: 'unknown_domain' })
  },
)

t.test('activating the newest version changes nothing that a change before it made', async (t) => {
  const rig = await openRig(t, { seeds: { birds: one } })
  await rig.registry.deactivate('birds', {})
  await rig.registry.activateNewest('birds')
  t.equal(rig.registry.get('birds').version, one.version)
  await rig.put('birds', two)
  await rig.registry.deactivate('birds', {})
  const [, view] = await Promise.all([
    rig.registry.activate('birds', one.version, {}),
    rig.registry.activateNewest('birds'),
  ])
  t.equal(view.version, one.version)
  t.equal(rig.registry.get('birds').version, one.version)
})

t.test('a full store refuses and changes nothing', async (t) => {
  const rig = await openRig(t, { rows: 4, quota: one.bytes.length + two.bytes.length })
  await rig.put('pets', one)
  await rig.put('pets', two)
  await t.rejects(rig.put('pets', three), { code: 'store_full', status: 507 })
  await t.rejects(rig.put('more', three), { code: 'store_full' })
  t.notOk(rig.registry.has('more'))
  t.equal(await rig.serves('pets'), 2)
  await rig.registry.remove('pets', {})
  for (const [domain, made] of Object.entries({ a: one, b: two })) await rig.put(domain, made)
  t.same([rig.residency('a'), rig.residency('b')], ['resident', 'resident'], 'the tried rows are free again')
})

t.test('a record that cannot be written changes nothing: no version, no row, no blob', async (t) => {
  let broken = false
  const before = (step: string, path: string) => {
    if (broken && step === 'create' && !path.includes('blob'))
      throw Object.assign(new Error(), { code: 'EIO' })
  }
  const rig = await openRig(t, { fs: { before }, seeds: { birds: three } })
  await rig.put('pets', one)
  const view = rig.registry.get('pets')
  broken = true
  await t.rejects(rig.put('pets', two), { code: 'store_failed' })
  await t.rejects(rig.registry.remove('birds', {}), { code: 'store_failed' })
  await t.rejects(rig.registry.patch('pets', { pinned: true }, {}), { code: 'store_failed' })
  broken = false
  t.same(rig.registry.get('pets'), view)
  t.ok(rig.registry.has('birds'))
  t.equal(await rig.serves('pets'), 1)
  t.equal(rig.bank.memory().rows.used, 2)
  t.same(await rig.blobs(), [one.version])
})

t.test('a record that another writer has changed is not overwritten, and nothing else changes', async (t) => {
  let rig = await openRig(t, { seeds: { birds: three } })
  await rig.put('pets', one)
  const view = rig.registry.get('pets')
  const [stored] = await rig.store.records()
  await rig.store.writeRecord({ ...stored!.record, pinned: true }, stored!.revision)
  const conflict = { code: 'store_failed', message: /Another process/, cause: { name: 'RecordConflict' } }
  await t.rejects(rig.put('pets', two), conflict)
  await t.rejects(rig.registry.remove('pets', {}), conflict)
  t.same(rig.registry.get('pets'), view)
  t.equal(rig.bank.memory().rows.used, 2)
  t.same(await rig.blobs(), [one.version])
  rig = await rig.restart()
  t.equal(rig.registry.get('pets').pinned, true)
  await rig.put('pets', two)
  await rig.registry.remove('birds', {})
  await rig.put('birds', one)
  t.equal(await rig.serves('birds'), 1, 'a tombstone is at a revision too')
})

t.test('a pack that fails its canary is refused by name and leaves nothing', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  const overflow = makePack(2, { slots: tinyPack(manifest, () => 3e38).slots })
  await t.rejects(rig.put('pets', overflow), {
    code: 'invalid_pack',
    status: 422,
    problems: [
      'The features of the white canary image are not finite.',
      'The features of the noise canary image are not finite.',
    ],
  })
  await t.rejects(rig.put('new', overflow), /canary/)
  t.notOk(rig.registry.has('new'))
  t.equal(await rig.serves('pets'), 1)
  t.equal(rig.bank.memory().rows.used, 2)
  t.same(await rig.blobs(), [one.version])
})

t.test('a corrupt blob fails its own domain, for a while unread, and is repaired by a put', async (t) => {
  let rig = await openRig(t, { limits: { failureMs: 5_000 } })
  await rig.put('bad', one)
  await rig.put('good', two)
  let reads = 0
  let corrupt = true
  const before = (step: string, path: string) => {
    if (step !== 'read' || !path.includes(one.version)) return
    reads++
    if (corrupt) throw Object.assign(new Error(`EIO ${path}`), { code: 'EIO' })
  }
  await rig.registry.close()
  rig = await rig.copy({ fs: { disk: rig.fs.disk, before } })
  const failed = { code: 'domain_failed', status: 503, message: /'bad'.*register it again/, retryAfter: 5 }
  await t.rejects(rig.registry.acquire('bad'), failed)
  await t.rejects(rig.registry.acquire('bad'), failed)
  t.equal(reads, 1)
  t.match(rig.registry.get('bad'), { residency: 'failed', failure: /cannot be read/ })
  t.equal(rig.registry.counts().failed, 1)
  t.equal(await rig.serves('good'), 2)
  rig.clock.advance(5_000)
  await t.rejects(rig.registry.acquire('bad'), failed)
  t.equal(reads, 2)
  t.match(rig.observed.loads, [['error', 'store'], ['ok'], ['error', 'store']])
  t.match(await rig.put('bad', one), { created: false, view: { residency: 'resident' } })
  corrupt = false
  t.equal(await rig.serves('bad'), 1)
})

t.test('activation of a version that cannot be loaded leaves the active one', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  await rig.put('pets', two)
  rig.engine.crash()
  rig.engine.recover()
  await rig.fs.remove(blobPath(one))
  await t.rejects(rig.registry.activate('pets', one.version, {}), { code: 'domain_failed' })
  t.equal(rig.registry.get('pets').version, two.version)
  t.equal(await rig.serves('pets'), 2)
})

t.test(
  'a domain whose record cannot be read fails, and does not fall back to its shipped pack',
  async (t) => {
    let rig = await openRig(t, { seeds: { birds: one } })
    await rig.put('birds', two)
    await rig.registry.close()
    await rig.fs.remove('/data/domains/birds.json')
    const file = await rig.fs.create('/data/domains/birds.json')
    await file.write(Buffer.from('{torn'))
    await file.sync()
    await file.close()
    rig = await rig.copy()
    t.match(rig.registry.get('birds'), { residency: 'failed', failure: /record/, version: null })
    await t.rejects(rig.registry.acquire('birds'), { code: 'domain_failed', message: /'birds'/ })
    t.match(await rig.put('birds', three), { created: false, view: { residency: 'resident' } })
    rig = await rig.restart()
    t.equal(await rig.serves('birds'), 3)
  },
)

t.test('a shipped pack serves whatever becomes of a copy of it in the store', async (t) => {
  let rig = await openRig(t, { seeds: { birds: one } })
  await rig.put('pets', one)
  await rig.registry.close()
  const blob = `/data/blobs/${one.version.slice(0, 2)}/${one.version}.safetensors`
  await rig.fs.remove(blob)
  const file = await rig.fs.create(blob)
  await file.write(one.bytes.subarray(1))
  await file.sync()
  await file.close()
  rig = await rig.copy()
  for (const domain of ['birds', 'pets']) {
    t.not(rig.residency(domain), 'failed')
    t.equal(await rig.serves(domain), 1, domain)
  }
  t.same(rig.observed.loads, [['ok', 'seed']], 'both domains have one version')
  // Without the shipped pack, the copy in the store is the only one.
  await rig.registry.close()
  rig = await rig.copy({ seeds: {} })
  t.equal(rig.residency('pets'), 'failed')
})

t.test('a shipped pack that is broken fails alone', async (t) => {
  const broken = { bytes: one.bytes.subarray(0, 50), version: one.version }
  const rig = await openRig(t, { seeds: { bad: broken, good: two } })
  t.equal(rig.residency('bad'), 'failed')
  await t.rejects(rig.registry.acquire('bad'), { code: 'domain_failed' })
  t.equal(await rig.serves('good'), 2)
  t.match(await rig.put('bad', one), { view: { residency: 'resident', seed: false } })
  t.equal(await rig.serves('bad'), 1)
})

t.test('a smaller bank keeps only as many pins as it has rows', async (t) => {
  let rig = await openRig(t, { rows: 5 })
  for (const [domain, made] of Object.entries({ a: one, b: two, c: three })) {
    await rig.put(domain, made)
    await rig.registry.patch(domain, { pinned: true }, {})
  }
  rig = await rig.restart({ rows: 3 })
  t.match(
    ['a', 'b', 'c'].map((domain) => rig.registry.get(domain).pinned),
    [true, false, false],
  )
  t.equal(await rig.serves('b'), 2)
  t.equal(await rig.serves('c'), 3)
  t.equal(rig.residency('a'), 'resident')
})

t.test('close ends waits and refuses changes, and lets those under way finish', async (t) => {
  const rig = await openRig(t)
  await rig.put('pets', one)
  await rig.register({ cold: two })
  let go = (): void => {}
  rig.engine.step = () => new Promise((resolve) => (go = resolve))
  const put = rig.put('late', three)
  await settle()
  go()
  await settle()
  const waiting = rig.registry.acquire('cold')
  const closed = rig.registry.close()
  await t.rejects(waiting, { code: 'draining', status: 503 })
  await t.rejects(rig.put('pets', two), { code: 'draining' })
  await t.rejects(rig.registry.acquire('pets'), { code: 'draining' })
  rig.engine.step = async () => {}
  go()
  await put
  await closed
  t.equal(rig.clock.pending, 0)
  const next = await rig.copy()
  t.equal(await next.serves('late'), 3)
})

t.test('errors contain no path of the server', async (t) => {
  const rig = await openRig(t)
  await rig.register({ pets: one })
  await rig.fs.remove(blobPath(one))
  const error: FacetError = await rig.registry.acquire('pets').then(
    () => t.fail('must fail'),
    (error) => error,
  )
  t.type(error, FacetError)
  t.notMatch(error.message, '/data')
})
