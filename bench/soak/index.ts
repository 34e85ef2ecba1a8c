/**
 * `npm run soak -- [--seconds N] [--seed S] [--attackers]`: the real service under full load, by default for ten
 * minutes; with `--attackers`, beside clients that mean it harm (`attackers.ts`).
 *
 * Ends with 1 if a good request failed, an answer differed from the one computed alone, a bad request did not
 * get the refusal it should, memory grew, or the store is not intact at the end.
 */
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { packageFile } from '../../src/host/package.js'
import { verifyStore } from '../../src/store/verify.js'
import { command, natural, seedOption } from '../command.js'
import { Child, privateDirtyBytes } from '../processes.js'
import { type RunningServer, startServer } from '../server.js'
import type { AttackCount, AttackJob } from './attackers.js'
import type { SoakJob } from './process.js'
import { jsonLine, type Sample, type Soak, type Tally, table, violations } from './verdict.js'

const FAMILY = 'resnet26-half'
/** The domain that attackers send to; the honest load sends to it too. */
const ATTACKED_DOMAIN = 'sketch'
/**
 * Number of images and of changing domains. The bank holds fewer adapters than there are domains: they must
 * move.
 */
const scales = {
  long: { images: 8, changing: 20, bankMemory: '18MiB' },
  short: { images: 2, changing: 6, bankMemory: '10MiB' },
}
/** Shorter runs use the short scale, so that preparing (computing every answer alone) takes less time. */
const SHORT_RUN_SECONDS = 60
const CONNECTIONS = 16

async function main(): Promise<void> {
  const { seconds, seed, attackers } = command('soak', 'The real service under full load.')
    .option('--seconds <n>', 'how long', natural, 600)
    .addOption(seedOption('requests'))
    .option('--attackers', 'beside clients that mean it harm', false)
    .parse()
    .opts<{ seconds: number; seed: number; attackers: boolean }>()
  const dir = await mkdtemp(join(tmpdir(), 'facet-soak-'))
  try {
    const soak = await run(seconds, seed, dir, attackers)
    console.log(table(soak))
    for (const example of soak.examples) console.error(example)
    for (const violation of violations(soak)) console.error(`violated: ${violation}`)
    console.log(jsonLine(soak, seed))
    process.exitCode = violations(soak).length > 0 ? 1 : 0
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function run(seconds: number, seed: number, dir: string, underAttack: boolean): Promise<Soak> {
  const scale = scales[seconds < SHORT_RUN_SECONDS ? 'short' : 'long']
  // A copy, since training may replace the shipped packs while a soak runs.
  const adapters = join(dir, 'adapters')
  await cp(packageFile(`adapters/${FAMILY}`), adapters, { recursive: true })
  const data = join(dir, 'data')
  // With the default minimum residency, loads would mostly wait for rows.
  const flags = [
    '--adapters',
    adapters,
    '--bank-memory',
    scale.bankMemory,
    '--keep-versions',
    '3',
    '--min-residency',
    '100ms',
  ]
  const server = await startServer(['--data', data, ...flags])
  let exitCode: number | null
  let load: Child | undefined
  let attackers: Child | undefined
  let attacks: AttackCount | null = null
  let found: Omit<Soak, 'exitCode' | 'storeProblems' | 'attacks'>
  try {
    load = await Child.start(new URL('./process.js', import.meta.url))
    await prepare(server, load, seed, { ...scale, adapters })
    if (underAttack) {
      attackers = await Child.start(new URL('./attackers.js', import.meta.url))
      await attackers.ask({ type: 'start', ...(await attackJob(server.url)) })
    }
    found = await traffic(server, load, seconds)
    if (attackers) attacks = await attackers.ask<AttackCount>({ type: 'stop' })
  } finally {
    await attackers?.stop()
    await load?.stop()
    exitCode = await server.stop()
  }
  const { problems } = await verifyStore(data)
  return {
    ...found,
    exitCode,
    attacks,
    storeProblems: problems.map(({ subject, message }) => `${subject}: ${message}`),
  }
}

async function attackJob(url: string): Promise<AttackJob> {
  const image = await sharp({ create: { width: 200, height: 200, channels: 3, background: 'teal' } })
    .png()
    .toBuffer()
  return { url, domain: ATTACKED_DOMAIN, image }
}

/** Tells the load what to send, and has it compute the right answers before anything disturbs them. */
async function prepare(
  server: RunningServer,
  load: Child,
  seed: number,
  { images, changing, adapters }: { images: number; changing: number; adapters: string },
): Promise<void> {
  const files = (await readdir(adapters)).filter((name) => name.endsWith('.safetensors')).sort()
  const job: SoakJob = {
    ...{ url: server.url, adapters, images, atOnce: CONNECTIONS, seed },
    shipped: files.map((name) => name.slice(0, -'.safetensors'.length)),
    changing: Array.from({ length: changing }, (_, index) => `soak-${index}`),
  }
  await load.ask({ type: 'prepare', ...job })
}

async function traffic(server: RunningServer, load: Child, seconds: number) {
  const samples: Sample[] = []
  const start = performance.now()
  const elapsed = () => (performance.now() - start) / 1000
  await load.ask({ type: 'start' })
  while (elapsed() < seconds) {
    await new Promise((resolve) => setTimeout(resolve, 1000))
    samples.push({ seconds: elapsed(), bytes: privateDirtyBytes(server.pid) })
    show(seconds, samples.at(-1)!, await load.ask<Tally>({ type: 'progress' }))
  }
  const tally = await load.ask<Tally>({ type: 'stop' })
  if (process.stderr.isTTY) process.stderr.write('\n')
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  const count = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1] ?? Number.NaN)
  return {
    ...tally,
    ...{ seconds: elapsed(), samples },
    evictions: count('facet_adapter_evictions_total'),
    misses: count('facet_adapter_misses_total'),
  }
}

/** Shows progress: one line that is overwritten on a terminal, a line every half minute elsewhere. */
function show(of: number, { seconds, bytes }: Sample, tally: Tally): void {
  const { requests, failed, wrong, misjudged, changes } = tally
  const line =
    `${seconds.toFixed(0)} of ${of} s: ${requests} requests, ${changes} changes, ` +
    `${failed} failed, ${wrong} wrong, ${misjudged} misjudged, ${(bytes / 2 ** 20).toFixed(0)} MiB`
  if (process.stderr.isTTY) process.stderr.write(`\r${line} `)
  else if (Math.round(seconds) % 30 === 0) console.error(line)
}

await main()
