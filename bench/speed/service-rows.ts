/**
 * Measures the service through HTTP, with a load generator in another process.
 *
 * CPU time is that of the server's process, from `/proc/PID/stat`, so the load generator on the same cores
 * does not count.
 */
import { join } from 'node:path'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { rowBytes } from '../../src/engine/bank-spec.js'
import type { ImageKind, LoadJob, LoadResult } from './load-process.js'
import { CLASSES, makeFamily, randomBackbone, randomPack } from '../networks.js'
import { domainName, PackPress, writeSeeds } from '../packs.js'
import { Child, cpuMs } from '../processes.js'
import type { BenchOptions, Group, Measured, Row } from './rows.js'
import type { LoopDelay } from './service-process.js'
import { median, quantile, spread } from '../statistics.js'
import { Connection } from './connection.js'

const CONNECTIONS = 32
/** Images that are sent before anything is measured. */
const WARM_UP_IMAGES = 2000
/** Fewer than the service admits. */
const UPLOADS_AT_ONCE = 3
/** Images of one slice of the registration row. The p99 of fewer would be almost their maximum. */
const REGISTER_SLICE_IMAGES = 384
/**
 * The registration row takes so many times the seconds of another row: a p99 needs more rounds than a median.
 */
const REGISTER_TIME_FACTOR = 3
/** Images that are sent while the first packs are registered; they are not counted. */
const REGISTER_WARM_UP_IMAGES = 128

/** A service, where it listens, and the domains it has. */
interface Served {
  child: Child
  url: string
  domains: string[]
}

interface ServiceRig {
  family: Family
  press: PackPress
  seeds: string
  full: Served
  demo: Served
  bare: Served
  load: Child
}

async function serve(domains: string[], flags: string[]): Promise<Served> {
  const child = await Child.start(new URL('./service-process.js', import.meta.url), ['--port', '0', ...flags])
  return { child, url: await child.ask<string>({ type: 'url' }), domains }
}

async function open({ dir, domains, threads }: BenchOptions): Promise<ServiceRig> {
  const names = Array.from({ length: domains }, (_, index) => domainName(index))
  const started: Child[] = []
  const add = async <T extends Served>(served: Promise<T>): Promise<T> => {
    started.push((await served).child)
    return served
  }
  try {
    const family = await makeFamily(randomBackbone(), join(dir, 'full'))
    const press = new PackPress(family, randomPack(family, 1))
    const seeds = join(dir, 'seeds')
    await writeSeeds(seeds, press, domains)
    const full = await add(serve(names, flagsOf(family.dir, seeds, join(dir, 'data-full'), threads)))
    const demoDir = packageFile('models/resnet26-half')
    const demoFamily = await readFamily(demoDir)
    const demoSeeds = join(dir, 'demo-seeds')
    await writeSeeds(demoSeeds, new PackPress(demoFamily, randomPack(demoFamily, 1)), domains)
    const demo = await add(serve(names, flagsOf(demoDir, demoSeeds, join(dir, 'data-demo'), threads)))
    const bareChild = await Child.start(new URL('./bare-process.js', import.meta.url))
    started.push(bareChild)
    const bare = { child: bareChild, url: await bareChild.ask<string>({ type: 'url' }), domains: names }
    const load = await Child.start(new URL('./load-process.js', import.meta.url))
    started.push(load)
    const rig = { family, press, seeds, full, demo, bare, load }
    // Before anything is measured, make every domain resident and let V8 compile most of the code.
    for (const served of [full, demo, bare]) {
      await sent(load, served, 'jpeg', Math.max(WARM_UP_IMAGES, domains), CONNECTIONS, 'given')
      await sent(load, served, 'png64', WARM_UP_IMAGES / 2, CONNECTIONS)
    }
    return rig
  } catch (error) {
    await Promise.all(started.map((child) => child.stop()))
    throw error
  }
}

function flagsOf(family: string, adapters: string, data: string, threads: number): string[] {
  return ['--family', family, '--adapters', adapters, '--data', data, '--threads', String(threads)]
}

