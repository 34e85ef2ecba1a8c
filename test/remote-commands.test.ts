/** The commands that call a running service. */
import { chmodSync, readFileSync, statSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { type Command, CommanderError } from 'commander'
import t, { type Test } from 'tap'
import { domainsCommand } from '../src/commands/remote/domains.js'
import { familiesCommand } from '../src/commands/remote/families.js'
import { embedCommand, predictCommand } from '../src/commands/remote/predict.js'
import { profileCommand } from '../src/commands/remote/profile.js'
import { serviceOf } from '../src/commands/remote/connect.js'
import { profilesFile } from '../src/commands/remote/profiles.js'
import { image, pack, sha256, testApp, type TestAppOptions } from './http-app.js'

/** Runs a command in this process: what it printed, its errors, and its exit code. */
async function run(t: Test, command: Command, ...words: string[]) {
  const error: string[] = []
  for (const part of [command, ...command.commands])
    part.exitOverride().configureOutput({ writeErr: (text) => error.push(text) })
  const out = t.capture(process.stdout, 'write', () => true)
  const warnings = t.capture(process.stderr, 'write', () => true)
  let code = 0
  try {
    await command.parseAsync(words, { from: 'user' })
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown
    code = thrown.exitCode
  }
  if (process.exitCode === 1) code = 1
  process.exitCode = undefined
  const textOf = (calls: { args: unknown[] }[]) => calls.map(({ args }) => String(args[0])).join('')
  const result = { out: textOf(out()), error: error.join('') + textOf(warnings()), code }
  out.restore()
  warnings.restore()
  return result
}

/** A service with the domains of `testApp`, and a folder of images; no profiles of whoever runs the test. */
async function rig(t: Test, options: TestAppOptions = {}) {
  const { app, domains } = await testApp(t, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const dir = t.testdir({
    images: { b: { 'red.png': image(0, 0, 1) }, 'a.jpg': image(2), 'notes.txt': 'x' },
    'junk.png': 'x',
  })
  t.intercept(process, 'env', { value: { XDG_CONFIG_HOME: join(dir, 'config') } })
  return { url: `http://127.0.0.1:${port}`, dir, domains }
}

t.test('predict: a folder, in order, as lines, as JSON and as CSV', async (t) => {
  const { url, dir } = await rig(t)
  const images = join(dir, 'images')
  const [a, red] = [join(images, 'a.jpg'), join(images, 'b', 'red.png')]
  const words = [images, '--domain', 'colours', '--url', url]
  const plain = await run(t, predictCommand(), ...words)
  t.match(plain.out, new RegExp(`^${a}  blue  0\\.\\d{4}\n${red}  red  0\\.\\d{4}\n$`))
  const json = await run(t, predictCommand(), ...words, '--json', '--top-k', '2')
  const lines = json.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(lines, [
    { file: a, domain: 'colours' },
    { file: red, predictions: [{ label: 'red' }, { label: 'green' }] },
  ])
  const csv = await run(t, predictCommand(), ...words, '--csv')
  t.match(
    csv.out,
    /^file,domain,version,rank,label,index,score\n.*a\.jpg,colours,[0-9a-f]{64},1,blue,2,0\.\d+\n/,
  )
})

t.test('predict: an image that fails is told, the others go on, and the command fails', async (t) => {
  const { url, dir } = await rig(t)
  const junk = join(dir, 'junk.png')
  const words = [junk, join(dir, 'images'), '--domain', 'colours', '--url', url]
  const plain = await run(t, predictCommand(), ...words)
  t.match(plain, { code: 1, error: `${junk}: The bytes are not an image.`, out: /red\.png {2}red/ })
  const [first] = (await run(t, predictCommand(), ...words, '--json')).out.split('\n')
  t.match(JSON.parse(first!), { file: junk, error: { code: 'undecodable_image', status: 422 } })
})

t.test('predict: what would fail for all images ends it at once', async (t) => {
  const { url, dir } = await rig(t)
  const answer = await run(t, predictCommand(), join(dir, 'images'), '--domain', 'colour', '--url', url)
  t.match(answer, {
    code: 1,
    out: '',
    error: /^error: There is no domain "colour"; did you mean 'colours'\?/,
  })
  const misnamed = await run(t, predictCommand(), join(dir, 'images'), '--domain', 'A B', '--url', url)
  t.match(misnamed, { code: 1, out: '', error: /^error: .*domain id.*\n$/ })
  const missing = await run(t, predictCommand(), join(dir, 'none'), '--domain', 'colours', '--url', url)
  t.match(missing.error, /none cannot be used: there is no such file or folder/)
})

t.test('embed', async (t) => {
  const { url, dir } = await rig(t)
  const words = [join(dir, 'images', 'a.jpg'), '--domain', 'colours', '--url', url]
  t.match(JSON.parse((await run(t, embedCommand(), ...words)).out), { features: [0, 0, 1, 0, 0, 0, 0, 0] })
  const [images, ...rest] = [join(dir, 'images'), ...words.slice(1), '--csv']
  t.match(
    (await run(t, embedCommand(), images, ...rest)).out,
    /^file,feature_0,feature_1(,feature_\d){6}\n.*a\.jpg,0,0,1,0,0,0,0,0\n.*red\.png(,\d){8}\n$/,
  )
})

t.test('domains: put, ls, show, activate, pin, pull, rm', async (t) => {
  const { url, dir } = await rig(t)
  const { writeFile } = await import('node:fs/promises')
  const [one, two] = [pack(['cat', 'dog'], { name: 'Pets \u001b[31m', license: 'MIT' }), pack(['cow'])]
  const file = join(dir, 'pack.safetensors')
  await writeFile(file, one)
  const facet = (...words: string[]) => run(t, domainsCommand(), ...words, '--url', url)
  t.match(
    (await facet('put', 'pets', file)).out,
    `pets: ${sha256(one).slice(0, 12)} of family tiny is active\n`,
  )
  t.match(await facet('put', 'pets', file, '--create'), { code: 1, error: /^error: / })
  await writeFile(file, two)
  t.match((await facet('put', 'pets', file, '--stage')).out, /is staged; [0-9a-f]{12} is active/)
  t.match(
    (await facet('ls')).out,
    /^domain +version +family .*\n(.*\n)*pets +[0-9a-f]{12} +tiny +2 +resident +2\n/,
  )
  const shown = await facet('show', 'pets')
  t.match(shown.out, /name +Pets \ufffd\[31m\n(.*\n)*labels +2: cat, dog\n/)
  t.equal(JSON.parse((await facet('show', 'pets', '--json')).out).domain, 'pets')
  t.match((await facet('activate', 'pets', sha256(two).slice(0, 12))).out, /is active/)
  t.match((await facet('pin', 'pets')).out, 'pets: pinned\n')
  t.match((await facet('unpin', 'pets', '--if-version', sha256(one))).error, /^error: /)
  const out = join(dir, 'pulled.safetensors')
  t.match((await facet('pull', 'pets', '--out', out)).out, sha256(two))
  t.same(readFileSync(out), two)
  t.match((await facet('pull', 'pets', '--out', out)).error, /already.*--force/)
  t.match((await facet('rm', 'pets', '--pack-version', sha256(one).slice(0, 12))).out, /deleted\n/)
  t.equal((await facet('rm', 'pets')).out, 'pets: deleted\n')
  t.match((await facet('show', 'pets')).error, /There is no domain/)
})

t.test('families', async (t) => {
  const { url } = await rig(t)
  t.match(
    (await run(t, familiesCommand(), '--url', url)).out,
    /^family .*\ntiny +parallel +8 x 8 +8 +stock, fp32/,
  )
})

t.test('profiles: a URL and a token, in a file that nobody else may read', async (t) => {
  const { url } = await rig(t, { predictToken: 'predict-token-123' })
  const input = new PassThrough()
  input.end('predict-token-123\n')
  t.intercept(process, 'stdin', { value: input })
  t.match(
    (await run(t, profileCommand(), 'add', 'prod', '--url', url, '--token-stdin')).out,
    /^prod: .*, with a token/,
  )
  t.equal(statSync(profilesFile()).mode & 0o777, 0o600)
  t.match((await run(t, familiesCommand())).out, 'tiny', 'it is the default')
  await run(t, profileCommand(), 'add', 'other', '--url', 'http://127.0.0.1:1')
  const list = (await run(t, profileCommand(), 'ls')).out
  t.match(list, /\* {2}prod .*yes\n {3}other .*no\n/)
  t.notMatch(list, 'predict-token')
  t.match((await run(t, familiesCommand(), '--profile', 'nope')).error, /no profile 'nope' \(prod, other\)/)
  chmodSync(profilesFile(), 0o644)
  t.match((await run(t, familiesCommand())).error, /others may read it\. Run: chmod 600/)
  chmodSync(profilesFile(), 0o600)
  t.equal((await run(t, profileCommand(), 'rm', 'prod')).out, 'prod: removed\n')
  t.match((await run(t, familiesCommand(), '--url', url)).error, /Send a token.* Set FACET_CLIENT_TOKEN/)
})

t.test(
  "a profile's token goes to the profile's service alone; variables beat the profile, flags beat them",
  async (t) => {
    await rig(t)
    const input = new PassThrough()
    input.end('secret-token')
    t.intercept(process, 'stdin', { value: input })
    await run(t, profileCommand(), 'add', 'prod', '--url', 'https://prod.example/facet', '--token-stdin')
    const { env } = process
    const url = 'http://127.0.0.1:9'
    t.same(await serviceOf({}), { url: 'https://prod.example/facet', token: 'secret-token' })
    t.same(await serviceOf({ url }), { url })
    t.same(await serviceOf({}, { ...env, FACET_CLIENT_URL: url }), { url })
    t.same(await serviceOf({ url }, { ...env, FACET_CLIENT_URL: 'http://x', FACET_CLIENT_TOKEN: 'b' }), {
      url,
      token: 'b',
    })
    await t.rejects(serviceOf({ url: 'prod.example' }), { message: /not the URL of a service/ })
  },
)
