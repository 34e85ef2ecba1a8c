/**
 * The whole service on the device, through HTTP: JPEGs in and labels out, and small PNGs, which cost little to decode. How
 * many service processes it takes until the device, and no longer their own threads, is the bottleneck.
 *
 * Load generators run on the same cores, as processes of their own, whose time is not counted.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { deviceName } from '../../src/engine/runtime/runtime.js'
import { domainName, PackPress, writeSeeds } from '../packs.js'
import { Child, cpuMs } from '../processes.js'
import type { ImageKind, LoadJob, LoadResult } from '../speed/load-process.js'
import { quantile } from '../statistics.js'
import { arithmeticOf, powers, type Rig } from './rig.js'

/** Connections of one load generator, and images that it sends before anything is counted. */
interface Load {
  connections: number
  warmUp: number
}

const loadOf = ({ scale }: Rig): Load =>
  scale.rehearsal ? { connections: 8, warmUp: 16 } : { connections: 64, warmUp: 512 }

interface Served {
  service: Child
  load: Child
  url: string
}

export async function service(rig: Rig) {
  const dir = await mkdtemp(join(tmpdir(), 'facet-gpu-service-'))
  const running: Served[] = []
  const found = []
  let failure: string | undefined
  try {
    const names = rig.packs.map((_, index) => domainName(index))
    const seeds = join(dir, 'seeds')
    await writeSeeds(seeds, new PackPress(rig.family, rig.packs[0]!), names.length)
    const most = rig.scale.rehearsal ? 2 : Math.max(1, cpus().length / 2)
    for (const processes of powers(most)) {
      while (running.length < processes)
        running.push(await start(rig, seeds, join(dir, `data-${running.length}`), names))
      for (const kind of ['jpeg', 'png64'] as const)
        found.push({ processes, kind, ...(await throughput(rig, running, kind, names)) })
      found.push({ processes, kind: 'pixels', ...(await fed(rig, running, names)) })
    }
  } catch (error) {
    // What fewer processes did stands.
    failure = (error as Error).message
  } finally {
    await Promise.all(running.flatMap(({ service, load }) => [service.stop(), load.stop()]))
    await rm(dir, { recursive: true, force: true })
  }
  const { connections } = loadOf(rig)
  return { domains: rig.packs.length, connections, runs: found, ...(failure !== undefined && { failure }) }
}

async function start(rig: Rig, seeds: string, data: string, names: string[]): Promise<Served> {
  const { device, maxBatch } = rig.scale
  const flags = [
    ...['--port', '0', '--family', rig.family.dir, '--adapters', seeds, '--data', data],
    ...['--device', deviceName(device), '--bank', 'device', '--max-batch', String(maxBatch)],
    ...(arithmeticOf(device) === 'tf32' ? ['--tf32'] : []),
    ...[
      '--threads',
      '2',
      '--max-queue',
      '8192',
      '--max-queue-per-domain',
      '8192',
      '--request-timeout',
      '60s',
    ],
  ]
  const service = await Child.start(new URL('../speed/service-process.js', import.meta.url), flags)
  const load = await Child.start(new URL('../speed/load-process.js', import.meta.url))
  const served = { service, load, url: await service.ask<string>({ type: 'url' }) }
  // Each domain once, so that all are resident.
  const { warmUp } = loadOf(rig)
  await sent(rig, served, {
    domains: names,
    kind: 'png64',
    images: Math.max(warmUp, names.length),
    order: 'given',
  })
  return served
}

async function sent(
  rig: Rig,
  { load, url }: Served,
  wanted: Pick<LoadJob, 'domains' | 'kind' | 'images' | 'order'>,
): Promise<LoadResult> {
  const { images } = wanted
  const job: LoadJob = { url, atOnce: loadOf(rig).connections, ...wanted }
  const result = await load.ask<LoadResult>({ type: 'load', ...job })
  if (result.failed > 0) throw new Error(`${result.failed} of ${images} requests failed: ${result.failure}`)
  return result
}

/** All services at once, each with its own load generator. */
async function throughput(rig: Rig, running: readonly Served[], kind: ImageKind, domains: string[]) {
  const { warmUp } = loadOf(rig)
  const all = (images: number) =>
    Promise.all(running.map((served) => sent(rig, served, { domains, kind, images, order: 'random' })))
  const first = await all(warmUp)
  const slowest = Math.max(...first.map(({ ms }) => ms))
  const images = Math.ceil((warmUp * rig.scale.seconds * 500) / slowest)
  const before = running.map(({ service }) => cpuMs(service.pid))
  await Promise.all(running.map(({ service }) => service.ask({ type: 'held-start' })))
  const results = await all(images)
  const held = await Promise.all(running.map(({ service }) => service.ask<unknown>({ type: 'held-stop' })))
  const ms = Math.max(...results.map((result) => result.ms))
  const used = running.reduce((sum, { service }, at) => sum + cpuMs(service.pid) - before[at]!, 0)
  const latencies = results.flatMap((result) => result.latencies)
  return {
    images_per_second: (1000 * images * running.length) / ms,
    latency_ms: { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) },
    // Of all cores that the services took, in cores; and CPU time of an image.
    cores: used / ms,
    cpu_ms_an_image: used / (images * running.length),
    main_thread_held: held[0],
  }
}

/** The same queue and engine with images from memory: what is left without HTTP and decoding. */
async function fed({ scale }: Rig, running: readonly Served[], domains: string[]) {
  const atOnce = 2 * scale.maxBatch
  const feed = (images: number) =>
    Promise.all(
      running.map(({ service }) => service.ask<number[]>({ type: 'feed', domains, images, atOnce })),
    )
  const begin = performance.now()
  await feed(2 * atOnce)
  const images = Math.ceil((2 * atOnce * scale.seconds * 500) / (performance.now() - begin))
  const start = performance.now()
  const latencies = (await feed(images)).flat()
  return {
    images_per_second: (1000 * images * running.length) / (performance.now() - start),
    latency_ms: { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) },
  }
}
