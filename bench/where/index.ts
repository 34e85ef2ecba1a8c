/**
 * `npm run bench:where`: where the CPU time of an image goes, by thread, and by cause on the thread that does HTTP;
 * `--help` says what it takes. Prints tables, then one JSON line.
 *
 * The service, the same service with images in forms, and a bare fastify + sharp handler are loaded in turn, a slice of
 * images each. CPU time is the kernel's account of each thread, so the load generator does not count, and other work on
 * the machine matters little. Then V8's profiler watches the service's HTTP thread.
 */
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { Profiler } from 'node:inspector'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { command, natural, positive } from '../command.js'
import { machine } from '../machine.js'
import { makeFamily, randomBackbone, randomPack } from '../networks.js'
import { domainName, PackPress, writeSeeds } from '../packs.js'
import { Child, cpuMs } from '../processes.js'
import type { LoadJob, LoadResult } from '../speed/load-process.js'
import { median, quantile } from '../statistics.js'
import { tell, type Told } from './causes.js'
import { accounts, HTTP, LANES, used } from './threads.js'

interface Options {
  seconds: number
  profileSeconds: number
  warmUp: number
  connections: number
  domains: number
  full: boolean
  form: boolean
  logLevel: string
  functions: number
  against?: string
}

/** Images of a slice, and of a stretch of the profile. */
const SLICE_IMAGES = 512
/** Threads that take less CPU time an image are not shown, ms. */
const SHOWN_MS = 0.0005
const ALL = 'all threads'
const ENDED = 'threads that ended'

/** What is loaded. */
interface Side {
  name: string
  child: Child
  url: string
  form: boolean
}

/** Of one side, a value for each slice. */
interface Slices {
  /** CPU ms an image, by thread. */
  cpu: Map<string, number[]>
  /** Part of the time in which a lane ran, waited for a core, and had nothing to run. */
  lanes: { ran: number[]; waited: number[]; idle: number[] }
  rate: number[]
  p50: number[]
  p99: number[]
  ratio: number[]
}

await main(
  command('bench:where', 'Where the CPU time of an image goes: by thread, and by cause on the HTTP thread.')
    .option('--seconds <n>', 'time for the table of threads', natural, 30)
    .option('--profile-seconds <n>', 'time for the profile of the HTTP thread', natural, 12)
    .option('--warm-up <n>', 'images that are sent to each side before anything is measured', natural, 2000)
    .option('--connections <n>', 'requests in flight', positive, 32)
    .option('--domains <n>', 'domains, of which each request takes one at random', positive, 10)
    .option('--full', "the paper's full width, drawn at random, instead of the shipped family", false)
    .option('--form', 'profile requests whose image is in a form, too', false)
    .option('--log-level <level>', "the service's log, which goes to a file", 'info')
    .option('--functions <n>', 'hottest functions that are listed', natural, 0)
    .option('--against <folder>', 'another checkout, built, that is loaded in turn with this one')
    .parse()
    .opts<Options>(),
)

async function main(options: Options): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'facet-where-'))
  const log = openSync(join(dir, 'log'), 'a')
  const started: Child[] = []
  try {
    const sides = await start(options, dir, log, started)
    const load = await Child.start(new URL('../speed/load-process.js', import.meta.url))
    started.push(load)
    const send = sender(load, options)
    for (const side of sides) await send(side, options.warmUp)
    const slices = await byThread(sides, send, options.seconds)
    showThreads(sides, slices)
    const profiled = options.form
      ? sides.filter(({ name }) => name !== 'bare' && name !== 'other')
      : [sides[0]!]
    const told: Record<string, Told> = {}
    for (const side of profiled) {
      told[side.name] = await byCause(side, send, options)
      showCauses(side.name, told[side.name]!, median(slices.get(side)!.cpu.get(HTTP)!))
    }
    console.log(
      JSON.stringify({
        where: Object.fromEntries(sides.map((side) => [side.name, inShort(slices.get(side)!)])),
        causes: told,
        options,
        machine: machine(),
      }),
    )
  } finally {
    await Promise.all(started.map((child) => child.stop()))
    closeSync(log)
    await rm(dir, { recursive: true })
  }
}

/** Starts all sides, the one that is profiled first. */
async function start(options: Options, dir: string, log: number, started: Child[]): Promise<Side[]> {
  const names = Array.from({ length: options.domains }, (_, index) => domainName(index))
  const family = options.full
    ? await makeFamily(randomBackbone(), join(dir, 'full'))
    : await readFamily(packageFile('models/resnet26-half'))
  const seeds = join(dir, 'seeds')
  await writeSeeds(seeds, new PackPress(family, randomPack(family, 1)), names.length)
  const here = new URL('../', import.meta.url)
  const serve = async (name: string, from: URL, script: string, args: string[]) => {
    const node = ['--require', new URL('name-threads.cjs', import.meta.url).pathname]
    const child = await Child.start(new URL(script, from), args, {}, { node, output: log })
    started.push(child)
    return { name, child, url: await child.ask<string>({ type: 'url' }), form: false }
  }
  const flags = (data: string) => [
    ...['--family', family.dir, '--adapters', seeds, '--data', join(dir, data), '--port', '0'],
    ...['--log-level', options.logLevel],
  ]
  const own = await serve('service', here, 'speed/service-process.js', flags('data'))
  const sides: Side[] = [own, { ...own, name: 'form', form: true }]
  if (options.against !== undefined) {
    const there = pathToFileURL(join(resolve(options.against), 'dist/bench/'))
    sides.push(await serve('other', there, 'speed/service-process.js', flags('data-other')))
  }
  sides.push(await serve('bare', here, 'speed/bare-process.js', []))
  return sides
}

