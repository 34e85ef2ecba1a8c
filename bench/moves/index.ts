/**
 * `npm run moves -- [--rounds N] [--clients N] [--pause SECONDS]`: three domains are moved from one family to another and
 * back, one after the other, while clients ask for all three.
 *
 * A round: a PUT of a new pack for `efficientnet-lite0` to each domain, and then, again one after the other, the
 * activation of its pack for `resnet26-half`. Between the rounds the same clients ask while nothing is moved. No request
 * may fail, and none that is sent after a move has been acknowledged may be answered by the version before; otherwise the
 * program ends with 1.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { readPack } from '../../src/pack/read.js'
import { send, type Wire } from '../client.js'
import { command, natural, positive } from '../command.js'
import { machine } from '../machine.js'
import { PackPress } from '../packs.js'
import { startServer } from '../server.js'
import { median, quantile } from '../statistics.js'
import { type Answers, Load, noAnswers } from './load.js'

const [OLD, NEW] = ['resnet26-half', 'efficientnet-lite0'] as const
/** Both families have a pack for each. */
const DOMAINS = ['cifar100', 'dtd10', 'flowers90']
/** The clients ask for so long before anything is counted, seconds. */
const WARM_UP_SECONDS = 5

const { rounds, clients, pause } = command('moves', 'Domains that move between two families, under load.')
  .option('--rounds <n>', 'how often all domains are moved and moved back', natural, 5)
  .option('--clients <n>', 'requests in flight', natural, 8)
  .option('--pause <seconds>', 'between two moves, and without any between rounds', positive, 2)
  .parse()
  .opts<{ rounds: number; clients: number; pause: number }>()

const scratch = await mkdtemp(join(tmpdir(), 'facet-moves-'))
// Packs of every round stay, so that the first ones can be activated again.
const server = await startServer([
  ...['--family', packageFile(`models/${OLD}`), '--family', packageFile(`models/${NEW}`)],
  ...['--adapters', scratch, '--data', join(scratch, 'data'), '--keep-versions', '1000'],
])
const load = new Load(server.url)
const control = new Agent({ keepAlive: true })
try {
  const image = {
    type: 'image/jpeg',
    body: await readFile(packageFile('samples/flowers90/oxeye daisy.jpg')),
  }
  const presses = new Map<string, PackPress>()
  const first = new Map<string, string>()
  const family = await readFamily(packageFile(`models/${NEW}`))
  for (const domain of DOMAINS) {
    const pack = await readFile(packageFile(`adapters/${OLD}/${domain}.safetensors`))
    await change({
      method: 'PUT',
      path: `/v1/domains/${domain}`,
      type: 'application/octet-stream',
      body: pack,
    })
    first.set(domain, versionOf(pack))
    load.begin(domain, versionOf(pack))
    const other = await readFile(packageFile(`adapters/${NEW}/${domain}.safetensors`))
    presses.set(domain, new PackPress(family, readPack(other, family.manifest)))
  }
  const [still, moving] = [noAnswers(), noAnswers()]
  const times = { put: [] as number[], activate: [] as number[] }
  load.start(clients, DOMAINS, image)
  await sleep(WARM_UP_SECONDS)
  for (let round = 0; round < rounds; round++) {
    load.into = still
    await sleep(DOMAINS.length * pause)
    load.into = moving
    for (const domain of DOMAINS) {
      const body = presses.get(domain)!.copy(round)
      const wire = { method: 'PUT', path: `/v1/domains/${domain}`, type: 'application/octet-stream', body }
      await move(domain, versionOf(body), wire, times.put)
      await sleep(pause)
    }
    for (const domain of DOMAINS) {
      const version = first.get(domain)!
      const wire = { method: 'POST', path: `/v1/domains/${domain}/activate`, type: 'application/json' }
      await move(domain, version, { ...wire, body: Buffer.from(JSON.stringify({ version })) }, times.activate)
      await sleep(pause)
    }
    console.error(`round ${round + 1} of ${rounds}: ${moving.failed + still.failed} requests failed`)
  }
  await load.stop()
  report(still, moving, times)
} finally {
  await load.stop()
  control.destroy()
  await server.stop()
  await rm(scratch, { recursive: true, force: true })
}

/** Moves a domain, and notes how long that took, ms. */
async function move(domain: string, version: string, wire: Wire, times: number[]): Promise<void> {
  await load.during(domain, version, async () => {
    const start = performance.now()
    await change(wire)
    times.push(performance.now() - start)
  })
}

/** @throws Error where a change is refused */
async function change(wire: Wire): Promise<void> {
  const { status, text } = await send(control, server.url, wire)
  if (status >= 300) throw new Error(`${wire.method} ${wire.path}: HTTP ${status}: ${text}`)
}

function versionOf(pack: Uint8Array): string {
  return createHash('sha256').update(pack).digest('hex')
}

function report(still: Answers, moving: Answers, times: { put: number[]; activate: number[] }): void {
  const inShort = ({ latencies, failed, wrong }: Answers) => ({
    requests: latencies.length,
    p50: median(latencies),
    p99: quantile(latencies, 0.99),
    max: Math.max(...latencies),
    failed,
    wrong,
  })
  const ofMoves = (ms: number[]) => ({ count: ms.length, median: median(ms), max: Math.max(...ms) })
  const found = { still: inShort(still), moving: inShort(moving) }
  const moves = { put: ofMoves(times.put), activate: ofMoves(times.activate) }
  console.log('answers, ms            requests    p50    p99    max  failed  of an old version')
  for (const [name, { requests, p50, p99, max, failed, wrong }] of Object.entries(found))
    console.log(
      `${(name === 'still' ? 'nothing is moved' : 'domains are moved').padEnd(22)} ${String(requests).padStart(8)} ${[p50, p99, max].map((ms) => ms.toFixed(0).padStart(6)).join(' ')} ${String(failed).padStart(7)} ${String(wrong).padStart(18)}`,
    )
  for (const [name, { count, median, max }] of Object.entries(moves))
    console.log(`${count} moves by ${name}: median ${median.toFixed(0)} ms, longest ${max.toFixed(0)} ms`)
  for (const example of [...still.examples, ...moving.examples].slice(0, 10)) console.error(example)
  console.log(JSON.stringify({ moves: { rounds, clients, ...found, ...moves, machine: machine() } }))
  process.exitCode = [still, moving].some(({ failed, wrong }) => failed + wrong > 0) ? 1 : 0
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds))
}
