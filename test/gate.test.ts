/** A limited number of tasks at once, owners in turn by what their tasks cost; no task waits for ever. */
import t from 'tap'
import { Gate, type GateOptions, type GateWait } from '../src/concurrency/gate.js'
import { ManualClock, settle } from './manual-clock.js'

function harness(options: Partial<GateOptions> = {}) {
  const clock = new ManualClock()
  const gate = new Gate({
    width: 2,
    clock,
    purpose: 'for the image to be decoded',
    ...options,
  })
  const running = new Map<string, () => void>()
  const begun: string[] = []
  const enter = (name: string, wait?: GateWait) => {
    const answer = gate.run(
      () => {
        begun.push(name)
        return new Promise<string>((resolve) => {
          running.set(name, () => {
            running.delete(name)
            resolve(name)
          })
        })
      },
      { owner: [name], ...wait },
    )
    answer.catch(() => {})
    return answer
  }
  const end = async (name: string) => {
    running.get(name)!()
    await settle()
  }
  return { clock, gate, running, begun, enter, end }
}

t.test('at most `width` run, the others in order of arrival', async (t) => {
  const { begun, enter, end, gate, running } = harness()
  const answers = ['a', 'b', 'c', 'd'].map((name) => enter(name))
  await settle()
  t.same(begun, ['a', 'b'])
  t.equal(gate.waiting, 2)
  await end('b')
  t.same(begun, ['a', 'b', 'c'])
  for (const name of ['a', 'c', 'd']) await end(name)
  t.same(await Promise.all(answers), ['a', 'b', 'c', 'd'])
  t.equal(running.size + gate.waiting, 0)
})

t.test('a task that throws lets the next one run', async (t) => {
  const { gate } = harness({ width: 1 })
  const failing = gate.run(() => Promise.reject(new Error('boom')))
  const next = gate.run(async () => 'next')
  await t.rejects(failing, /boom/)
  t.equal(await next, 'next')
})

t.test('a client that leaves frees its place and takes no turn', async (t) => {
  const { begun, enter, end, gate } = harness({ width: 1 })
  void enter('a')
  const client = new AbortController()
  const gone = enter('gone', { signal: client.signal })
  const sibling = new AbortController()
  const withdrawn = enter('withdrawn', { signal: sibling.signal })
  const stays = enter('stays')
  t.equal(gate.waiting, 3)
  client.abort()
  sibling.abort()
  await t.rejects(gone, { code: 'client_closed' })
  await t.rejects(withdrawn, { code: 'client_closed' })
  t.equal(gate.waiting, 1)
  await t.rejects(enter('late', { signal: client.signal }), { code: 'client_closed' })
  await end('a')
  t.same(begun, ['a', 'stays'])
  await end('stays')
  await stays
})

t.test('a deadline that passes while waiting is told at once', async (t) => {
  const { begun, clock, enter, end, gate } = harness({ width: 1 })
  void enter('a', { deadline: 5 })
  t.equal(clock.pending, 0, 'what runs needs no timer')
  const late = enter('late', { deadline: 10 })
  const patient = enter('patient', { deadline: 100 })
  clock.advance(10)
  await t.rejects(late, { code: 'deadline_exceeded', status: 504, message: /to be decoded/ })
  t.equal(gate.waiting, 1)
  await t.rejects(enter('past', { deadline: 10 }), { code: 'deadline_exceeded' })
  await end('a')
  t.same(begun, ['a', 'patient'])
  await end('patient')
  await patient
  t.equal(clock.pending, 0)
})

t.test('owners of equal tasks take turns: one that floods delays another by one task', async (t) => {
  const { begun, enter, end, gate } = harness({ width: 1 })
  for (let turn = 0; turn < 4; turn++) void enter(`flood-${turn}`, { owner: ['flood'] })
  void enter('other-0', { owner: ['other'] })
  void enter('other-1', { owner: ['other'] })
  void enter('quiet', { owner: ['quiet'] })
  await settle()
  t.equal(gate.waiting, 6)
  const turns = ['flood-0', 'other-0', 'quiet', 'flood-1', 'other-1', 'flood-2', 'flood-3']
  for (const name of turns) await end(name)
  t.same(begun, turns)
  t.equal(gate.waiting, 0)
})

/** Ends what runs, each task after `ms`, until nothing does. @param first number of the first that runs */
async function drain(
  { clock, begun, end }: ReturnType<typeof harness>,
  ms: number,
  first = 0,
): Promise<void> {
  for (let ended = first; ended < begun.length; ended++) {
    clock.advance(ms)
    await end(begun[ended]!)
  }
}

