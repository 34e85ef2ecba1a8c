/** A limited number of tasks at once, owners in turn; no task waits for ever. */
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
    purpose: 'for the image to be decoded',
    refused: (reason) => void refused.push(reason),
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
      { owner: name, ...wait },
    )
    answer.catch(() => {})
    return answer
  }
  const end = async (name: string) => {
    running.get(name)!()
    await settle()
  }
  return { clock, gate, refused, running, begun, enter, end }
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

t.test('owners take turns: one that floods delays another by one task', async (t) => {
  const { begun, enter, end, gate } = harness({ width: 1 })
  for (let turn = 0; turn < 4; turn++) void enter(`flood-${turn}`, { owner: 'flood' })
  void enter('other-0', { owner: 'other' })
  void enter('other-1', { owner: 'other' })
  void enter('quiet', { owner: 'quiet' })
  await settle()
  t.equal(gate.waiting, 6)
  const turns = ['flood-0', 'flood-1', 'other-0', 'quiet', 'flood-2', 'other-1', 'flood-3']
  for (const name of turns) await end(name)
  t.same(begun, turns)
  t.equal(gate.waiting, 0)
})

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

t.test('lighter tasks pass one that is too heavy, but only so often', async (t) => {
  const { begun, enter, end } = harness({ width: 2, capacity: 10 })
  void enter('running', { weight: 8 })
  void enter('heavy', { weight: 9 })
  const light = Array.from({ length: 12 }, (_, i) => `light-${i}`)
  for (const name of light) void enter(name, { weight: 1 })
  await settle()
  for (const name of light.slice(0, 8)) await end(name)
  t.same(begun, ['running', ...light.slice(0, 8)], 'now what becomes free is kept for the heavy one')
  await end('running')
  t.same(begun.slice(-2), ['heavy', 'light-8'])
  await end('heavy')
})

t.test(
  'a task that is too heavy and leaves lets in those behind it; one heavier than all runs alone',
  async (t) => {
    const { begun, clock, enter, end } = harness({ width: 2, capacity: 10 })
    void enter('running', { weight: 8 })
    const heavy = enter('heavy', { owner: 'one', weight: 9, deadline: 10 })
    void enter('behind', { owner: 'one', weight: 1 })
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