type Send = (side: Side, images: number) => Promise<LoadResult>

function sender(load: Child, { connections, domains }: Options): Send {
  const names = Array.from({ length: domains }, (_, index) => domainName(index))
  return async ({ url, form }, images) => {
    const job: LoadJob = {
      url,
      domains: names,
      order: 'random',
      kind: 'jpeg',
      images,
      atOnce: connections,
      form,
    }
    const result = await load.ask<LoadResult>({ type: 'load', ...job })
    if (result.failed > 0) throw new Error(`${result.failed} of ${images} requests failed: ${result.failure}`)
    return result
  }
}

/** Slices of all sides in turn, in reversed order every second round, at least three rounds. */
async function byThread(sides: readonly Side[], send: Send, seconds: number): Promise<Map<Side, Slices>> {
  const slices = new Map(sides.map((side) => [side, noSlices()]))
  const end = performance.now() + 1000 * seconds
  for (let round = 0; round < 3 || performance.now() < end; round++)
    for (const side of round % 2 === 0 ? sides : [...sides].reverse())
      await slice(side, send, slices.get(side)!)
  return slices
}

function noSlices(): Slices {
  const lanes = { ran: [], waited: [], idle: [] }
  return { cpu: new Map(), lanes, rate: [], p50: [], p99: [], ratio: [] }
}

async function slice(side: Side, send: Send, into: Slices): Promise<void> {
  const { pid } = side.child
  const [before, allBefore] = [accounts(pid), cpuMs(pid)]
  const { latencies, ms } = await send(side, SLICE_IMAGES)
  const [threads, all] = [used(before, accounts(pid)), cpuMs(pid) - allBefore]
  let seen = 0
  const put = (name: string, cpu: number) => {
    const values = into.cpu.get(name) ?? []
    values.push(cpu / SLICE_IMAGES)
    into.cpu.set(name, values)
  }
  for (const [name, { cpu }] of threads) {
    put(name, cpu)
    seen += cpu
  }
  put(ENDED, Math.max(0, all - seen))
  put(ALL, Math.max(all, seen))
  const lanes = threads.get(LANES)
  if (lanes !== undefined) {
    const time = ms * lanes.threads
    into.lanes.ran.push(lanes.cpu / time)
    into.lanes.waited.push(lanes.waited / time)
    into.lanes.idle.push(1 - (lanes.cpu + lanes.waited) / time)
  }
  const [p50, p99] = [median(latencies), quantile(latencies, 0.99)]
  into.rate.push((1000 * SLICE_IMAGES) / ms)
  into.p50.push(p50)
  into.p99.push(p99)
  into.ratio.push(p99 / p50)
}

async function byCause(side: Side, send: Send, { profileSeconds, functions }: Options): Promise<Told> {
  await side.child.ask({ type: 'profile-start' })
  const end = performance.now() + 1000 * profileSeconds
  do await send(side, SLICE_IMAGES)
  while (performance.now() < end)
  return tell(await side.child.ask<Profiler.Profile>({ type: 'profile-stop' }), functions)
}

function showThreads(sides: readonly Side[], slices: ReadonlyMap<Side, Slices>): void {
  const all = sides.map((side) => slices.get(side)!)
  const names = new Set(all.flatMap(({ cpu }) => [...cpu.keys()]))
  names.delete(ALL)
  const idle = (name: string) => all.every(({ cpu }) => median(cpu.get(name) ?? [0]) < SHOWN_MS)
  const cells = (name: string) =>
    all.map(({ cpu }) => (cpu.has(name) ? median(cpu.get(name)!).toFixed(3) : '-'))
  const line = (name: string, values: readonly string[]) =>
    console.log(name.padEnd(40) + values.map((value) => value.padStart(11)).join(''))
  line(
    'CPU ms an image',
    sides.map(({ name }) => name),
  )
  for (const name of names) if (!idle(name)) line(`  ${name}`, cells(name))
  line(`  ${ALL}`, cells(ALL))
  const row = (name: string, of: (slices: Slices) => number[], digits: number, factor = 1) =>
    line(
      name,
      all.map((each) => (of(each).length > 0 ? (factor * median(of(each))).toFixed(digits) : '-')),
    )
  row('images a second', ({ rate }) => rate, 0)
  row('p50, ms', ({ p50 }) => p50, 1)
  row('p99, ms', ({ p99 }) => p99, 1)
  row('p99 over p50', ({ ratio }) => ratio, 2)
  row('lanes ran, % of the time', ({ lanes }) => lanes.ran, 1, 100)
  row('lanes waited for a core, %', ({ lanes }) => lanes.waited, 1, 100)
  row('lanes had nothing to run, %', ({ lanes }) => lanes.idle, 1, 100)
}

function showCauses(name: string, { causes, functions, samples }: Told, httpMs: number): void {
  console.log(`HTTP thread of '${name}', ${samples} samples: cause, %, CPU ms an image`)
  for (const { cause, share } of causes)
    console.log(
      `  ${cause.padEnd(50)}${(100 * share).toFixed(1).padStart(6)}${(share * httpMs).toFixed(3).padStart(8)}`,
    )
  for (const { where, share } of functions)
    console.log(`    ${(100 * share).toFixed(1).padStart(5)}  ${where}`)
}

function inShort({ cpu, lanes, ...rates }: Slices) {
  const middle = (values: Record<string, number[]>) =>
    Object.fromEntries(
      Object.entries(values).map(([name, of]) => [
        name,
        of.length > 0 ? Number(median(of).toPrecision(4)) : null,
      ]),
    )
  return { cpu: middle(Object.fromEntries(cpu)), lanes: middle(lanes), ...middle(rates) }
}
