import t from 'tap'
import { settle } from './manual-clock.js'
import { Barrier, blobPath, type Made, makePack, openRig, type Rig, track } from './registry-rig.js'

/** Packs of domains `a`, `b`, ...; the marker is the position. */
function packs(count: number): Record<string, Made> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [String.fromCharCode(97 + i), makePack(i)]),
  )
}

/** A rig in which the next writes of rows wait. */
function blocked(rig: Rig): Barrier {
  const barrier = new Barrier()
  rig.engine.step = barrier.step
  return barrier
}

t.test('many requests for one cold version share one load and one row', async (t) => {
  let reads = 0
  const before = (step: string, path: string) => {
    if (step === 'read' && path.endsWith('.safetensors')) reads++
  }
  const rig = await openRig(t, { fs: { before } })
  await rig.register(packs(1))
  t.equal(rig.residency('a'), 'cold')
  const written = rig.engine.written.length
  reads = 0
  const leases = await Promise.all(Array.from({ length: 5 }, () => rig.registry.acquire('a')))
  t.equal(new Set(leases.map(({ row }) => row)).size, 1)
  t.equal(reads, 1)
  t.equal(rig.engine.written.length, written + 1)
  t.equal(rig.observed.misses, 5)
  t.same(rig.observed.loads, [['ok', 'store']])
})

t.test('different versions load side by side, up to a limit, and delay no resident one', async (t) => {
  const rig = await openRig(t, { limits: { concurrentLoads: 3 } })
  await rig.register(packs(6))
  await rig.touch('a')
  const barrier = blocked(rig)
  const cold = ['b', 'c', 'd', 'e', 'f'].map((domain) => track(rig.registry.acquire(domain)))
  await settle()
  t.equal(barrier.waiting, 3)
  t.equal(rig.residency('f'), 'loading')
  t.equal(rig.registry.counts().loading, 5)
  t.equal(await rig.serves('a'), 0)
  barrier.pass()
  await settle()
  t.ok(cold.every(({ state }) => state === 'done'))
})

t.test('a request waits for a load at most its time-out, and the load goes on', async (t) => {
  const rig = await openRig(t, { limits: { loadTimeoutMs: 500 } })
  await rig.register(packs(1))
  const barrier = blocked(rig)
  const first = track(rig.registry.acquire('a'))
  rig.clock.advance(300)
  const second = track(rig.registry.acquire('a'))
  await settle()
  rig.clock.advance(200)
  await settle()
  t.match(first, { state: 'failed', error: { code: 'load_timeout', status: 503, retryAfter: 1 } })
  t.equal(second.state, 'pending')
  barrier.pass()
  await settle()
  t.equal(second.state, 'done')
  t.equal(rig.clock.pending, 0)
})

t.test('a deadline ends the wait, and so does the client that leaves', async (t) => {
  const rig = await openRig(t)
  await rig.register(packs(1))
  const barrier = blocked(rig)
  const client = new AbortController()
  const late = track(rig.registry.acquire('a', undefined, { deadline: rig.clock.now() + 50 }))
  const gone = track(rig.registry.acquire('a', undefined, { signal: client.signal }))
  const patient = track(rig.registry.acquire('a'))
  await settle()
  rig.clock.advance(50)
  client.abort()
  await settle()
  t.match(late.error, { code: 'deadline_exceeded', status: 504 })
  t.match(gone.error, { code: 'client_closed', status: 499 })
  await t.rejects(rig.registry.acquire('a', undefined, { signal: client.signal }), { code: 'client_closed' })
  barrier.pass()
  await settle()
  t.equal(patient.state, 'done')
  t.equal(rig.clock.pending, 0)
})

t.test('the least recently used version leaves, and its age is told', async (t) => {
  const rig = await openRig(t, { rows: 3 })
  await rig.register(packs(3))
  rig.observed.evictions.length = 0
  await rig.touch('a', 'b')
  rig.clock.advance(2_000)
  await rig.touch('a')
  rig.clock.advance(500)
  await rig.touch('c')
  t.same(
    ['a', 'b', 'c'].map((domain) => rig.residency(domain)),
    ['resident', 'cold', 'resident'],
  )
  t.same(rig.observed.evictions, [2.5])
  t.equal(await rig.serves('b'), 1)
  t.equal(rig.residency('a'), 'cold')
})

t.test('an inactive version leaves before any active one', async (t) => {
  const rig = await openRig(t, { rows: 4, limits: { minResidencyMs: 1_000 } })
  await rig.register(packs(3))
  await rig.touch('a', 'b')
  await rig.put('b', makePack(9))
  rig.clock.advance(1_000)
  await rig.serves('b', makePack(1).version)
  await rig.touch('c')
  t.equal(rig.residency('a'), 'resident')
  t.match(rig.registry.get('b').versions, [{ residency: 'cold' }, { residency: 'resident' }])
})

