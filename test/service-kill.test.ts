/**
 * SIGKILL of the whole service at random moments: acknowledged changes are there, others wholly or not at
 * all.
 */
import { join } from 'node:path'
import t from 'tap'
import { applied, type DomainState, KillLedger } from '../bench/soak/kill-model.js'
import { compileProgram, Program } from './service-process.js'

t.test(
  'killed while it starts, in uploads, and while clients change domains (pain 11: lost at restart)',
  async (t) => {
    const dir = t.testdir()
    await compileProgram(dir, ['src', 'bench'])
    const { code, out, err } = await new Program(join(dir, 'bench', 'soak', 'kills.js'), ['--kills', '4'])
      .exit
    t.match({ code, err }, { code: 0, err: '' }, out)
    const { kills } = JSON.parse(out.trim().split('\n').at(-1)!)
    t.match(kills, { kills: 4, atStart: 1, atStep: 2, violations: 0 })
    const atSteps = Object.values(kills.steps as Record<string, number>)
    t.equal(
      atSteps.reduce((sum, count) => sum + count),
      2,
      'each says which operation it was',
    )
    t.ok(kills.acknowledged > 0 && kills.checks > 0, out)
  },
)

t.test('the check detects a lost, a torn and an invented change', async (t) => {
  const ledger = new KillLedger()
  const put = (state: DomainState, version: string) => applied(state, { kind: 'put', version }, 2)
  const make = (domain: string, acknowledged: boolean, version: string) => {
    ledger.sent(domain, put(ledger.state(domain), version))
    if (acknowledged) ledger.acknowledged(domain)
  }
  const one = put(null, 'one')
  make('lost', true, 'one')
  t.equal(ledger.found('lost', null), 'wrong')
  make('kept', true, 'one')
  t.equal(ledger.found('kept', one), 'as acknowledged')
  make('kept', false, 'two')
  t.equal(ledger.open, 1)
  t.equal(
    ledger.found('kept', { versions: ['one', 'two'], active: 'one', pinned: false }),
    'wrong',
    'half of it',
  )
  make('kept', false, 'three')
  t.equal(ledger.found('kept', ledger.state('kept')), 'as acknowledged', 'not at all')
  make('kept', false, 'three')
  t.equal(ledger.found('kept', put(ledger.state('kept'), 'three')), 'done unacknowledged', 'wholly')
  t.equal(ledger.found('kept', null), 'wrong')
  t.equal(ledger.found('nobody', one), 'wrong')
})

t.test('the second implementation of the version rules', async (t) => {
  const start: DomainState = { versions: ['a', 'b'], active: 'a', pinned: false }
  t.same(applied(start, { kind: 'stage', version: 'c' }, 2), {
    versions: ['a', 'c'],
    active: 'a',
    pinned: false,
  })
  t.same(applied(start, { kind: 'put', version: 'c' }, 2), {
    versions: ['b', 'c'],
    active: 'c',
    pinned: false,
  })
  t.same(applied(start, { kind: 'activate', version: 'b' }, 2), { ...start, active: 'b' })
  t.same(applied(start, { kind: 'delete-version', version: 'b' }, 2), { ...start, versions: ['a'] })
  t.same(applied(start, { kind: 'pin', pinned: true }, 2), { ...start, pinned: true })
  t.equal(applied(start, { kind: 'delete' }, 2), null)
})