t.test('while few tasks wait, all run in order of arrival, whoever sends how many', async (t) => {
  const it = harness({ width: 1, little: { tasks: 4, ms: 100 } })
  for (const name of ['a0', 'a1', 'a2', 'b', 'c']) void it.enter(name, { owner: [name[0]!] })
  await settle()
  await drain(it, 10)
  t.same(it.begun, ['a0', 'a1', 'a2', 'b', 'c'])
})

t.test('where more wait, owners take turns until it is few again', async (t) => {
  const it = harness({ width: 1, little: { tasks: 2, ms: 100 } })
  const enter = (name: string) => void it.enter(name, { owner: [name[0]!] })
  for (const name of ['a0', 'a1', 'a2', 'a3', 'b']) enter(name)
  await settle()
  await it.end('a0')
  t.same(it.begun, ['a0', 'b'], 'four wait')
  await it.end('b')
  await it.end('a1')
  enter('c')
  await it.end('a2')
  t.same(it.begun, ['a0', 'b', 'a1', 'a2', 'a3'], 'two wait, of which c had no turn')
  await it.end('a3')
  await it.end('c')
})

t.test('who waits in order of arrival saves no turns up', async (t) => {
  const it = harness({ width: 1, little: { tasks: 4, ms: 1000 } })
  const enter = (name: string) => void it.enter(name, { owner: [name[0]!] })
  const endOne = async () => {
    const name = it.begun.at(-1)!
    it.clock.advance(name.startsWith('a') ? 50 : 1)
    await it.end(name)
  }
  // One sends long tasks and one short ones, of which some always wait.
  enter('a')
  enter('b')
  for (let turn = 0; turn < 20; turn++) {
    enter(`a${turn}`)
    enter(`b${turn}`)
    await settle()
    await endOne()
    await endOne()
  }
  const before = it.begun.length
  for (let turn = 20; turn < 30; turn++) enter(`b${turn}`)
  enter('c')
  enter('a20')
  await settle()
  await drain(it, 1, before - 1)
  const places = it.begun.slice(before)
  t.ok(places.indexOf('c') <= 2, `a newcomer is among the first: ${places.join(' ')}`)
  t.ok(places.indexOf('a20') < 8, 'and who was served more is not the last')
})

t.test('tasks that left do not count as waiting', async (t) => {
  const it = harness({ width: 1, little: { tasks: 4, ms: 200 } })
  void it.enter('known')
  await settle()
  await drain(it, 40)
  void it.enter('a0', { owner: ['a'] })
  const client = new AbortController()
  void it.enter('gone', { owner: ['x'], size: 10, signal: client.signal })
  void it.enter('late', { owner: ['y'], size: 10, deadline: it.clock.now() + 1 })
  for (const name of ['a1', 'a2', 'b']) void it.enter(name, { owner: [name[0]!] })
  client.abort()
  it.clock.advance(1)
  await settle()
  await drain(it, 40, 1)
  t.same(it.begun, ['known', 'a0', 'a1', 'a2', 'b'])
})

t.test('what little is grows with the places', async (t) => {
  const it = harness({ width: 2, little: { tasks: 8, ms: 100 } })
  void it.enter('known')
  await settle()
  await drain(it, 40)
  for (const name of ['a0', 'a1', 'a2', 'a3', 'a4', 'b']) void it.enter(name, { owner: [name[0]!] })
  await settle()
  it.clock.advance(40)
  await it.end('a0')
  t.same(it.begun, ['known', 'a0', 'a1', 'a2'], '160 ms wait for two places')
  await drain(it, 40, 2)
})

t.test('few tasks that are expected to take long are not little', async (t) => {
  const it = harness({ width: 1, little: { tasks: 4, ms: 100 } })
  void it.enter('known')
  await settle()
  await drain(it, 40)
  for (const name of ['a0', 'a1', 'a2', 'a3', 'b']) void it.enter(name, { owner: [name[0]!] })
  await settle()
  it.begun.shift()
  await drain(it, 40)
  t.same(it.begun, ['a0', 'b', 'a1', 'a2', 'a3'], '160 ms wait for one place')
})

t.test(
  'in order of arrival too, a task that is too heavy for what runs is passed, and promised the next room',
  async (t) => {
    const it = harness({ capacity: 10, little: { tasks: 4, ms: 100 } })
    void it.enter('light', { weight: 4 })
    void it.enter('heavy', { weight: 8 })
    void it.enter('fits', { weight: 2 })
    void it.enter('more', { weight: 4 })
    await settle()
    t.same(it.begun, ['light', 'fits'])
    await it.end('light')
    t.same(it.begun, ['light', 'fits', 'heavy'])
    await it.end('fits')
    await it.end('heavy')
    t.same(it.begun, ['light', 'fits', 'heavy', 'more'])
    await it.end('more')
  },
)

