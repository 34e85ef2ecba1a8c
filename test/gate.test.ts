/** So many tasks at once, so many waiting, and nobody waits in vain. */
import t from 'tap'
import { Withdrawn } from '../src/errors.js'
import { Gate, type GateOptions, type GateWait } from '../src/concurrency/gate.js'
import { ManualClock, settle } from './manual-clock.js'

function harness(options: Partial<GateOptions> = {}) {
  const clock = new ManualClock()
  const refused: string[] = []
  const gate = new Gate({
    width: 2,
    clock,
    maxWaiting: 3,
    words: { task: 'decoded', option: '--max-queue', optionOfOne: '--max-queue-per-domain' },
    refused: (reason) => void refused.push(reason),
    ...options,
  })
  const running = new Map<string, () => void>()
  const begun: string[] = []
  const run = (name: string, wait?: GateWait) => {
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
      { owner: name, ...wait },
    )
    answer.catch(() => {})
    return answer
  }
  /** A request of one task. */
  const enter = (name: string, wait?: GateWait): Promise<string> => {
    try {
      gate.admit(new Map([[wait?.owner ?? name, 1]]))
    } catch (error) {
      return Promise.reject(error)
    }
    return run(name, wait)
  }
  const end = async (name: string) => {
    running.get(name)!()
    await settle()
  }
  return { clock, gate, refused, running, begun, enter, run, end }
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

t.test('a task that throws gives its turn on', async (t) => {
  const { gate } = harness({ width: 1 })
  const failing = gate.run(() => Promise.reject(new Error('boom')))
  const next = gate.run(async () => 'next')
  await t.rejects(failing, /boom/)
  t.equal(await next, 'next')
})

t.test('who finds the waiting room full is refused, and changes nothing', async (t) => {
  const { enter, end, gate, refused, begun } = harness()
  for (const name of ['a', 'b', 'c', 'd']) void enter(name)
  await settle()
  const full = { code: 'queue_full', status: 429, retryAfter: 1, message: /decoded: 3 \(--max-queue\)/ }
  t.throws(() => gate.admit(new Map([['', 2]])), full, 'two need room, one has it')
  gate.admit(new Map([['', 1]]))
  void enter('e')
  await t.rejects(enter('f'), full)
  t.same(refused, ['queue_full', 'queue_full'])
  for (const name of ['a', 'b', 'c', 'd', 'e']) await end(name)
  t.same(begun, ['a', 'b', 'c', 'd', 'e'])
  gate.admit(new Map([['', 5]]))
  t.throws(() => gate.admit(new Map([['', 6]])), full, 'more than two at once and three waiting never fit')
})

t.test('a client that leaves frees its place and takes no turn', async (t) => {
  const { begun, enter, end, gate, refused } = harness({ width: 1 })
  void enter('a')
  const client = new AbortController()
  const gone = enter('gone', { signal: client.signal })
  const sibling = new AbortController()
  const withdrawn = enter('withdrawn', { signal: sibling.signal })
  const stays = enter('stays')
  t.equal(gate.waiting, 3)
  client.abort()
  sibling.abort(new Withdrawn())
  await t.rejects(gone, { code: 'client_closed' })
  await t.rejects(withdrawn, { code: 'client_closed' })
  t.equal(gate.waiting, 1)
  await t.rejects(enter('late', { signal: client.signal }), { code: 'client_closed' })
  t.same(refused, ['client_closed', 'client_closed'], 'a withdrawn part is no client')
  await end('a')
  t.same(begun, ['a', 'stays'])
  await end('stays')
  await stays
})

t.test('a deadline that passes while waiting is told at once', async (t) => {
  const { begun, clock, enter, end, gate, refused } = harness({ width: 1 })
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
  t.same(refused, ['deadline_exceeded', 'deadline_exceeded'])
})

t.test(
  'owners take turns: one that floods delays another by one task, and never has it refused',
  async (t) => {
    const { begun, enter, end, gate } = harness({ width: 1, maxWaiting: 6, maxWaitingOfOne: 3 })
    for (let turn = 0; turn < 4; turn++) void enter(`flood-${turn}`, { owner: 'flood' })
    const full = { code: 'queue_full', status: 429, message: /3 of 'flood' \(--max-queue-per-domain\)/ }
    await t.rejects(enter('flood-4', { owner: 'flood' }), full)
    const mixed = new Map([
      ['quiet', 1],
      ['flood', 1],
    ])
    t.throws(() => gate.admit(mixed), full, 'all of a request or nothing')
    void enter('other-0', { owner: 'other' })
    void enter('other-1', { owner: 'other' })
    await t.rejects(
      enter('other-2', { owner: 'other' }),
      { code: 'queue_full' },
      'the last place is for who has none',
    )
    void enter('quiet', { owner: 'quiet' })
    await settle()
    t.equal(gate.waiting, 6)
    const turns = ['flood-0', 'flood-1', 'other-0', 'quiet', 'flood-2', 'other-1', 'flood-3']
    for (const name of turns) await end(name)
    t.same(begun, turns)
    t.equal(gate.waiting, 0)
  },
)

t.test('a request that was admitted is never refused half-way', async (t) => {
  const { enter, run, end, gate, refused } = harness({ width: 3, maxWaiting: 20, maxWaitingOfOne: 8 })
  gate.admit(
    new Map([
      ['a', 11],
      ['b', 11],
    ]),
  )
  const both = ['a', 'b'].flatMap((owner) => Array.from({ length: 11 }, (_, i) => `${owner}-${i}`))
  const answers = both.map((name) => run(name, { owner: name[0]! }))
  await settle()
  t.equal(gate.waiting, 19)
  await t.rejects(enter('a-late', { owner: 'a' }), { code: 'queue_full' })
  t.same(refused, ['domain_queue_full'])
  void enter('quiet')
  t.equal(gate.waiting, 20)
  await t.rejects(enter('late'), { code: 'queue_full' })
  t.same(refused, ['domain_queue_full', 'queue_full'])
  for (const name of ['a-0', 'a-1', 'a-2']) await end(name)
  t.equal(gate.waiting, 17)
  t.equal(answers.length, 22)
})

t.test('a flood never holds more than runs and may wait', async (t) => {
  const { enter, end, gate, running } = harness()
  let refusals = 0
  for (let i = 0; i < 1000; i++) {
    enter(`${i}`).catch(() => refusals++)
    t.ok(gate.waiting <= 3 && running.size <= 2)
  }
  await settle()
  t.equal(refusals, 995)
  for (let name = running.keys().next(); !name.done; name = running.keys().next()) await end(name.value)
  t.equal(gate.waiting, 0)
})