t.test('a version stays for its minimum residency; who needs the row waits', async (t) => {
  const rig = await openRig(t, { rows: 2, limits: { minResidencyMs: 1_000 } })
  await rig.register(packs(1))
  await rig.touch('a')
  const put = track(rig.put('b', makePack(1)))
  await settle()
  rig.clock.advance(999)
  await settle()
  t.equal(put.state, 'pending')
  t.equal(await rig.serves('a'), 0)
  rig.clock.advance(1)
  await settle()
  t.equal(put.state, 'done')
  t.equal(rig.residency('a'), 'cold')
})

t.test('a version in constant use gives way to versions that wait', async (t) => {
  const rig = await openRig(t, { rows: 2, limits: { minResidencyMs: 1_000 } })
  await rig.register({ a: makePack(0) })
  await rig.touch('a')
  rig.clock.advance(1_000)
  await rig.put('b', makePack(1))
  rig.clock.advance(1_000)
  const first = await rig.registry.acquire('b')
  const waiting = track(rig.registry.acquire('a'))
  await settle()
  const next = track(rig.registry.acquire('b'))
  await settle()
  t.equal(next.state, 'pending', 'no new references')
  t.equal(rig.engine.marker(first.row), 1, 'the one in use is not touched')
  first.release()
  await settle()
  t.equal(waiting.state, 'done')
  t.equal(next.state, 'pending')
  waiting.value?.release()
  rig.clock.advance(1_000)
  await settle()
  t.equal(next.state, 'done')
})

t.test('a version marked to leave stays if the wait ends otherwise', async (t) => {
  const rig = await openRig(t, { rows: 2, limits: { loadTimeoutMs: 100 } })
  await rig.register(packs(2))
  const lease = await rig.registry.acquire('a')
  const waiting = track(rig.registry.acquire('b'))
  await settle()
  const again = track(rig.registry.acquire('a'))
  await settle()
  t.equal(again.state, 'pending')
  rig.clock.advance(100)
  await settle()
  t.equal(waiting.error?.code, 'load_timeout')
  t.equal(await rig.serves('a'), 0)
  lease.release()
  await settle()
  t.equal(rig.residency('b'), 'cold', 'a load that nobody waits for gives up its turn')
  t.equal(rig.residency('a'), 'resident')
  t.same(rig.observed.evictions.slice(1), [])
})

t.test('rows are given in the order of arrival', async (t) => {
  const rig = await openRig(t, { rows: 2 })
  await rig.register(packs(4))
  const order: string[] = []
  const held = await rig.registry.acquire('a')
  const all = ['d', 'b', 'c'].map(async (domain) => {
    const lease = await rig.registry.acquire(domain)
    order.push(domain)
    lease.release()
  })
  await settle()
  held.release()
  await Promise.all(all)
  t.same(order, ['d', 'b', 'c'])
})

t.test('twice as many hot domains as rows: every request is answered, and the metrics tell', async (t) => {
  const all = packs(8)
  const first = await openRig(t)
  await first.register(all)
  const rig = await first.restart({ rows: 5, limits: { minResidencyMs: 200, loadTimeoutMs: 2_000 } })
  const served: Record<string, number> = {}
  let stop = false
  let wrong = 0
  const client = async (domain: string, marker: number): Promise<void> => {
    while (!stop) {
      const lease = await rig.registry.acquire(domain)
      if (rig.engine.marker(lease.row) !== marker) wrong++
      await new Promise<void>((resolve) => rig.clock.after(10, resolve))
      if (rig.engine.marker(lease.row) !== marker) wrong++
      lease.release()
      served[domain] = (served[domain] ?? 0) + 1
    }
  }
  // Two clients a domain, so that a row always has a reference.
  const clients = Object.keys(all).flatMap((domain, index) => [client(domain, index), client(domain, index)])
  for (let step = 0; step < 800; step++) {
    await settle()
    rig.clock.advance(5)
  }
  stop = true
  const running = track(Promise.all(clients))
  while (running.state === 'pending') {
    await settle()
    rig.clock.advance(5)
  }
  t.equal(running.state, 'done', 'no request timed out')
  t.equal(wrong, 0)
  const counts = Object.values(served)
  t.equal(counts.length, 8)
  t.ok(Math.min(...counts) * 3 > Math.max(...counts), `a fair share each: ${counts}`)
  t.ok(rig.observed.evictions.length > 20)
  t.equal(rig.observed.loads.filter(([outcome]) => outcome === 'ok').length, rig.observed.loads.length)
  t.ok(rig.observed.misses >= rig.observed.loads.length)
})