async function close({ full, demo, bare, load }: ServiceRig): Promise<void> {
  await Promise.all([full.child, demo.child, bare.child, load].map((child) => child.stop()))
}

/** Sends images. @throws Error if a request fails */
async function sent(
  load: Child,
  served: Served,
  kind: ImageKind,
  images: number,
  atOnce: number,
  order: LoadJob['order'] = 'random',
): Promise<LoadResult> {
  const { url, domains } = served
  const job: LoadJob = { url, domains, order, kind, images, atOnce }
  const result = await load.ask<LoadResult>({ type: 'load', ...job })
  if (result.failed > 0) throw new Error(`${result.failed} of ${images} requests failed: ${result.failure}`)
  return result
}

/** Calls `round` until the time is up, at least twice. */
async function rounds(seconds: number, round: (number: number) => Promise<void>): Promise<void> {
  const end = performance.now() + seconds * 1000
  for (let number = 0; number < 2 || performance.now() < end; number++) await round(number)
}

/** CPU time an image: through HTTP, from memory, and of a bare handler for the same images, in turn. */
async function tax({ load, bare }: ServiceRig, served: Served, images: number, seconds: number) {
  const { child, domains } = served
  const http: number[] = []
  const memory: number[] = []
  const nothing: number[] = []
  let perSecond = 0
  const cost = async ({ pid }: Child, work: () => Promise<unknown>) => {
    const before = cpuMs(pid)
    await work()
    return (cpuMs(pid) - before) / images
  }
  await rounds(seconds, async () => {
    const through = async () => {
      const { ms } = await sent(load, served, 'jpeg', images, CONNECTIONS)
      perSecond = Math.max(perSecond, (1000 * images) / ms)
    }
    http.push(await cost(child, through))
    const fed = { type: 'feed', domains, images, atOnce: CONNECTIONS }
    memory.push(await cost(child, () => child.ask<number[]>(fed)))
    nothing.push(await cost(bare.child, () => sent(load, bare, 'jpeg', images, CONNECTIONS)))
  })
  const ratios = memory.map((own, index) => own / http[index]!)
  const bounds = memory.map((own, index) => own / (own + nothing[index]!))
  return {
    ratios,
    http: median(http),
    memory: median(memory),
    bare: median(nothing),
    bound: median(bounds),
    perSecond,
  }
}

async function serviceTax(rig: ServiceRig, { seconds }: BenchOptions): Promise<Measured> {
  const wide = await tax(rig, rig.full, 128, seconds)
  const half = await tax(rig, rig.demo, 256, seconds)
  const words = ({ ratios, http, memory, bare, bound }: typeof wide) =>
    `${spread(ratios)}, ${http.toFixed(2)} ms of CPU an image through HTTP, ${memory.toFixed(2)} from memory, ${bare.toFixed(2)} in a bare fastify + sharp handler, with which it would be ${bound.toFixed(3)}`
  return {
    values: {
      service_vs_engine: median(wide.ratios),
      service_vs_engine_demo: median(half.ratios),
      service_vs_engine_bound: wide.bound,
      service_vs_engine_bound_demo: half.bound,
      bare_cpu_ms: wide.bare,
      service_cpu_ms: wide.http,
      engine_cpu_ms: wide.memory,
      service_cpu_ms_demo: half.http,
      engine_cpu_ms_demo: half.memory,
      service_images_per_second: wide.perSecond,
      service_images_per_second_demo: half.perSecond,
    },
    detail: `full width: ${words(wide)}; demo family: ${words(half)}`,
  }
}

