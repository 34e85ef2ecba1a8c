/**
 * Private memory (`smaps_rollup`) of the service and of dedicated sessions, at the paper's full width.
 *
 * The service is measured up to the last domain. Dedicated sessions are measured up to twenty and
 * extrapolated by a straight line, since a thousand would not fit into memory. They are as small as they get:
 * without arenas, and the heap gives back what loading needed. At onnxruntime's and the heap's defaults a
 * session takes three quarters more; `npm run race -- --memory` compares the settings.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { rowBytes } from '../../src/engine/bank-spec.js'
import type { LoadJob, LoadResult } from './load-process.js'
import { CLASSES, makeFamily, randomBackbone, randomPack } from '../networks.js'
import { domainName, fillStore, PackPress } from '../packs.js'
import { Child, privateBytes } from '../processes.js'
import type { BenchOptions, Group, Measured, Row } from './rows.js'

type Dtype = 'f32' | 'f16'
/** Domains and bytes. */
type Points = [domains: number, bytes: number][]

interface MemoryRig {
  /** Bytes of the service by number of domains. Measured once per dtype; the rows share it. */
  curve(dtype: Dtype, upTo: number): Promise<Points>
  dedicated(): Promise<Points>
  /** fp32 bytes of one domain's tensors. */
  tensors: number
  many: number
}

/** glibc maps blocks from this size on by themselves, so that they go back to the system when they are freed. */
const GIVE_BACK = { MALLOC_MMAP_THRESHOLD_: '65536' }
/** Numbers of domains at which memory is read. */
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000]
/** The bytes of one more domain are the slope from this number of domains on. */
const SLOPE_FROM_DOMAINS = 100

async function open(options: BenchOptions): Promise<MemoryRig> {
  const { dir, many } = options
  const family = await makeFamily(randomBackbone(), join(dir, 'full'))
  const data = join(dir, 'data-many')
  await fillStore(data, family, new PackPress(family, randomPack(family, 1)), many)
  const curves = new Map<Dtype, Points>()
  let dedicated: Points | undefined
  return {
    tensors: rowBytes(
      { layout: family.layout, dtype: 'f32', features: family.manifest.features },
      { adapter: 'whole', classes: CLASSES, halfHead: true },
    ),
    many,
    async curve(dtype, upTo) {
      const known = curves.get(dtype)
      if (known && known.at(-1)![0] >= upTo) return known
      const points = await growService(family.dir, data, dtype, Math.min(upTo, many), options)
      curves.set(dtype, points)
      return points
    },
    async dedicated() {
      dedicated ??= await growDedicated(options)
      return dedicated
    },
  }
}

async function growService(
  family: string,
  data: string,
  dtype: Dtype,
  upTo: number,
  { dir, threads }: BenchOptions,
): Promise<Points> {
  const noSeeds = join(dir, 'none')
  await mkdir(noSeeds, { recursive: true })
  const flags = ['--family', family, '--adapters', noSeeds, '--data', data, '--port', '0']
  const bank = ['--bank-memory', '8GiB', '--bank-dtype', dtype, '--threads', String(threads)]
  const service = await Child.start(new URL('./service-process.js', import.meta.url), [...flags, ...bank])
  const load = await Child.start(new URL('./load-process.js', import.meta.url))
  try {
    const url = await service.ask<string>({ type: 'url' })
    const points: Points = []
    let touched = 0
    for (const step of [...STEPS.filter((step) => step < upTo), upTo]) {
      const domains = Array.from({ length: step - touched }, (_, index) => domainName(touched + index))
      const job: LoadJob = { url, domains, order: 'given', kind: 'png64', images: domains.length, atOnce: 4 }
      const { failed, failure } = await load.ask<LoadResult>({ type: 'load', ...job })
      if (failed > 0) throw new Error(`${failed} requests failed: ${failure}`)
      touched = step
      points.push([step, await settled(service.pid)])
    }
    return points
  } finally {
    await Promise.all([service.stop(), load.stop()])
  }
}

async function growDedicated({ dir, threads, rival }: BenchOptions): Promise<Points> {
  const options = rival ?? { workers: 1, threads, spinning: false, device: { kind: 'cpu' } }
  const child = await Child.start(
    new URL('./dedicated-process.js', import.meta.url),
    [JSON.stringify({ ...options, arena: false }), join(dir, 'full-again')],
    GIVE_BACK,
  )
  try {
    const points: Points = []
    for (const to of [1, 2, 5, 10, 20]) {
      await child.ask({ type: 'grow', to })
      points.push([to, await settled(child.pid)])
    }
    return points
  } finally {
    await child.stop()
  }
}

/** Private bytes, read after half a second in which the process can free what it no longer uses. */
async function settled(pid: number): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 500))
  return privateBytes(pid)
}

/** Bytes of one more domain: the slope from the first point at or above `from` domains to the last point. */
function slope(points: Points, from: number): { perDomain: number; from: number; to: number } {
  const first = points.find(([domains]) => domains >= Math.min(from, points.at(-2)![0]))!
  const last = points.at(-1)!
  return { perDomain: (last[1] - first[1]) / (last[0] - first[0]), from: first[0], to: last[0] }
}

function rowOf(dtype: Dtype) {
  return async ({ curve, tensors }: MemoryRig): Promise<Measured> => {
    const { perDomain, from, to } = slope(await curve(dtype, 300), SLOPE_FROM_DOMAINS)
    return {
      values: { [`row_bytes_${dtype}`]: perDomain / tensors, [`row_mb_${dtype}`]: perDomain / 1e6 },
      detail: `${(perDomain / 1e6).toFixed(3)} MB a domain from ${from} to ${to}; its tensors are ${(tensors / 1e6).toFixed(3)} MB of fp32`,
    }
  }
}

async function thousand({ curve, dedicated, many }: MemoryRig): Promise<Measured> {
  const ours = await curve('f32', many)
  const theirs = await dedicated()
  const { perDomain, from, to } = slope(theirs, 5)
  const extended = theirs.at(-1)![1] + (many - theirs.at(-1)![0]) * perDomain
  const bytes = ours.at(-1)![1]
  return {
    values: {
      rss_ratio_1000: bytes / extended,
      service_gb_1000: bytes / 1e9,
      dedicated_gb_1000: extended / 1e9,
      dedicated_session_mb: perDomain / 1e6,
    },
    detail: `ours ${(bytes / 1e9).toFixed(2)} GB measured at ${ours.at(-1)![0]} domains; dedicated ${(perDomain / 1e6).toFixed(1)} MB each from ${from} to ${to}, ${(extended / 1e9).toFixed(1)} GB extrapolated to ${many}`,
    curves: { ours, dedicated: theirs, extrapolated: [theirs.at(-1)!, [many, extended]] },
  }
}

const rows: Row<MemoryRig>[] = [
  {
    keys: ['rss_ratio_1000'],
    what: 'private memory at 1,000 domains against dedicated sessions',
    target: '<= 0.083',
    measure: thousand,
  },
  {
    keys: ['row_bytes_f32'],
    what: "private bytes of one more domain over its tensors' fp32 bytes",
    target: '<= 1.05',
    measure: rowOf('f32'),
  },
  { keys: ['row_bytes_f16'], what: 'the same, --bank-dtype f16', target: '<= 0.55', measure: rowOf('f16') },
]

export const memoryRows: Group<MemoryRig> = { name: 'memory', rows, open, close: async () => {} }
