/** docs/security.md agrees with the program: limits, scopes, actions of the audit log, tests. */
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { POLL_INTERVAL_MS } from '../src/http/access/token-file.js'
import { scopes } from '../src/http/access/tokens.js'
import { settings } from '../src/config/settings.js'
import { testApp } from './http-app.js'

const text = readFileSync(new URL('../docs/security.md', import.meta.url), 'utf8')
const kebab = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
const byFlag = new Map(Object.entries(settings).map(([key, setting]) => [`--${kebab(key)}`, setting]))

t.test('the table of limits is that of the program', async (t) => {
  const rows = [...text.matchAll(/^\| `(--[a-z-]+)` \| ([^|]+) \|/gm)].map(([, flag, shown]) => [
    flag!,
    shown!,
  ])
  t.ok(rows.length > 15)
  for (const [flag, shown] of rows) t.equal(shown, byFlag.get(flag!)?.shown, flag!)
  const told = new Set(rows.map(([flag]) => flag))
  for (const [flag, { group }] of byFlag)
    if (group.startsWith('Limits') || group.startsWith('Queue'))
      t.ok(told.has(flag), `${flag} is in the table`)
})

t.test('options, scopes and files that it names exist', async (t) => {
  for (const [flag] of text.matchAll(/--[a-z]+(?:-[a-z]+)*/g)) t.ok(byFlag.has(flag), flag)
  for (const scope of scopes) t.match(text, `\`${scope}\``)
  for (const [file] of text.matchAll(/test\/[a-z-]+\.test\.ts/g)) t.ok(existsSync(file), file)
  t.equal(POLL_INTERVAL_MS, 2000, 'read again every two seconds')
})

t.test('the actions of the audit log are those of the routes', async (t) => {
  const words = new Set<string>()
  const { app, logs } = await testApp(t)
  const requests = [
    ['PUT', '/v1/domains/x'],
    ['PATCH', '/v1/domains/x'],
    ['DELETE', '/v1/domains/x'],
    ['POST', '/v1/domains/x/activate'],
    ['DELETE', '/v1/domains/x/versions/abcdef'],
    ['POST', '/v2/repository/models/x/load'],
    ['POST', '/v2/repository/models/x/unload'],
  ] as const
  for (const [method, url] of requests) await app.inject({ method, url })
  for (const { audit } of logs) if (typeof audit === 'string') words.add(audit)
  const told = /`audit` is one of ([^;]+);/.exec(text)![1]!
  t.strictSame(told.split(', ').sort(), [...words].map((word) => `\`${word}\``).sort())
})
