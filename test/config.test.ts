/** Flags, variables and defaults. A wrong setting is named, with its value and what is accepted. */
import { isAbsolute, resolve } from 'node:path'
import { Command, CommanderError } from 'commander'
import t from 'tap'
import { type ServeConfig, serveCommand } from '../src/config/config.js'
import { settings } from '../src/config/settings.js'

for (const name of Object.keys(process.env)) if (name.startsWith('FACET_')) delete process.env[name]

interface Outcome {
  config?: ServeConfig
  output: string
}

/** Runs `facet serve` with these flags and variables. `config` is set if it would have started. */
async function serve(flags: string[], variables: Record<string, string> = {}): Promise<Outcome> {
  const outcome: Outcome = { output: '' }
  const write = (text: string) => {
    outcome.output += text
  }
  const command = serveCommand(async (config) => {
    outcome.config = config
  })
  for (const each of [command, new Command('facet').addCommand(command)]) {
    each.exitOverride().configureOutput({ writeOut: write, writeErr: write })
  }
  Object.assign(process.env, variables)
  try {
    await command.parent!.parseAsync(['serve', ...flags], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name]
  }
  return outcome
}

t.test('without anything the defaults serve the shipped families on loopback', async (t) => {
  const { config } = await serve([])
  t.match(config, {
    host: '127.0.0.1',
    port: 8080,
    device: { kind: 'cpu' },
    runtime: 'auto',
    bank: 'shared',
    precision: 'fp32',
    bankDtype: 'f32',
    bankMemory: 2 ** 30,
    maxBatch: { max: 8 },
    maxBody: 16 * 2 ** 20,
    requestTimeout: 10_000,
    storeQuota: Number.POSITIVE_INFINITY,
    trustedProxy: [],
    corsOrigin: [],
    logLevel: 'info',
    logFormat: 'auto',
  })
  t.match(config?.families, [/models.efficientnet-lite0$/, /models.resnet26-half$/])
  t.match(config?.adapters, [/adapters.efficientnet-lite0$/, /adapters.resnet26-half$/])
  t.equal(config?.data, resolve('data/efficientnet-lite0'))
  t.ok([...config!.families, ...config!.adapters].every(isAbsolute))
  t.notOk('tokenFile' in config! || 'adminToken' in config! || 'predictToken' in config!)
})

t.test('every setting has a flag and a variable, and the flag wins', async (t) => {
  const flags = ['--host', '0.0.0.0', '--max-queue', '77', '--max-images', '7', '--bank-memory', '512MiB']
  const variables = {
    FACET_HOST: '0.0.0.0',
    FACET_MAX_QUEUE: '77',
    FACET_MAX_IMAGES: '7',
    FACET_BANK_MEMORY: '512MiB',
  }
  const { config } = await serve(flags)
  t.match(config, { host: '0.0.0.0', maxQueue: 77, maxImages: 7, bankMemory: 512 * 2 ** 20 })
  t.same((await serve([], variables)).config, config)
  t.equal((await serve(['--max-queue', '88'], variables)).config?.maxQueue, 88)
})

t.test('the form of the log', async (t) => {
  t.equal((await serve(['--log-format', 'pretty'])).config?.logFormat, 'pretty')
  t.equal((await serve([], { FACET_LOG_FORMAT: 'json' })).config?.logFormat, 'json')
  t.match((await serve([], { FACET_LOG_FORMAT: 'text' })).output, /FACET_LOG_FORMAT.*auto, json, pretty/s)
})

t.test('a host with brackets, as in a URL, and one with a port', async (t) => {
  for (const [given, host] of [
    ['[::1]', '::1'],
    ['::1', '::1'],
    ['fe80::1%eth0', 'fe80::1%eth0'],
    ['::ffff:127.0.0.1', '::ffff:127.0.0.1'],
    ['my-host_1.example', 'my-host_1.example'],
  ] as const)
    t.equal((await serve(['--host', given])).config?.host, host, given)
  for (const given of ['[::1', '[localhost]', 'localhost:8080', '[::1]:8080', 'http://127.0.0.1'])
    t.match(
      (await serve(['--host', given])).output,
      /--host.*address or a name alone.*--port sets the port/s,
      given,
    )
})