t.test('tasks run at once as far as the sum of their weights fits', async (t) => {
  const { begun, enter, end, gate } = harness({ width: 4, capacity: 10 })
  void enter('six', { weight: 6 })
  void enter('four', { weight: 4 })
  void enter('five', { weight: 5 })
  void enter('nothing')
  await settle()
  t.same(begun, ['six', 'four', 'nothing'], 'what weighs nothing passes')
  await end('four')
  t.same(begun, ['six', 'four', 'nothing'], 'five do not fit beside six')
  await end('six')
  t.same(begun, ['six', 'four', 'nothing', 'five'])
  t.equal(gate.waiting, 0)
})

t.test('lighter tasks pass one that is too heavy as far as they fit beside it', async (t) => {
  const { begun, enter, end } = harness({ width: 3, capacity: 10 })
  void enter('running', { weight: 7 })
  void enter('heavy', { weight: 9 })
  const light = Array.from({ length: 12 }, (_, i) => `light-${i}`)
  for (const name of light) void enter(name, { weight: 1 })
  await settle()
  t.same(begun, ['running', 'light-0'], 'a second light one would not fit beside the heavy one')
  for (const name of light.slice(0, 11)) await end(name)
  t.same(begun, ['running', ...light])
  await end('running')
  t.equal(begun.at(-1), 'heavy', 'it waited for what ran before it, and for nothing else')
  await end('light-11')
  await end('heavy')
})

t.test(
  'a task that is too heavy and leaves lets in those behind it; one heavier than all runs alone',
  async (t) => {
    const { begun, clock, enter, end } = harness({ width: 2, capacity: 10 })
    void enter('running', { weight: 8 })
    const heavy = enter('heavy', { owner: ['one'], weight: 9, deadline: 10 })
    void enter('behind', { owner: ['one'], weight: 1 })
    await settle()
    t.same(begun, ['running'], 'an owner does not pass itself')
    clock.advance(10)
    await t.rejects(heavy, { code: 'deadline_exceeded' })
    t.same(begun, ['running', 'behind'])
    await end('behind')
    await end('running')
    void enter('giant', { weight: 100 })
    void enter('after', { weight: 1 })
    await settle()
    t.same(begun.slice(2), ['giant'])
    await end('giant')
    t.same(begun.slice(2), ['giant', 'after'])
    await end('after')
  },
)

interface Client {
  owner: readonly string[]
  ms: number
  size?: number
  weight?: number
  /** Tasks that wait or run at once. */
  atOnce?: number
}

/** Clients that ask again as soon as they are answered, for so long. Milliseconds of tasks, and tasks, of each. */
async function share(clients: Record<string, Client>, forMs: number, options: Partial<GateOptions> = {}) {
  const { clock, gate } = harness(options)
  const totals = Object.fromEntries(
    Object.keys(clients).map((name) => [name, { ms: 0, tasks: 0, longest: 0 }]),
  )
  const ask = async (name: string, { ms, atOnce = 2, ...wait }: Client) => {
    const own = totals[name]!
    const one = async () => {
      while (clock.now() < forMs) {
        const since = clock.now()
        await gate.run(() => new Promise<void>((resolve) => clock.after(ms, resolve)), wait)
        if (clock.now() > forMs) return
        own.longest = Math.max(own.longest, clock.now() - since - ms)
        own.ms += ms
        own.tasks++
      }
    }
    await Promise.all(Array.from({ length: atOnce }, one))
  }
  let over = false
  const all = Promise.all(Object.entries(clients).map(([name, client]) => ask(name, client))).then(() => {
    over = true
  })
  while (!over) {
    await settle()
    clock.advance(1)
  }
  await all
  return totals
}

t.test('owners share the time evenly, however long their tasks are', async (t) => {
  for (const size of [1, 100]) {
    const totals = await share(
      { cheap: { owner: ['cheap'], ms: 2, size: 1 }, dear: { owner: ['dear'], ms: 100, size } },
      5_000,
      { width: 1 },
    )
    const [cheap, dear] = [totals.cheap!, totals.dear!]
    t.ok(Math.abs(cheap.ms - dear.ms) <= 200, `${cheap.ms} and ${dear.ms} ms`)
    t.ok(cheap.longest <= 104, `a cheap task waits for one dear task: ${cheap.longest} ms`)
  }
})

