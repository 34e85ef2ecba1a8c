/** The bank's memory covers adapters and heads: a few large heads fill it as many small ones do. */
import t from 'tap'
import { rowBytes } from '../src/engine/bank-spec.js'
import { bankLayout } from '../src/manifest/layout.js'
import { makePack, manifest, openRig, type Rig, type RigOptions, track } from './registry-rig.js'
import { settle } from './manual-clock.js'

const SMALL = 3
const LARGE = 300
const sizes = { layout: bankLayout(manifest), dtype: 'f32' as const, features: manifest.features }
const bytes = (classes: number) => rowBytes(sizes, { adapter: 'whole', classes, halfHead: false })

/** A pack with a head of so many classes. */
function packOf(marker: number, classes: number) {
  const weight = new Float32Array(classes * manifest.features)
  const bias = new Float32Array(classes).fill(marker)
  const labels = Array.from({ length: classes }, (_, index) => `${marker}-${index}`)
  return makePack(marker, { head: { classes, weight, bias }, labels })
}

/** Twenty rows, and memory for the base and `large` packs with large heads. */
const rigOf = (large: number, more: RigOptions['limits'] = {}): RigOptions => ({
  rows: 20,
  memory: bytes(SMALL) + large * bytes(LARGE),
  limits: more,
})

function used(rig: Rig): number {
  const { adapters, heads } = rig.bank.memory()
  return adapters + heads
}

t.test('large heads fill the bank although rows are free', async (t) => {
  const options = rigOf(2)
  const rig = await openRig(t, options)
  await rig.register({ a: packOf(1, LARGE), b: packOf(2, LARGE), c: packOf(3, LARGE) })
  for (const domain of ['a', 'b', 'c', 'a', 'c', 'b']) {
    await rig.touch(domain)
    t.equal(rig.residency(domain), 'resident')
    t.ok(used(rig) <= options.memory!, `${used(rig)} bytes`)
  }
  t.match(rig.bank.memory().rows, { used: 3, capacity: 20 })
  t.ok(rig.observed.evictions.length >= 3)
})

t.test('many small ones fit, and one large one takes the place of as many as it needs', async (t) => {
  const options = rigOf(1)
  const rig = await openRig(t, options)
  const small = Array.from({ length: 4 }, (_, index) => `s${index}`)
  t.ok(4 * bytes(SMALL) < bytes(LARGE))
  await rig.register({
    ...Object.fromEntries(small.map((domain, index) => [domain, packOf(index + 1, SMALL)])),
    large: packOf(9, LARGE),
  })
  await rig.touch(...small)
  t.equal(rig.bank.memory().rows.used, 5)
  await rig.touch('large')
  t.same(
    small.map((domain) => rig.residency(domain)),
    ['cold', 'cold', 'cold', 'cold'],
  )
  await rig.touch('s2')
  t.equal(rig.residency('large'), 'cold')
  t.ok(used(rig) <= options.memory!)
})

t.test('a version waits until those in use have freed enough bytes', async (t) => {
  const rig = await openRig(t, rigOf(1))
  await rig.register({ a: packOf(1, SMALL), b: packOf(2, SMALL), large: packOf(9, LARGE) })
  const [a, b] = [await rig.registry.acquire('a'), await rig.registry.acquire('b')]
  const large = track(rig.registry.acquire('large'))
  await settle()
  a.release()
  await settle()
  t.equal(large.state, 'pending', 'one small head less is not room enough')
  b.release()
  await settle()
  t.equal(large.state, 'done')
})

t.test('a version larger than the whole bank is refused at once, and changes nothing', async (t) => {
  const rig = await openRig(t, rigOf(1))
  const huge = packOf(1, LARGE + 1)
  const refused = { code: 'invalid_pack', status: 422, message: /raise --bank-memory/ }
  await t.rejects(rig.put('huge', huge), refused)
  t.notOk(rig.registry.has('huge'))
  const larger = await openRig(t, rigOf(2))
  await larger.put('huge', huge)
  const smaller = await larger.restart(rigOf(1))
  await t.rejects(smaller.registry.acquire('huge'), { code: 'domain_failed', message: /raise --bank-memory/ })
  await smaller.put('other', packOf(2, SMALL))
  t.equal(await smaller.serves('other'), 2)
})