t.test('connections of one peer are a quarter of all by default, and never more than all', async (t) => {
  t.equal((await serve([])).config?.maxConnectionsPerPeer, 256)
  t.equal((await serve(['--max-connections', '7'])).config?.maxConnectionsPerPeer, 2)
  t.equal((await serve(['--max-connections-per-peer', '9'])).config?.maxConnectionsPerPeer, 9)
  t.match(
    (await serve(['--max-connections', '8', '--max-connections-per-peer', '9'])).output,
    /--max-connections-per-peer 9 is more than --max-connections 8/,
  )
})

t.test(
  'a switch needs no value; the data folder is that of the family, or the one that is named',
  async (t) => {
    const strict = async (flags: string[], variables = {}) =>
      (await serve(flags, variables)).config?.strictStore
    t.equal(await strict([]), false)
    t.equal(await strict(['--strict-store']), true)
    t.equal(await strict(['--strict-store', 'no'], { FACET_STRICT_STORE: 'yes' }), false)
    t.equal(await strict([], { FACET_STRICT_STORE: 'yes' }), true)
    t.equal(await strict([], { FACET_STRICT_STORE: 'no' }), false)
    t.match((await serve(['--strict-store', 'maybe'])).output, /Accepted: yes, no/)
    t.match((await serve(['--family', 'models/own'])).config, { data: resolve('data/own'), dataGiven: false })
    t.match((await serve(['--data', 'd'])).config, { data: resolve('d'), dataGiven: true })
  },
)

t.test('values of each kind', async (t) => {
  const { config } = await serve([
    ...['--load-timeout', '500ms', '--grace-period', '1.5s', '--keep-alive', '2m', '--request-timeout', '7s'],
    ...['--max-body', '4096', '--max-pack', '1.5MB', '--store-quota', '2GiB'],
    ...['--device', 'cuda:1', '--bank-dtype', 'f16', '--max-batch', '12'],
    ...[
      '--trusted-proxy',
      '10.0.0.1, 10.1.0.0/16',
      '--token-file',
      'tokens.jsonl',
      '--family',
      'models/other',
    ],
    ...['--cors-origin', 'https://a.example,http://localhost:3000', '--cors-origin', '*'],
  ])
  t.match(config, {
    loadTimeout: 500,
    gracePeriod: 1500,
    keepAlive: 120_000,
    requestTimeout: 7000,
    maxBody: 4096,
    maxPack: 1_500_000,
    storeQuota: 2 * 2 ** 30,
    device: { kind: 'cuda', id: 1 },
    bank: 'device',
    bankGiven: false,
    bankDtype: 'f16',
    maxBatch: { max: 12, fixed: 12 },
    trustedProxy: ['10.0.0.1', '10.1.0.0/16'],
    corsOrigin: ['https://a.example', 'http://localhost:3000', '*'],
    tokenFile: resolve('tokens.jsonl'),
    families: [resolve('models/other')],
  })
  t.match(config?.adapters, /adapters.other$/)
  t.match((await serve(['--device', 'cuda'])).config, {
    device: { kind: 'cuda', id: 0 },
    maxBatch: { max: 256 },
  })
  t.match((await serve(['--device', 'cuda', '--bank', 'shared'])).config, { bank: 'shared', lanes: 1 })
  t.match((await serve(['--device', 'cuda', '--runtime', 'stock'])).config, { bank: 'compact' })
  t.match((await serve(['--device', 'cuda', '--tf32', '--gpu-memory', '8GiB'])).config, {
    bank: 'device',
    tf32: true,
    gpuMemory: 2 ** 33,
  })
  t.match((await serve(['--bank', 'device'])).config, { device: { kind: 'cpu' }, bankGiven: true })
  t.same((await serve(['--max-batch', 'auto'])).config?.maxBatch, { max: 8 })
  const threads = async (...flags: string[]) => {
    const { config } = await serve(flags)
    return [config!.lanes, config!.threads]
  }
  t.same(await threads('--threads', '4'), [4, 1], 'a thread a lane')
  t.same(await threads('--threads', '20'), [6, 3], 'the lanes share the threads')
  t.same(await threads('--threads', '12'), [6, 2])
  t.same(await threads('--threads', '4', '--lanes', '2'), [2, 2])
  t.same(await threads('--threads', '1', '--lanes', '2'), [2, 1])
  t.same(await threads('--threads', '4', '--device', 'cuda'), [1, 4])
})