async function addedLatency(
  { load, full, demo, bare }: ServiceRig,
  { seconds }: BenchOptions,
): Promise<Measured> {
  const found = {
    full: [] as number[],
    engine: [] as number[],
    demo: [] as number[],
    demoEngine: [] as number[],
  }
  const nothing: number[] = []
  const images = 24
  await rounds(seconds, async () => {
    for (const [served, http, engine] of [
      [full, found.full, found.engine],
      [demo, found.demo, found.demoEngine],
    ] as const) {
      http.push(...(await sent(load, served, 'png64', images, 1)).latencies)
      const fed = { type: 'feed', domains: served.domains, images, atOnce: 1 }
      engine.push(...(await served.child.ask<number[]>(fed)))
    }
    nothing.push(...(await sent(load, bare, 'png64', images, 1)).latencies)
  })
  const added = median(found.full) - median(found.engine)
  const addedDemo = median(found.demo) - median(found.demoEngine)
  return {
    values: {
      added_latency_ms: added,
      added_over_bare_ms: added - median(nothing),
      bare_latency_ms: median(nothing),
      added_latency_ms_demo: addedDemo,
      added_over_bare_ms_demo: addedDemo - median(nothing),
    },
    detail: `full width: HTTP ${spread(found.full, 2)}, engine ${spread(found.engine, 2)}; demo: HTTP ${spread(found.demo, 2)}, engine ${spread(found.demoEngine, 2)}; bare fastify + sharp ${spread(nothing, 2)} ms`,
  }
}

async function eventLoop({ load, full }: ServiceRig, { seconds }: BenchOptions): Promise<Measured> {
  const measured = async (work: () => Promise<unknown>) => {
    await full.child.ask({ type: 'delay-start' })
    await work()
    return full.child.ask<LoopDelay>({ type: 'delay-stop' })
  }
  const pause = Math.min(3, seconds / 4) * 1000
  const idle = await measured(() => new Promise((resolve) => setTimeout(resolve, pause)))
  const busy = await measured(() =>
    rounds(seconds, () => sent(load, full, 'jpeg', 128, CONNECTIONS).then(() => {})),
  )
  return {
    values: { event_loop_p99_ms: busy.p99 - idle.p50, event_loop_idle_ms: idle.p50 },
    detail: `p99 ${busy.p99.toFixed(2)} ms under load; idle p50 ${idle.p50.toFixed(2)} (subtracted), p99 ${idle.p99.toFixed(2)} ms`,
  }
}

/** The ratio is computed for each round of two slices, and the median over the rounds is reported. */
async function registration({ load, full, press }: ServiceRig, { seconds }: BenchOptions): Promise<Measured> {
  const calm: number[][] = []
  const busy: number[][] = []
  let [number, failed, registeringMs] = [1, 0, 0]
  let failure = ''
  /** Registers a pack. Resolves to whether the connection can be used again. */
  const put = async (connection: Connection): Promise<boolean> => {
    const mine = number++
    try {
      const { status, text } = await connection.send({
        method: 'PUT',
        path: `/v1/domains/new-${mine}`,
        type: 'application/octet-stream',
        body: press.copy(500_000 + mine),
      })
      if (status >= 300) throw new Error(`HTTP ${status}: ${text.slice(0, 200)}`)
      return true
    } catch (error) {
      failed++
      failure ||= (error as Error).message
      return false
    }
  }
  const slice = (into: number[][], images: number) => async () => {
    const { url, domains } = full
    const job: LoadJob = { url, domains, order: 'random', kind: 'jpeg', images, atOnce: 8 }
    const result = await load.ask<LoadResult>({ type: 'load', ...job })
    failed += result.failed
    failure ||= result.failure ?? ''
    into.push(result.latencies)
  }
  const registering = (images: number) => async () => {
    const connections = await Promise.all(
      Array.from({ length: UPLOADS_AT_ONCE }, () => Connection.open(full.url)),
    )
    const idle = [...connections]
    const puts = new Set<Promise<void>>()
    const start = performance.now()
    // Ten packs a second. A machine too slow for that registers fewer, and none is refused.
    const timer = setInterval(() => {
      // Connections take turns, so that the service closes none for being silent.
      const connection = idle.shift()
      if (connection === undefined) return
      const one: Promise<void> = put(connection).then((ok) => {
        if (ok) idle.push(connection)
        puts.delete(one)
      })
      puts.add(one)
    }, 100)
    await slice(busy, images)()
    clearInterval(timer)
    await Promise.all(puts)
    for (const connection of connections) connection.close()
    registeringMs += performance.now() - start
  }
  // Warm up: code that registering compiles, and memory that it allocates for the first time.
  await registering(REGISTER_WARM_UP_IMAGES)()
  busy.length = 0
  const warmedUp = { number, registeringMs }
  await rounds(REGISTER_TIME_FACTOR * seconds, async (round) => {
    const sides = [slice(calm, REGISTER_SLICE_IMAGES), registering(REGISTER_SLICE_IMAGES)]
    for (const side of round % 2 === 0 ? sides : sides.reverse()) await side()
  })
  const p99 = (latencies: readonly number[]) => quantile(latencies, 0.99)
  const ratios = busy.map((latencies, round) => p99(latencies) / p99(calm[round]!))
  const [during, without] = [busy.flat(), calm.flat()]
  const registered = number - warmedUp.number
  const perSecond = (1000 * registered) / (registeringMs - warmedUp.registeringMs)
  return {
    values: {
      register_p99_ratio: median(ratios),
      register_p99_ratio_all_rounds: p99(during) / p99(without),
      register_failed: failed,
      register_p99_ms: p99(during),
      registered_per_second: perSecond,
    },
    detail: `${spread(ratios)}; over all rounds p99 ${p99(during).toFixed(1)} ms while ${registered} packs came at ${perSecond.toFixed(1)} a second, ${p99(without).toFixed(1)} ms without; p50 ${median(during).toFixed(1)} and ${median(without).toFixed(1)} ms; ${during.length} images each${failure && `; first failure: ${failure}`}`,
  }
}

