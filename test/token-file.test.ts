/** A token file is read again while the service runs: tokens change without a restart, and no route opens. */
import { chmod, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { exposures } from '../src/http/access/exposure.js'
import { POLL_INTERVAL_MS, Principals, type TokenSources } from '../src/http/access/token-file.js'
import { identify, variablePrincipals } from '../src/http/access/tokens.js'
import { sha256, testApp } from './http-app.js'
import { ManualClock } from './manual-clock.js'
import { until } from './until.js'

const line = (id: string, token: string, scopes: string[], more = {}) =>
  `${JSON.stringify({ id, sha256: sha256(token), scopes, ...more })}\n`

async function watched(t: Test, text: string) {
  const file = join(t.testdir({ tokens: text }), 'tokens')
  const clock = new ManualClock()
  const logs: Record<string, unknown>[] = []
  const logger = pino({ level: 'info' }, { write: (text: string) => void logs.push(JSON.parse(text)) })
  const principals = await Principals.open({ tokenFile: file, adminToken: 'by-variable-1234' }, clock, logger)
  t.teardown(() => principals.close())
  const knows = (token: string) => identify(token, principals.current)?.id ?? null
  return { file, clock, logs, principals, knows }
}

/** Lets the service check the file twice: the first check sees a change, the second takes it. */
async function look(principals: Principals) {
  await principals.poll()
  await principals.poll()
}

t.test('rotation: a new token, then both, then the new one alone', async (t) => {
  const { file, logs, principals, knows } = await watched(t, line('ops', 'old-token', ['admin']))
  t.equal(knows('old-token'), 'ops')
  await writeFile(file, line('ops', 'old-token', ['admin']) + line('ops', 'new-token', ['admin']))
  await look(principals)
  t.strictSame([knows('old-token'), knows('new-token')], ['ops', 'ops'])
  await writeFile(`${file}.next`, line('ops', 'new-token', ['admin']))
  await rename(`${file}.next`, file)
  await look(principals)
  t.strictSame([knows('old-token'), knows('new-token')], [null, 'ops'])
  t.equal(knows('by-variable-1234'), 'admin', "the variable's token stays")
  t.match(
    logs.map(({ msg }) => msg),
    ['token file read again', 'token file read again'],
  )
  await look(principals)
  t.equal(logs.length, 2, 'no news, no line')
})

t.test('the running service takes a changed file after two checks', async (t) => {
  const { file, clock, principals } = await watched(t, line('reader', 'old-token', ['predict']))
  const { app } = await testApp(t, { principals: () => principals.current })
  const list = async (token: string) =>
    (await app.inject({ url: '/v1/domains', headers: { authorization: `Bearer ${token}` } })).statusCode
  principals.watch()
  t.equal(await list('old-token'), 200)
  await writeFile(file, line('reader', 'new-token', ['predict']))
  for (const expected of [1, 2]) {
    clock.advance(POLL_INTERVAL_MS)
    await until(() => clock.pending > 0)
    t.equal(await list('old-token'), expected === 1 ? 200 : 401, `after ${expected} looks`)
  }
  t.equal(await list('new-token'), 200)
  principals.close()
  t.equal(clock.pending, 0)
})

t.test('a file that is still being written is not taken', async (t) => {
  const whole = line('ops', 'ops-token', ['admin']) + line('scraper', 'scrape-token', ['metrics'])
  const { file, principals, knows } = await watched(t, whole)
  const longer = whole + line('reader', 'read-token', ['predict'])
  await writeFile(file, longer.slice(0, whole.length))
  await principals.poll()
  await writeFile(file, longer.slice(0, whole.length + 30))
  await principals.poll()
  await writeFile(file, longer)
  await principals.poll()
  t.equal(knows('read-token'), null)
  await principals.poll()
  t.equal(knows('read-token'), 'reader')
})

t.test('a file that cannot be used changes nothing, and the log says so once', async (t) => {
  const good = line('ops', 'ops-token', ['admin']) + line('scraper', 'scrape-token', ['metrics'])
  const { file, logs, principals, knows } = await watched(t, good)
  const bad: [string, () => Promise<void>, RegExp][] = [
    ['nonsense', () => writeFile(file, 'not json'), /line 1: is not a JSON object/],
    ['empty', () => writeFile(file, '\n'), /holds no token/],
    ['gone', () => rm(file), /--token-file.*no such file/],
    [
      "the variable's token",
      () => writeFile(file, good + line('reader', 'by-variable-1234', ['predict'])),
      /line 3: the same token as FACET_ADMIN_TOKEN/,
    ],
    [
      'a scope nobody holds any more',
      () => writeFile(file, line('ops', 'other', ['admin'])),
      /nobody would hold the scope metrics/,
    ],
  ]
  for (const [what, damage, reason] of bad) {
    logs.length = 0
    await damage()
    await look(principals)
    await look(principals)
    t.match(logs, [{ level: 50, msg: 'token file not taken', reason }], what)
    t.equal(logs.length, 1, `${what}: one line`)
    t.notMatch(JSON.stringify(logs), sha256('other'), 'and no hash')
    t.strictSame([knows('ops-token'), knows('scrape-token')], ['ops', 'scraper'], what)
    t.equal(knows('by-variable-1234'), 'admin', what)
    await writeFile(file, good)
    await look(principals)
  }
})

t.test('a token file that cannot be read ends the start, by its option and with a remedy', async (t) => {
  const dir = t.testdir({ locked: line('a', 'b', ['admin']), empty: '' })
  await chmod(join(dir, 'locked'), 0o000)
  const open = (tokenFile: string) =>
    Principals.open({ tokenFile }, new ManualClock(), pino({ level: 'silent' }))
  const message = (file: string, why: string) =>
    new RegExp(`The token file \\(--token-file\\) .*${file} cannot be used: ${why}.*leave the option out`)
  await t.rejects(open(join(dir, 'none')), { message: message('none', 'there is no such file') })
  await t.rejects(open(dir), { message: message('', 'it is a folder, and a file is needed') })
  if (process.getuid?.() !== 0)
    await t.rejects(open(join(dir, 'locked')), { message: message('locked', 'this user may not open it') })
  await t.rejects(open(join(dir, 'empty')), { message: /holds no token.*leave --token-file out/ })
})

t.test('one token in two places ends the start, by both places', async (t) => {
  const both = 'one-token-for-all'
  const file = join(
    t.testdir({ tokens: line('ops', 'other', ['admin']) + line('x', both, ['metrics']) }),
    'tokens',
  )
  const open = (sources: TokenSources) =>
    Principals.open(sources, new ManualClock(), pino({ level: 'silent' }))
  const twice = /FACET_ADMIN_TOKEN and FACET_PREDICT_TOKEN hold the same token: give each its own/
  await t.rejects(open({ adminToken: both, predictToken: both }), twice)
  for (const [key, name] of [
    ['adminToken', 'FACET_ADMIN_TOKEN'],
    ['predictToken', 'FACET_PREDICT_TOKEN'],
  ] as const) {
    await t.rejects(
      open({ [key]: both, tokenFile: file }),
      new RegExp(`line 2: the same token as ${name}: give`),
    )
  }
})

t.test('the log of an exposed service names its risks, each with a remedy', async (t) => {
  const risks = (host: string, variables: { adminToken?: string; predictToken?: string }) =>
    exposures(host, variablePrincipals(variables), variables)
  const long = 'a-long-and-random-token-0123456789'
  t.same(risks('127.0.0.1', {}), [], 'loopback without tokens is meant to be')
  const both = { adminToken: long, predictToken: `${long}-reader` }
  t.same(risks('::1', both), [])
  t.match(risks('localhost', { adminToken: 'short' }), [/^FACET_ADMIN_TOKEN has 5 characters.*openssl rand/])
  t.match(risks('127.0.0.1', { predictToken: 'short' }), [/^FACET_PREDICT_TOKEN has 5 characters/])
  const open = risks('0.0.0.0', {})
  t.match(open, [/without a predict token.*FACET_PREDICT_TOKEN/, /\/metrics open/, /control plane is off/])
  t.equal(open.length, 3)
  t.match(risks('0.0.0.0', both), [/\/metrics open/])
  const all = { id: 'x', source: 'line 1', digest: Buffer.alloc(32), domains: null }
  const scopes = new Set(['admin', 'predict', 'metrics'] as const)
  t.same(exposures('::', [{ ...all, scopes }], {}), [])
})