t.test('tokens come from the environment alone', async (t) => {
  const { config } = await serve([], { FACET_ADMIN_TOKEN: 'secret-a', FACET_PREDICT_TOKEN: 'secret-p' })
  t.match(config, { adminToken: 'secret-a', predictToken: 'secret-p' })
  const { config: none, output } = await serve(['--admin-token', 'secret-a'])
  t.equal(none, undefined)
  t.match(output, "unknown option '--admin-token'")
})

t.test('a wrong setting is named, with its value and what is accepted', async (t) => {
  const attempts: [string[], RegExp[]][] = [
    [
      ['--prot', '80'],
      [/unknown option '--prot'/, /--port/],
    ],
    [
      ['--port', '99999'],
      [/--port/, /99999/, /from 0 to 65535/],
    ],
    [
      ['--port', '80a'],
      [/--port/, /80a/],
    ],
    [['--port', '-1'], [/--port/]],
    [
      ['--max-queue', '0'],
      [/--max-queue /, /from 1 to/],
    ],
    [
      ['--max-body', '12x'],
      [/--max-body/, /12x/, /16MiB/],
    ],
    [
      ['--max-body', '1'],
      [/--max-body/, /from 1KiB to 1GiB/],
    ],
    [
      ['--max-body', '1TiB'],
      [/--max-body/, /from 1KiB to 1GiB/, /units: B, KB, MB, GB, TB, KiB, MiB, GiB, TiB/],
    ],
    [
      ['--bank-memory', '1PiB'],
      [/--bank-memory/, /1PiB/, /from 1 to 1TiB/, /units: B, .*TiB/],
    ],
    [
      ['--max-header', '1GiB'],
      [/--max-header/, /to 1MiB/],
    ],
    [
      ['--min-body-rate', '1GiB'],
      [/--min-body-rate/, /from 0 to 1MiB/],
    ],
    [
      ['--max-queue-per-domain', '99999'],
      [/--max-queue-per-domain 99999/, /--max-queue 2048/],
    ],
    [['--rate-burst', '100'], [/--rate-burst 100 does nothing without --rate-limit/]],
    [['--store-quota', '1'], [/--max-pack 64MiB is more than --store-quota 1/]],
    [
      ['--request-timeout', '10'],
      [/--request-timeout/, /500ms, 30s or 2m/],
    ],
    [
      ['--request-timeout', '48h'],
      [/--request-timeout/, /24h/],
    ],
    [
      ['--device', 'gpu'],
      [/--device/, /gpu/, /cuda:NUMBER/],
    ],
    [
      ['--bank', 'resident'],
      [/--bank /, /shared, compact, device/],
    ],
    [
      ['--runtime', 'fast'],
      [/--runtime/, /auto, native, stock/],
    ],
    [
      ['--runtime', 'native', '--device', 'cuda', '--bank', 'compact'],
      [/--bank compact/, /cuda:0/, /--bank device/],
    ],
    [
      ['--runtime', 'stock', '--bank', 'device'],
      [/--bank device/, /--runtime stock/],
    ],
    [
      ['--gpu-memory', '1GiB'],
      [/--gpu-memory 1GiB/, /--bank shared/],
    ],
    [
      ['--bank', 'device', '--bank-memory', '2GiB', '--gpu-memory', '1GiB'],
      [/--bank-memory 2GiB is more than --gpu-memory 1GiB/],
    ],
    [
      ['--tf32', '--bank', 'device'],
      [/--tf32/, /cpu/],
    ],
    [
      ['--specialise-memory', '1GiB', '--bank', 'device'],
      [/--specialise-memory/, /--bank device/],
    ],
    [
      ['--max-batch', 'some'],
      [/--max-batch/, /auto/],
    ],
    [
      ['--log-level', 'loud'],
      [/--log-level/, /trace, debug, info/],
    ],
    [
      ['--host', ''],
      [/--host/, /leave the option out/],
    ],
    [['--trusted-proxy', '10.0.0.1,,'], [/--trusted-proxy/]],
    [
      ['--cors-origin', 'https://a.example/'],
      [/--cors-origin/, /no slash at the end/],
    ],
    [['--cors-origin', 'a.example'], [/--cors-origin/]],
    [['extra'], [/too many arguments/]],
    [
      ['--max-images', '600'],
      [/--max-images 600/, /--max-queue-per-domain 512/],
    ],
    [
      ['--max-queue', '10'],
      [/--max-images 64/, /--max-queue 10/],
    ],
    [
      ['--request-timeout', '2m'],
      [/--request-timeout 2m/, /--max-request-timeout 1m/],
    ],
    [
      ['--decode-threads', '99'],
      [/--decode-threads 99/, /UV_THREADPOOL_SIZE=100/],
    ],
  ]
  for (const [flags, patterns] of attempts) {
    const { config, output } = await serve(flags)
    t.equal(config, undefined, flags.join(' '))
    for (const pattern of patterns) t.match(output, pattern)
  }
})