/**
 * With a bank too small for the domains in turn, each domain is cold at its first request and resident at its
 * second.
 */
async function cold(rig: ServiceRig, options: BenchOptions): Promise<Measured> {
  const { family, seeds, load, full } = rig
  const sizes = { layout: family.layout, dtype: 'f32' as const, features: family.manifest.features }
  const row = rowBytes(sizes, { adapter: 'whole', classes: CLASSES, halfHead: true })
  const rows = Math.max(2, Math.floor(full.domains.length / 3))
  const flags = flagsOf(family.dir, seeds, join(options.dir, 'data-cold'), options.threads)
  const small = ['--bank-memory', String(rows * row), '--min-residency', '1ms']
  const served = await serve(
    full.domains.flatMap((domain) => [domain, domain]),
    [...flags, ...small],
  )
  const differences: number[] = []
  try {
    await sent(load, served, 'png64', served.domains.length, 1, 'given')
    await rounds(options.seconds / 2, async () => {
      const { latencies } = await sent(load, served, 'png64', served.domains.length, 1, 'given')
      for (let i = 0; i < latencies.length; i += 2) differences.push(latencies[i]! - latencies[i + 1]!)
    })
  } finally {
    await served.child.stop()
  }
  return {
    values: { cold_ms: median(differences), cold_p99_ms: quantile(differences, 0.99) },
    detail: `${spread(differences, 2)} ms more than the same domain when resident; ${rows} rows for ${full.domains.length} domains`,
  }
}

const rows: Row<ServiceRig>[] = [
  {
    keys: ['service_vs_engine'],
    what: 'service tax: images per second of server CPU, HTTP against memory',
    target: '>= 0.90',
    measure: serviceTax,
  },
  {
    keys: ['added_latency_ms'],
    what: 'added latency, one 64 px PNG at a time',
    target: '<= 1.5, and <= 0.5 over the bare handler',
    measure: addedLatency,
  },
  {
    keys: ['event_loop_p99_ms'],
    what: 'event-loop delay under full load, p99',
    target: '<= 10',
    measure: eventLoop,
  },
  {
    keys: ['register_p99_ratio', 'register_failed'],
    what: 'predict p99 while 10 packs a second are registered',
    target: '<= 1.2; 0',
    measure: registration,
  },
  {
    keys: ['cold_ms'],
    what: 'first answer of a cold domain, ms more than resident',
    target: '<= 15',
    measure: cold,
  },
]

export const serviceRows: Group<ServiceRig> = { name: 'service', rows, open, close }
