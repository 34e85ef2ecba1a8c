import t from 'tap'
import { settle } from './manual-clock.js'
import { Barrier, makePack, openRig, track } from './registry-rig.js'

const one = makePack(1)
const two = makePack(2)
const three = makePack(3)

t.test('after a restart of the engine pinned domains come back, the others when asked for', async (t) => {
  const rig = await openRig(t)
  await rig.put('pinned', one)
  await rig.put('other', two)
  await rig.registry.patch('pinned', { pinned: true }, {})
  const old = await rig.registry.acquire('other')
  rig.engine.crash()
  t.same(rig.registry.counts(), { resident: 1, cold: 2, loading: 0, failed: 0, inactive: 0 })
  t.equal(rig.bank.memory().rows.used, 1)
  rig.engine.recover()
  await settle()
  t.equal(rig.residency('pinned'), 'resident')
  t.equal(rig.residency('other'), 'cold')
  t.equal(old.generation, 1, 'an old lease is void for the engine')
  t.equal((await rig.registry.acquire('pinned')).generation, 2)
  t.equal(await rig.serves('other'), 2)
})

t.test('an old lease does not free a row of the new generation', async (t) => {
  const rig = await openRig(t, { rows: 3 })
  await rig.put('a', one)
  const old = await rig.registry.acquire('a')
  rig.engine.crash()
  rig.engine.recover()
  const lease = await rig.registry.acquire('a')
  old.release()
  await rig.registry.remove('a', {})
  t.equal(rig.engine.marker(lease.row), 1)
  await rig.put('b', two)
  await rig.put('c', three).catch(() => {})
  t.equal(rig.engine.marker(lease.row), 1)
  lease.release()
  t.equal(rig.engine.marker(lease.row), undefined)
})

t.test('a load that races with a restart ends on the new generation', async (t) => {
  const rig = await openRig(t)
  await rig.register({ a: one })
  const barrier = new Barrier()
  rig.engine.step = barrier.step
  const waiting = track(rig.registry.acquire('a'))
  await settle()
  t.equal(barrier.waiting, 1)
  rig.engine.crash()
  await settle()
  t.equal(waiting.state, 'pending')
  t.equal(rig.residency('a'), 'loading')
  rig.engine.recover()
  barrier.pass()
  await settle()
  t.match(waiting.value, { generation: 3 })
  t.equal(rig.engine.marker(waiting.value!.row), 1)
  t.equal(rig.observed.loads.filter(([outcome]) => outcome === 'error').length, 0)
})

t.test('a load that finds the engine gone before its event waits for the next one', async (t) => {
  const rig = await openRig(t)
  await rig.register({ a: one })
  rig.engine.state = 'restarting'
  const waiting = track(rig.registry.acquire('a'))
  await settle()
  rig.engine.crash()
  await settle()
  t.equal(waiting.state, 'pending')
  rig.engine.recover()
  await settle()
  t.equal(waiting.state, 'done')
})

t.test('waits time out while the engine stays down', async (t) => {
  const rig = await openRig(t, { limits: { loadTimeoutMs: 100 } })
  await rig.put('a', one)
  rig.engine.crash()
  const cold = track(rig.registry.acquire('a'))
  const put = track(rig.put('b', two))
  await settle()
  rig.clock.advance(100)
  await settle()
  t.match(cold.error, { code: 'load_timeout', message: /restarting/ })
  t.match(put.error, { code: 'engine_restarting', status: 503 })
  rig.engine.recover()
  await settle()
  t.notOk(rig.registry.has('b'))
  t.equal(rig.residency('a'), 'resident', 'a load that has its row goes on')
  t.equal(await rig.serves('a'), 1)
})

t.test('a put over a restart: its row is written again, its canary is not', async (t) => {
  const rig = await openRig(t)
  const barrier = new Barrier()
  rig.engine.step = barrier.step
  const putting = track(rig.put('a', one))
  await settle()
  rig.engine.crash()
  rig.engine.recover()
  barrier.pass()
  // A row is laid out in slices, which may take several turns.
  while (putting.state === 'pending') await settle()
  t.equal(putting.state, 'done')
  t.equal(await rig.serves('a'), 1)

  rig.engine.step = (name) => (name === 'run' ? new Promise(() => {}) : Promise.resolve())
  const trying = track(rig.put('b', two))
  await settle()
  rig.engine.crash()
  rig.engine.recover()
  while (trying.state === 'pending') await settle()
  t.match(trying.error, { code: 'engine_restarting' })
  t.notOk(rig.registry.has('b'))
})

t.test(
  'a restart while a put is being written: it is in force, cold, and pinned ones load again',
  async (t) => {
    let crash = (): void => {}
    const before = (step: string, path: string) => {
      if (step === 'rename' && path.endsWith('.json')) crash()
    }
    const rig = await openRig(t, { fs: { before } })
    await rig.put('pinned', one)
    await rig.registry.patch('pinned', { pinned: true }, {})
    crash = () => {
      crash = () => {}
      rig.engine.crash()
      rig.engine.recover()
    }
    await rig.put('pinned', two)
    await settle()
    t.equal(rig.residency('pinned'), 'resident')
    t.equal(await rig.serves('pinned'), 2)
    crash = () => {
      crash = () => {}
      rig.engine.crash()
      rig.engine.recover()
    }
    await rig.put('plain', three)
    t.equal(rig.residency('plain'), 'cold')
    t.equal(await rig.serves('plain'), 3)
  },
)

t.test('a restart right after a row was written: the load begins again', async (t) => {
  const rig = await openRig(t)
  await rig.register({ a: one, b: two })
  const writeRow = rig.engine.writeRow.bind(rig.engine)
  rig.engine.writeRow = async (row, tensors) => {
    await writeRow(row, tensors)
    rig.engine.writeRow = writeRow
    rig.engine.crash()
    rig.engine.recover()
  }
  const lease = await rig.registry.acquire('a')
  t.equal(lease.generation, rig.engine.generation)
  t.equal(rig.engine.marker(lease.row), 1)
  t.equal(await rig.serves('b'), 2)
})

t.test('a slow load from before a restart does not write into a row given away since', async (t) => {
  let delay = 0
  const rig = await openRig(t, { rows: 2, fs: { delay: () => delay } })
  await rig.register({ slow: one, fast: two })
  delay = 2_000
  const slow = track(rig.registry.acquire('slow'))
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
  rig.engine.crash()
  rig.engine.recover()
  delay = 0
  const fast = await rig.registry.acquire('fast')
  t.equal(slow.state, 'pending')
  await settle()
  t.equal(rig.engine.marker(fast.row), 2)
  fast.release()
  await settle()
  t.equal(rig.engine.marker(slow.value!.row), 1)
})