t.test(
  'the images of one domain are never more than those of all, where only these are bounded',
  async (t) => {
    const { config } = await serve(['--max-queue', '100'])
    t.match(config, { maxQueue: 100, maxQueuePerDomain: 100 })
    t.equal((await serve([])).config?.maxQueuePerDomain, 512)
  },
)

t.test('a wrong or unknown variable is named', async (t) => {
  const wrong = await serve([], { FACET_MAX_QUEUE: 'many' })
  t.match(wrong.output, /'many' from env 'FACET_MAX_QUEUE' is invalid.*whole number from 1/)
  t.match((await serve([], { FACET_HOST: '' })).output, /FACET_HOST/)
  const unknown = await serve([], { FACET_MAX_QUEU: '10' })
  t.match(unknown.output, "unknown environment variable 'FACET_MAX_QUEU'")
  t.equal(unknown.config, undefined)
})

t.test('what Kubernetes sets for a Service called facet is not ours', async (t) => {
  const links = {
    FACET_SERVICE_HOST: '10.0.0.1',
    FACET_SERVICE_PORT: '80',
    FACET_PORT_80_TCP_ADDR: '10.0.0.1',
  }
  t.ok((await serve([], links)).config)
})

t.test('the help explains each setting with its default and its variable', async (t) => {
  const { output } = await serve(['--help'])
  const flat = output.replace(/\s+/g, ' ')
  for (const [key, { shown, help }] of Object.entries(settings)) {
    const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    const name = `FACET_${flag.toUpperCase().replaceAll('-', '_')}`
    t.ok(flat.includes(`--${flag} <`) || flat.includes(`--${flag} [yes|no]`), flag)
    t.ok(
      flat.includes(`${help} (default: ${shown}; ${name})`),
      `${flag}: ${help} (default: ${shown}; ${name})`,
    )
  }
  t.match(output, 'FACET_ADMIN_TOKEN')
  t.match(output, /a second one +ends the process at once/)
  t.match(output, /^Listening:$/m)
})