t.test('pins leave room for the largest head there is', async (t) => {
  const rig = await openRig(t, rigOf(2))
  await rig.register({ a: packOf(1, LARGE), b: packOf(2, LARGE), s: packOf(3, SMALL) })
  await rig.registry.patch('a', { pinned: true }, {})
  for (const domain of ['b', 's']) {
    await t.rejects(rig.registry.patch(domain, { pinned: true }, {}), {
      code: 'pins_exceed_memory',
      message: /1 domains are pinned/,
    })
  }
  await rig.touch('b', 's', 'b')
  t.equal(rig.residency('a'), 'resident')
  const next = await rig.restart(rigOf(1))
  t.equal(next.registry.get('a').pinned, false, 'a smaller bank drops the pin')
})

t.test('a pinned domain gets no larger version than the pins leave room for', async (t) => {
  const rig = await openRig(t, rigOf(2))
  await rig.register({ a: packOf(1, SMALL), b: packOf(2, SMALL), other: packOf(3, LARGE) })
  for (const domain of ['a', 'b']) await rig.registry.patch(domain, { pinned: true }, {})
  const before = rig.registry.get('a')
  const large = packOf(4, LARGE)
  const refused = {
    code: 'pins_exceed_memory',
    status: 409,
    message: /"a" is pinned, and its version of 300 classes .* beside 1 other pinned domains: unpin one/,
  }
  await t.rejects(rig.put('a', large), refused)
  t.same(rig.registry.get('a'), before, 'nothing has changed')
  await t.rejects(rig.store.readBlob(large.version), 'and nothing is kept')
  await rig.put('a', large, false)
  await t.rejects(rig.registry.activate('a', large.version, {}), refused)
  t.equal(await rig.serves('a'), 1)
  await rig.put('a', packOf(5, SMALL))
  t.equal(await rig.serves('a'), 5, 'one of the same size is taken')
  await rig.touch('other')
  t.equal(rig.residency('other'), 'resident', 'what comes and goes has its room')
  await rig.registry.patch('b', { pinned: false }, {})
  await rig.registry.activate('a', large.version, {})
  t.equal(await rig.serves('a'), 4)
  await rig.touch('b', 'other')
  t.match(rig.registry.get('a'), { pinned: true, residency: 'resident' })

  const two = await openRig(t, rigOf(3))
  await two.register({ a: packOf(1, SMALL), b: packOf(2, SMALL) })
  for (const domain of ['a', 'b']) await two.registry.patch(domain, { pinned: true }, {})
  const both = await Promise.allSettled(['a', 'b'].map((domain, i) => two.put(domain, packOf(6 + i, LARGE))))
  t.equal(both.filter(({ status }) => status === 'rejected').length, 0, 'two fit beside a third')
  const tight = await openRig(t, rigOf(2.5))
  await tight.register({ a: packOf(1, SMALL), b: packOf(2, SMALL) })
  for (const domain of ['a', 'b']) await tight.registry.patch(domain, { pinned: true }, {})
  const one = await Promise.allSettled(['a', 'b'].map((domain, i) => tight.put(domain, packOf(6 + i, LARGE))))
  const [first, second] = one.sort((a, b) => a.status.localeCompare(b.status))
  t.equal(first!.status, 'fulfilled')
  t.match(second, { status: 'rejected', reason: { code: 'pins_exceed_memory' } })
})

t.test('the age of the least recently used row, and the number of pins', async (t) => {
  const rig = await openRig(t)
  t.equal(rig.bank.lruAge(), 0)
  await rig.register({ a: packOf(1, SMALL), b: packOf(2, SMALL) })
  await rig.touch('a', 'b')
  rig.clock.advance(3000)
  await rig.touch('base', 'a')
  rig.clock.advance(1000)
  t.equal(rig.bank.lruAge(), 4000, 'b was asked for first')
  await rig.touch('b')
  t.equal(rig.bank.lruAge(), 1000)
  await rig.registry.patch('a', { pinned: true }, {})
  t.equal(rig.registry.pinned(), 1, 'the base does not count')
})
