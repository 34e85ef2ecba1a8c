/**
 * `npm run head-only -- [--domains N] [--classes K] [--rounds N] [--images N] [--family DIR]`: what domains take that
 * have nothing but a head of their own.
 *
 * Registers so many domains in a temporary store, each with a random head in half precision, and starts the service
 * twice: with an empty store, and with that one. Both answer as many images before their memory is read: the first for
 * its base, the second for each of the domains, which are all resident then. Then the second one has images of all
 * domains at random and images of one domain in turn, round by round.
 *
 * Prints one JSON line: `beyond_mb` is the memory that the service shares with no other process beyond that of the empty
 * one, `heads_mb` what of it the heads are; `start_ms` runs from the start of the process to the first `/readyz` that
 * is 200; `mixed_over_one` is the median of each round's images a second of all domains over those of one.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { progress } from '../src/commands/progress.js'
import { headBytes } from '../src/engine/bank-spec.js'
import type { Family } from '../src/family/family.js'
import { readFamily } from '../src/family/folder.js'
import { packageFile } from '../src/host/package.js'
import { writePack } from '../src/pack/write.js'
import { command, positive } from './command.js'
import { machine } from './machine.js'
import { domainName, fillStore, type Press } from './packs.js'
import { Child, cpuMs, privateBytes } from './processes.js'
import { random, uniform } from './random.js'
import { type RunningServer, startServer } from './server.js'
import type { LoadJob, LoadResult } from './speed/load-process.js'
import { median, quantile } from './statistics.js'

const BASE = 'base'
/** Enough that batches are full. */
const CONNECTIONS = 32
/** Images that both services answer before anything is read, beside one for each domain. */
const WARM_UP_IMAGES = 1000
/** The collector and the allocator have settled, ms. */
const SETTLED_MS = 3000
/** As `npm start` has it. */
const ENV = { MALLOC_ARENA_MAX: '2' }

interface Options {
  domains: number
  classes: number
  rounds: number
  images: number
  family: string
}

/** Packs that touch no slot, each with a head of its own. */
class HeadPress implements Press {
  readonly #bytes: Uint8Array
  readonly #weights: number

  constructor({ manifest, base }: Family, classes: number) {
    const next = random(classes)
    const weight = uniform(next, classes * manifest.features, 0.03)
    const head = { classes, weight, bias: uniform(next, classes, 0.1) }
    const labels = Array.from({ length: classes }, (_, index) => `class ${index}`)
    const { name: _, ...info } = base
    const pack = { ...info, design: 'feature' as const, labels, slots: new Map(), head }
    this.#bytes = writePack(pack, manifest, { dtype: 'f16' })
    this.#weights = weight.length
  }