t.test('a principal with many domains gets as much as one with a single domain', async (t) => {
  const many = Array.from({ length: 50 }, (_, n): [string, Client] => [
    `many-${n}`,
    { owner: ['many', `domain-${n}`], ms: 20 },
  ])
  const totals = await share(
    { ...Object.fromEntries(many), one: { owner: ['one', 'domain'], ms: 10, atOnce: 4 } },
    4_000,
  )
  const [one, all] = [totals.one!.ms, many.reduce((sum, [name]) => sum + totals[name]!.ms, 0)]
  t.ok(one > 0.45 * (one + all), `${one} of ${one + all} ms`)
  const counts = many.map(([name]) => totals[name]!.tasks)
  t.ok(Math.max(...counts) - Math.min(...counts) <= 3, 'and its domains share evenly')
})

t.test('a quiet owner of short tasks waits for one long task at most', async (t) => {
  const { clock, gate } = harness()
  const run = (owner: string, ms: number) =>
    gate.run(() => new Promise<void>((resolve) => clock.after(ms, resolve)), { owner: [owner], size: ms })
  let over = false
  const loud = Array.from({ length: 16 }, async (_, n) => {
    while (!over) await run(`loud-${n}`, 300)
  })
  const waits: number[] = []
  const quiet = (async () => {
    while (waits.length < 50) {
      await new Promise<void>((resolve) => clock.after(190, resolve))
      const since = clock.now()
      await run('quiet', 5)
      waits.push(clock.now() - since)
    }
    over = true
  })()
  while (!over) {
    await settle()
    clock.advance(1)
  }
  t.ok(Math.max(...waits) <= 310, `${Math.max(...waits)} ms`)
  while (gate.waiting > 0) {
    await settle()
    clock.advance(100)
  }
  clock.advance(300)
  await Promise.all([quiet, ...loud])
})

t.test('a heavy task waits for those that run, and for none that comes later', async (t) => {
  const { begun, enter, end } = harness({ width: 4, capacity: 10 })
  void enter('first', { weight: 5 })
  void enter('heavy', { weight: 8 })
  for (const name of ['light-0', 'light-1', 'light-2']) void enter(name, { weight: 1 })
  await settle()
  t.same(begun, ['first', 'light-0', 'light-1'], 'two light ones fit beside the heavy one, a third does not')
  await end('light-0')
  t.same(begun.slice(3), ['light-2'])
  await end('first')
  t.same(begun.slice(4), ['heavy'])
  for (const name of ['light-1', 'light-2', 'heavy']) await end(name)
})

t.test('light tasks without end do not starve a heavy one', async (t) => {
  const clients: Record<string, Client> = { heavy: { owner: ['heavy'], ms: 50, weight: 9, atOnce: 1 } }
  for (let n = 0; n < 6; n++) clients[`light-${n}`] = { owner: [`light-${n}`], ms: 20, weight: 3 }
  const totals = await share(clients, 4_000, { width: 4, capacity: 10 })
  t.ok(totals.heavy!.longest <= 700, `${totals.heavy!.longest} ms`)
  t.ok(totals['light-0']!.longest <= 400, `${totals['light-0']!.longest} ms`)
})

t.test('one small task at a time runs beside the others', async (t) => {
  const { begun, enter, end } = harness({ width: 2, smallSize: 5 })
  for (const name of ['long-0', 'long-1', 'long-2']) void enter(name, { size: 50 })
  for (const name of ['small-0', 'small-1']) void enter(name, { size: 5 })
  await settle()
  t.same(begun, ['long-0', 'long-1', 'small-0'])
  await end('small-0')
  t.same(begun.slice(3), ['small-1'])
  await end('long-0')
  t.same(begun.slice(4), ['long-2'], 'the place of a long one is for the next in turn')
  for (const name of ['small-1', 'long-1', 'long-2']) await end(name)
})

t.test('a small task beside the others keeps to the weights, and to what was promised', async (t) => {
  const { begun, enter, end } = harness({ width: 2, capacity: 10, smallSize: 5 })
  void enter('long', { size: 50, weight: 5 })
  void enter('heavy', { size: 50, weight: 8 })
  void enter('small-0', { size: 5, weight: 3 })
  void enter('small-1', { size: 1, weight: 2 })
  void enter('small-2', { size: 1, weight: 1 })
  await settle()
  t.same(begun, ['long', 'small-1'], 'a third would delay the heavy one')
  await end('long')
  t.same(begun.slice(2), ['heavy'])
  for (const name of ['small-1', 'heavy', 'small-0', 'small-2']) await end(name)
})