t.test('a put into a bank in use waits for a row, or says that it is full and changes nothing', async (t) => {
  const rig = await openRig(t, { rows: 3, limits: { loadTimeoutMs: 100 } })
  await rig.register(packs(2))
  const leases = [await rig.registry.acquire('a'), await rig.registry.acquire('b')]
  const refused = track(rig.put('c', makePack(2)))
  await settle()
  rig.clock.advance(100)
  await settle()
  t.match(refused.error, { code: 'bank_full', status: 503, retryAfter: 1 })
  t.notOk(rig.registry.has('c'))
  const taken = track(rig.put('c', makePack(2)))
  await settle()
  leases[1]!.release()
  await settle()
  t.equal(taken.state, 'done')
  t.equal(rig.engine.marker(leases[0]!.row), 0)
  t.equal(rig.clock.pending, 0)
})

t.test('a wait ends with what the domain is then', async (t) => {
  const rig = await openRig(t)
  await rig.register(packs(3))
  const barrier = blocked(rig)
  const removed = track(rig.registry.acquire('a'))
  const version = track(rig.registry.acquire('b', makePack(1).version))
  const replaced = track(rig.registry.acquire('b'))
  const explicit = track(rig.registry.acquire('c', makePack(2).version))
  await settle()
  await rig.registry.remove('a', {})
  rig.engine.step = async () => {}
  await rig.put('b', makePack(9))
  await rig.put('c', makePack(8))
  await rig.registry.removeVersion('c', makePack(2).version, {})
  barrier.pass()
  await settle()
  t.equal(removed.error?.code, 'unknown_domain')
  t.equal(rig.engine.marker(version.value!.row), 1, 'asked for by its name')
  t.equal(rig.engine.marker(replaced.value!.row), 9, 'the active one')
  t.equal(explicit.error?.code, 'unknown_version')
})

t.test('a blob deleted under a load is no failure of the domain', async (t) => {
  const rig = await openRig(t, { rows: 2 })
  await rig.register(packs(2))
  const held = await rig.registry.acquire('b')
  const waiting = track(rig.registry.acquire('a'))
  await settle()
  await rig.registry.remove('a', {})
  held.release()
  await settle()
  t.equal(waiting.error?.code, 'unknown_domain')
})

t.test('a pinned domain stays, is loaded at once, and hands its pin to the next version', async (t) => {
  const rig = await openRig(t, { rows: 4 })
  await rig.register(packs(5))
  t.match(await rig.registry.patch('a', { pinned: true }, {}), { pinned: true, residency: 'resident' })
  await rig.registry.patch('a', { pinned: true }, {})
  await rig.touch('b', 'c', 'd', 'e', 'b', 'c')
  t.equal(rig.residency('a'), 'resident')
  await rig.put('a', makePack(9))
  await rig.touch('b', 'c', 'd', 'e', 'b', 'c')
  t.match(rig.registry.get('a'), { pinned: true, residency: 'resident' })
  t.match(rig.registry.get('a').versions, [{ residency: 'cold' }, { residency: 'resident' }])
  await rig.registry.activate('a', makePack(0).version, {})
  await rig.touch('b', 'c', 'd', 'e', 'b', 'c')
  t.match(rig.registry.get('a').versions, [{ residency: 'resident' }, { residency: 'cold' }])
  await rig.registry.patch('a', { pinned: false }, {})
  await rig.touch('b', 'c', 'd', 'e')
  t.equal(rig.residency('a'), 'cold')
  t.same(
    rig.observed.changes.slice(5).map(({ action, pinned }) => [action, pinned]),
    [
      ['domain.patch', true],
      ['domain.put', undefined],
      ['version.activate', undefined],
      ['domain.patch', false],
    ],
  )
})

t.test('pins leave one row for the rest', async (t) => {
  const rig = await openRig(t, { rows: 4 })
  await rig.register(packs(4))
  const refused = { code: 'pins_exceed_memory', status: 409, message: /2 domains are pinned/ }
  const [a, b, c] = await Promise.allSettled(
    ['a', 'b', 'c'].map((domain) => rig.registry.patch(domain, { pinned: true }, {})),
  )
  t.equal(a?.status, 'fulfilled')
  t.equal(b?.status, 'fulfilled')
  t.match(c, { status: 'rejected', reason: refused })
  await rig.touch('c', 'd', 'c')
  await rig.put('a', makePack(9))
  t.equal(await rig.serves('a'), 9)
  await rig.registry.patch('b', { pinned: false }, {})
  await rig.registry.patch('c', { pinned: true }, {})
  const small = await openRig(t, { rows: 2 })
  await small.put('a', makePack(0))
  await t.rejects(small.registry.patch('a', { pinned: true }, {}), { code: 'pins_exceed_memory' })
})

t.test('a domain that cannot be loaded cannot be pinned', async (t) => {
  const rig = await openRig(t)
  await rig.register(packs(1))
  await rig.fs.remove(blobPath(makePack(0)))
  await t.rejects(rig.registry.patch('a', { pinned: true }, {}), { code: 'domain_failed' })
  t.equal(rig.registry.get('a').pinned, false)
})