  /** The weights are the last tensor of the file: each gets a random sign and mantissa. */
  copy(number: number): Uint8Array {
    const bytes = new Uint8Array(this.#bytes)
    const next = random(number)
    const view = new DataView(bytes.buffer)
    for (let at = bytes.length - 2 * this.#weights; at < bytes.length; at += 2) {
      const bits = Math.floor(next() * 0x800)
      view.setUint16(at, 0x2400 | (bits & 0x3ff) | ((bits & 0x400) << 5), true)
    }
    return bytes
  }
}

interface Running {
  server: RunningServer
  readyMs: number
}

async function start(family: string, data: string, adapters: string): Promise<Running> {
  const began = performance.now()
  const args = ['--family', family, '--data', data, '--adapters', adapters, '--log-format', 'json']
  const server = await startServer([...args, '--log-level', 'info'], ENV)
  const { status } = await fetch(`${server.url}/readyz`)
  if (status !== 200) throw new Error(`/readyz answered ${status}`)
  return { server, readyMs: performance.now() - began }
}

/** Sends images with a load generator in another process. @throws Error if a request fails */
async function send(
  load: Child,
  { server }: Running,
  job: Pick<LoadJob, 'domains' | 'images'> & Partial<LoadJob>,
): Promise<LoadResult & { cpuMs: number }> {
  const before = cpuMs(server.pid)
  const whole = { url: server.url, order: 'random', kind: 'jpeg', atOnce: CONNECTIONS, ...job }
  const result = await load.ask<LoadResult>({ type: 'load', ...whole })
  if (result.failed > 0) throw new Error(`${result.failed} requests failed: ${result.failure}`)
  return { ...result, cpuMs: (cpuMs(server.pid) - before) / job.images }
}

/** Answers an image of each domain, and some more. @returns private memory then, bytes */
async function settled(
  load: Child,
  running: Running,
  domains: string[],
  images: number,
  show: (done: number) => void,
): Promise<number> {
  for (let done = 0; done < images; ) {
    const some = domains.slice(done % domains.length, (done % domains.length) + WARM_UP_IMAGES)
    const count = Math.min(WARM_UP_IMAGES, images - done)
    await send(load, running, { domains: some, order: 'given', images: count })
    done += count
    show(done)
  }
  await send(load, running, { domains, images: WARM_UP_IMAGES })
  await new Promise((resolve) => setTimeout(resolve, SETTLED_MS))
  return privateBytes(running.server.pid)
}

async function measure(dir: string, options: Options): Promise<Record<string, unknown>> {
  const { domains: count, classes, rounds, images } = options
  const family = await readFamily(options.family)
  const adapters = join(dir, 'adapters')
  await mkdir(adapters)
  const show = progress('head-only')
  const press = new HeadPress(family, classes)
  await fillStore(join(dir, 'full'), family, press, count, count, (done) => show('packs', done, count))
  const domains = Array.from({ length: count }, (_, index) => domainName(index))
  const load = await Child.start(new URL('./speed/load-process.js', import.meta.url))
  const open: RunningServer[] = []
  const serve = async (data: string) => {
    const running = await start(options.family, join(dir, data), adapters)
    open.push(running.server)
    return running
  }
  try {
    const empty = await serve('empty')
    const least = await settled(load, empty, [BASE], count, (done) => show('empty service', done, count))
    await empty.server.stop()
    const full = await serve('full')
    const most = await settled(load, full, domains, count, (done) => show('full service', done, count))
    const heads = count * headBytes(family.manifest.features, { classes, halfHead: true })
    const ratios: number[] = []
    const cpuRatios: number[] = []
    for (let round = 0; round < rounds; round++) {
      const mixed = () => send(load, full, { domains, images })
      const one = () => send(load, full, { domains: domains.slice(0, 1), images })
      const [a, b] = round % 2 === 0 ? [await mixed(), await one()] : [await one(), await mixed()]
      const [all, single] = round % 2 === 0 ? [a, b] : [b, a]
      ratios.push(single.ms / all.ms)
      cpuRatios.push(single.cpuMs / all.cpuMs)
      show('rounds', round + 1, rounds)
    }
    const resident = await residentDomains(full)
    return {
      family: family.manifest.name,
      domains: count,
      classes,
      resident,
      empty_mb: megabytes(least),
      full_mb: megabytes(most),
      beyond_mb: megabytes(most - least),
      heads_mb: megabytes(heads),
      start_ms: { empty: Math.round(empty.readyMs), full: Math.round(full.readyMs) },
      mixed_over_one: summary(ratios),
      mixed_over_one_cpu: summary(cpuRatios),
    }
  } finally {
    for (const server of open) await server.stop()
    await load.stop()
  }
}

async function residentDomains({ server }: Running): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  return Number(/^facet_domains\{state="resident"\} (\d+)$/m.exec(text)?.[1])
}

function summary(values: readonly number[]): Record<string, number> {
  const at = (q: number) => Number(quantile(values, q).toFixed(3))
  return { median: Number(median(values).toFixed(3)), p25: at(0.25), p75: at(0.75), rounds: values.length }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e5) / 10
}

async function main(): Promise<void> {
  const options = command('head-only', 'What domains take that have nothing but a head of their own.')
    .option('--domains <n>', 'domains that are registered', positive, 10_000)
    .option('--classes <n>', 'of each head', positive, 10)
    .option('--rounds <n>', 'of mixed traffic against that of one domain', positive, 10)
    .option('--images <n>', 'of each side of a round', positive, 2000)
    .option('--family <dir>', 'the family', packageFile('models/efficientnet-lite0'))
    .parse()
    .opts<Options>()
  const dir = await mkdtemp(join(tmpdir(), 'facet-head-only-'))
  try {
    console.log(JSON.stringify({ ...(await measure(dir, options)), machine: machine() }))
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

await main()
