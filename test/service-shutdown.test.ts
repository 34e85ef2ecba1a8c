/** The real process: how it ends, and the message of a start that fails. */
import { execSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import {
  type Answer,
  compileProgram,
  ONE_FAMILY,
  open,
  Program,
  refusing,
  type Sent,
} from './service-process.js'
import { metric, packBytes, pngImage } from './service-rig.js'
import { until } from './until.js'

const dir = t.testdir()
const cli = await compileProgram(dir)
const data = join(dir, 'data')
const flags = [
  ...[
    ...ONE_FAMILY,
    '--port',
    '0',
    '--lanes',
    '2',
    '--bank-memory',
    '64MiB',
    '--max-batch',
    '8',
    '--data',
    data,
  ],
  // A busy machine must not run into the deadlines of clients.
  ...['--request-timeout', '5m', '--max-request-timeout', '5m', '--min-body-rate', '0'],
]
const image = await pngImage(1)
const pack = packBytes(1, 'late')

/** A predict request for many images. */
const many = Buffer.from(JSON.stringify({ images: Array(64).fill(image.toString('base64')) }))

function serve(...own: string[]): Program {
  return started(new Program(cli, ['serve', ...flags, ...own]))
}

function started(program: Program): Program {
  t.teardown(() => program.kill('SIGKILL'))
  return program
}

function predicting(url: string, domain: string): Sent {
  return open(url, 'POST', `/v1/domains/${domain}/predict`, 'image/png', image.length)
}

t.test(
  'SIGTERM during an upload, a cold load and a batch: all are answered, then it exits (pain 15)',
  async (t) => {
    const program = serve()
    const url = await program.url()

    const upload = open(url, 'PUT', '/v1/domains/late', 'application/octet-stream', pack.length)
    await upload.admitted
    upload.write(pack.subarray(0, 1000))
    const cold = predicting(url, 'eurosat')
    await cold.admitted
    const probe = connect(Number(new URL(url).port), '127.0.0.1')
    await once(probe, 'connect')
    probe.write('GET /readyz HTTP/1.1\r\nHost: localhost\r\n')
    const batches = Array.from({ length: 3 }, () =>
      open(url, 'POST', '/v1/domains/base/predict', 'application/json', many.length),
    )
    for (const batch of batches) {
      await batch.admitted
      batch.end(many)
    }
    await until(async () => (await metric(url, 'facet_queue_length')) > 0)

    program.kill('SIGTERM')
    await program.logged('stopping')
    await refusing(url)
    let ready = ''
    probe.write('\r\n')
    for await (const chunk of probe) ready += chunk
    t.match(ready, /^HTTP\/1\.1 503 /)
    t.match(ready, '"code":"draining"')
    cold.end(image)
    t.match(await cold.answer, { status: 200, body: /"domain":"eurosat"/ })
    for (const { answer } of batches) {
      const { status, body } = await answer
      t.equal(status, 200)
      t.equal(JSON.parse(body).results.length, 64)
    }
    upload.end(pack.subarray(1000))
    t.match(await upload.answer, { status: 201 })
    t.match(await program.exit, { code: 0, signal: null, err: '' })
    await program.logged('stopped')
  },
)

for (const back of [true, false]) {
  const what = back ? 'that comes back' : 'that does not'
  t.test(`SIGTERM while the engine restarts, ${what}: all are answered, then it exits`, async (t) => {
    const own = ['--load-timeout', back ? '5m' : '300ms', '--grace-period', '10m']
    const preload = new URL('./mortal-engine.mjs', import.meta.url).href
    const program = started(new Program(cli, ['serve', ...flags, ...own], { preload }))
    const url = await program.url()
    program.kill('SIGUSR2')
    await program.logged('engine down')
    await program.logged('engine restart failed')

    const fresh = packBytes(back ? 2 : 3, 'fresh')
    const upload = open(url, 'PUT', '/v1/domains/fresh', 'application/octet-stream', fresh.length)
    const cold = predicting(url, 'eurosat')
    const resident = predicting(url, 'base')
    for (const sent of [upload, cold, resident]) await sent.admitted
    cold.end(image)
    resident.end(image)
    upload.write(fresh.subarray(0, 1000))
    program.kill('SIGTERM')
    await program.logged('stopping')
    await refusing(url)
    if (back) program.kill('SIGUSR2')
    upload.end(fresh.subarray(1000))
    const refused = { status: 503, body: /"code":"(engine_restarting|draining|load_timeout|bank_full)"/ }
    const ended = { status: 200, body: /"domain":"eurosat"/ }
    t.match(await cold.answer, back ? ended : refused, 'a cold load waits for the engine')
    // These two may find the engine back in time or not.
    const [base, uploaded] = [await resident.answer, await upload.answer]
    const isServed = back && base.status === 200
    const isStored = back && uploaded.status === 201
    t.match(base, isServed ? { body: /"domain":"base"/ } : refused)
    if (!isStored) t.match(uploaded, refused)
    t.match(await program.exit, { code: 0, signal: null, err: '' })
    await program.logged('stopped')
    const record = await readFile(join(data, 'domains', 'fresh.json'), 'utf8').catch(() => '')
    const version = createHash('sha256').update(fresh).digest('hex')
    t.equal(record.includes(version), isStored, 'what was acknowledged is stored, and nothing else')
  })
}

t.test('SIGINT under load: admitted requests are answered, and acknowledged changes are there', async (t) => {
  const program = serve()
  const url = await program.url()
  const answers: (Answer & { domain: string })[] = []
  const broken: unknown[] = []
  const client = async (domain: string) => {
    for (;;) {
      const sent = predicting(url, domain)
      try {
        await sent.admitted
      } catch {
        return
      }
      sent.end(image)
      await sent.answer.then(
        (answer) => answers.push({ ...answer, domain }),
        (error: unknown) => broken.push(error),
      )
    }
  }
  const clients = ['late', 'base', 'late', 'eurosat', 'late', 'sign_digits'].map(client)
  await until(() => answers.length >= 30)
  program.kill('SIGINT')
  await Promise.all(clients)
  t.match(await program.exit, { code: 0, signal: null, err: '' })
  t.same(broken, [], 'nothing in flight was lost')
  const isRight = ({ domain, status, body }: (typeof answers)[number]) => {
    return status === 200 && body.includes(`"domain":"${domain}"`)
  }
  t.same(
    answers.filter((answer) => !isRight(answer)),
    [],
  )
  const late = answers.filter(({ domain }) => domain === 'late')
  t.not(late.length, 0)
  t.equal(late.filter(({ body }) => body.includes('"label":"late-')).length, late.length, 'by its own pack')
})

t.test('an upload that never ends does not outlive the grace period, and leaves nothing', async (t) => {
  const program = serve('--grace-period', '50ms')
  const url = await program.url()
  const upload = open(url, 'PUT', '/v1/domains/never', 'application/octet-stream', pack.length)
  await upload.admitted
  upload.write(pack.subarray(0, 1000))
  program.kill('SIGTERM')
  await t.rejects(upload.answer)
  const { code, signal, out } = await program.exit
  t.match({ code, signal }, { code: 0, signal: null })
  t.match(out, /"audit":"domain.put","outcome":"refused","domain":"never"/)
  t.notMatch(out, '"msg":"domain changed"')
})

t.test('a second signal does not wait for the first, and says so by its exit', async (t) => {
  const program = serve('--grace-period', '10m')
  const url = await program.url()
  const upload = open(url, 'PUT', '/v1/domains/never', 'application/octet-stream', pack.length)
  await upload.admitted
  program.kill('SIGTERM')
  await program.logged('stopping')
  // A second signal right behind the first counts as the same one, so it is repeated.
  const again = setInterval(() => program.kill('SIGINT'), 20)
  await t.rejects(upload.answer)
  const { code, signal, out } = await program.exit
  clearInterval(again)
  t.match({ code, signal }, { code: null, signal: 'SIGINT' }, 'a shell shows 130')
  t.notMatch(out, '"stopped"')
  const next = serve()
  await next.url()
  next.kill('SIGTERM')
  t.match(await next.exit, { code: 0, err: '' }, 'and the next start finds all in order')
})

t.test('one signal that comes twice, as Ctrl-C does under npm, is one orderly stop', async (t) => {
  const program = serve()
  await program.url()
  program.kill('SIGINT')
  program.kill('SIGINT')
  await program.logged('stopping')
  program.kill('SIGINT')
  const { code, out } = await program.exit
  t.equal(code, 0)
  t.match(out, '"stopped"')
})

t.test('a store in data/, the default of every family before, is not left behind', async (t) => {
  const cwd = t.testdir({ data: { FORMAT: 'facet-store/1', domains: {}, blobs: {} } })
  const own = ['serve', ...ONE_FAMILY, '--port', '0', '--bank-memory', '64MiB', '--lanes', '1']
  const refused = await new Program(cli, own, { cwd }).exit
  t.match(refused, {
    code: 1,
    out: '',
    err: /^facet: The folder \S+data is a store, and .*--data data\. Nothing/,
  })
  const [command] = /mkdir -p data.*(?=\. Otherwise)/.exec(refused.err)!
  t.strictSame(await readdir(join(cwd, 'data')), ['FORMAT', 'blobs', 'domains'])

  const named = started(new Program(cli, [...own, '--data', 'data'], { cwd }))
  await named.url()
  named.kill('SIGTERM')
  t.match(await named.exit, { code: 0 })

  execSync(command, { cwd })
  const moved = started(new Program(cli, own, { cwd }))
  await moved.url()
  moved.kill('SIGTERM')
  t.match(await moved.exit, { code: 0 })
  t.match(await readdir(join(cwd, 'data', 'resnet26-half')), ['FORMAT', 'blobs', 'domains', 'lock', 'tmp'])
})

t.test('a start that fails says why, without a stack, and ends with 1', async (t) => {
  const text = await readFile('models/resnet26-half/family.json', 'utf8')
  const none = join(dir, 'none')
  const family = t.testdir({ 'family.json': text.replace(/"height": \d+/, '"height": "tall"') })
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const cases: [string[], RegExp][] = [
    [['--family', family], /^facet: \S+family\.json is broken:\n {2}- input\.height is "tall": .*\n$/],
    [
      ['--port', String(port)],
      /^facet: Port \d+ of 127\.0\.0\.1 is in use by another process\..*--port.*\n$/,
    ],
    [
      ['--host', '192.0.2.1', '--port', '18080'],
      /^facet: This machine has no address 192\.0\.2\.1\..*--host/,
    ],
    [
      ['--family', none],
      /^facet: The family \(--family\) \S+none cannot be used: there is no such .*facet family build/,
    ],
    [
      ['--adapters', none],
      /^facet: The shipped packs \(--adapters\) \S+none cannot be used: there is no such/,
    ],
    [
      ['--token-file', none],
      /^facet: The token file \(--token-file\) \S+none cannot be used: there is no such/,
    ],
    [['--token-file', family], /^facet: The token file \(--token-file\) \S+ cannot be used: it is a folder/],
    [
      ['--bank-memory', '500KiB'],
      /^facet: --bank-memory 500KiB holds no domain: the base of family 'resnet26-half' .* take \d+ bytes\. Give it \d+MiB or more\.\n$/,
    ],
    [['--trusted-proxy', 'proxy.local'], /^error: .*'proxy\.local' is invalid\. IP addresses or networks/],
    [['--max-bach', '8'], /^error: unknown option '--max-bach'/],
  ]
  const exits = await Promise.all(cases.map(([own]) => new Program(cli, ['serve', ...flags, ...own]).exit))
  for (const [index, { code, signal, out, err }] of exits.entries()) {
    t.match({ code, signal, out }, { code: 1, signal: null, out: '' })
    t.match(err, cases[index]![1])
    t.notMatch(err, /^\s+at /m)
  }
})
