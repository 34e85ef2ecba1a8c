/**
 * Throughput and latency of the engine without HTTP, on full-width networks, compared with dedicated
 * sessions.
 *
 * Both sides live in this process and run slices in turn, so that each ratio compares the same moment.
 */
import { BankSide, relativeError } from './bank-side.js'
import { DedicatedFleet, describeFleet, type FleetOptions } from './dedicated.js'
import { DedicatedQueue } from './dedicated-queue.js'
import {
  type Backbone,
  dedicatedOf,
  makeFamily,
  randomBackbone,
  randomImages,
  randomPack,
} from '../networks.js'
import { random } from '../random.js'
import type { BenchOptions, Group, Measured, Row } from './rows.js'
import { cpuSpeedup, flow, interleave, median, quantile, type Side, speedups, spread } from '../statistics.js'

const IN_FLIGHT = 32
/** Most images of one slice; a row with few seconds takes fewer. */
const MAX_SLICE_IMAGES = 64
/** Largest relative difference of the two sides' answers. */
const TOLERANCE = 1e-3

interface EngineRig {
  /** Images of one slice. */
  slice: number
  bank: BankSide
  fleet: DedicatedFleet
  /** One session with all threads, for traffic of one domain. */
  single: DedicatedFleet
  /** The batch limit at which the dedicated sessions are fastest in mixed traffic. */
  batch: number
  /** The settings that were tried for the dedicated sessions, and their speeds. */
  rival: string
  images: Uint8Array[]
  next: () => number
}

async function open(options: BenchOptions): Promise<EngineRig> {
  const { domains, threads, dir } = options
  const backbone = randomBackbone()
  const family = await makeFamily(backbone, `${dir}/full`)
  const packs = Array.from({ length: domains }, (_, domain) => randomPack(family, domain))
  const dedicated = await dedicatedOf(family)
  const network = (domain: number) => dedicated(packs[domain]!)
  const images = randomImages(family, 64)
  const next = random(11)
  const { choice, batch, rival } = await bestFleet(options, network, images, next)
  options.rival = choice
  const fleet = new DedicatedFleet(choice)
  const single = new DedicatedFleet({ ...choice, workers: 1, threads })
  let bank: BankSide | undefined
  try {
    await fleet.open(domains, network)
    await single.open(1, network)
    bank = await BankSide.start(family, packs, { rows: domains + 2, lanes: threads, threads: 1 })
    const rig = { slice: sliceOf(options), bank, fleet, single, batch, rival, images, next }
    await checkEqual(rig, backbone, Math.min(4, domains))
    return rig
  } catch (error) {
    await Promise.all([bank?.close(), fleet.close(), single.close()])
    throw error
  }
}

async function close({ bank, fleet, single }: EngineRig): Promise<void> {
  await Promise.all([bank.close(), fleet.close(), single.close()])
}

function sliceOf({ seconds }: BenchOptions): number {
  return Math.max(8, Math.min(MAX_SLICE_IMAGES, Math.round(4 * seconds)))
}

/** Tries settings of dedicated sessions in the traffic that will be measured, and takes the fastest. */
async function bestFleet(
  options: BenchOptions,
  network: (domain: number) => Uint8Array,
  images: Uint8Array[],
  next: () => number,
): Promise<{ choice: FleetOptions; batch: number; rival: string }> {
  const { threads, seconds, domains } = options
  const sessions = Math.min(16, domains)
  const device = { kind: 'cpu' } as const
  const settings: FleetOptions[] = [
    { workers: 1, threads, spinning: false, device },
    { workers: threads, threads: 1, spinning: false, device },
    { workers: 1, threads, spinning: true, device },
  ]
  const found: { choice: FleetOptions; batch: number; ms: number }[] = []
  for (const choice of settings) {
    const fleet = new DedicatedFleet(choice)
    const pick = () => Math.floor(next() * sessions)
    const side = (batch: number) => dedicatedMixed(fleet, batch, pick, images, sliceOf(options) / 2)
    try {
      await fleet.open(sessions, network)
      const slices = await interleave({ 1: side(1), 8: side(8) }, seconds / 10)
      for (const [batch, results] of Object.entries(slices)) {
        found.push({ choice, batch: Number(batch), ms: median(results.map(({ ms }) => ms)) })
      }
    } finally {
      await fleet.close()
    }
  }
  found.sort((a, b) => a.ms - b.ms)
  const { choice, batch } = found[0]!
  const rival = found
    .map((entry) => `${describeFleet(entry.choice)}, batches up to ${entry.batch}: ${entry.ms.toFixed(2)}`)
    .join('; ')
  return { choice, batch, rival: `ms an image over ${sessions} sessions, best first: ${rival}` }
}

/** Checks that the dedicated networks compute the same answers as the family's domains. */
async function checkEqual(
  { bank, fleet, images }: EngineRig,
  backbone: Backbone,
  domains: number,
): Promise<void> {
  if (backbone.convs.length !== bank.family.manifest.slots.filter(({ kind }) => kind === 'conv').length)
    throw new Error('the family does not open every convolution')
  const { height, width } = bank.family.manifest.input
  for (let domain = 0; domain < domains; domain++) {
    const image = images[domain]!
    const { logits } = await bank.predict(domain + 1, image)
    const error = relativeError(logits!, await fleet.run(domain, image.slice(), [1, height, width, 3]))
    if (!(error <= TOLERANCE))
      throw new Error(`dedicated network ${domain} is ${error} apart from the family's answer`)
  }
}

/** Sends single images of the domains that `pick` names, batched per domain as far as they wait. */
function dedicatedMixed(
  fleet: DedicatedFleet,
  maxBatch: number,
  pick: () => number,
  images: Uint8Array[],
  count: number,
): Side {
  const queue = new DedicatedQueue(fleet, maxBatch, Math.sqrt(images[0]!.length / 3))
  let turn = 0
  return () => flow(count, IN_FLIGHT, () => queue.predict(pick(), images[turn++ % images.length]!))
}

/** Sends requests of a whole batch each. @param pick gives the domain of each request */
function dedicatedSlice(
  fleet: DedicatedFleet,
  batch: number,
  pick: () => number,
  images: Uint8Array[],
  count: number,
) {
  const length = images[0]!.length
  const side = Math.sqrt(length / 3)
  let turn = 0
  const work = () => {
    const pixels = new Uint8Array(batch * length)
    for (let i = 0; i < batch; i++) pixels.set(images[turn++ % images.length]!, i * length)
    return fleet.run(pick(), pixels, [batch, side, side, 3])
  }
  return flow(count, Math.ceil(IN_FLIGHT / batch), work, batch)
}

function bankSlice({ bank, images, slice }: EngineRig, maxBatch: number | null, pick: () => number): Side {
  let turn = 0
  return () => {
    bank.maxBatch = maxBatch
    return flow(slice, IN_FLIGHT, () => bank.predict(pick() + 1, images[turn++ % images.length]!))
  }
}

async function mixed(rig: EngineRig, { domains, seconds }: BenchOptions): Promise<Measured> {
  const { bank, fleet, batch, images, next, slice } = rig
  const pick = () => Math.floor(next() * domains)
  const slices = await interleave(
    {
      ours: bankSlice(rig, null, pick),
      dedicated: dedicatedMixed(fleet, batch, pick, images, slice),
      batch1: bankSlice(rig, 1, pick),
      batch8: bankSlice(rig, 8, pick),
      batch32: bankSlice(rig, 32, pick),
    },
    // Five sides: twice the time of a row of two.
    2 * seconds,
  )
  const ratio = (side: keyof typeof slices) => speedups(slices[side], slices.dedicated)
  const rate = (side: keyof typeof slices) => 1000 / median(slices[side].map(({ ms }) => ms))
  return {
    values: {
      mixed_vs_dedicated: median(ratio('ours')),
      mixed_vs_dedicated_cpu: cpuSpeedup(slices.ours, slices.dedicated),
      mixed_batch_1: median(ratio('batch1')),
      mixed_batch_8: median(ratio('batch8')),
      mixed_batch_32: median(ratio('batch32')),
      mixed_images_per_second: rate('ours'),
      dedicated_images_per_second: rate('dedicated'),
      chosen_batch: bank.chosenBatch,
      dedicated_settings: `${describeFleet(fleet.options)}, batches up to ${batch}`,
    },
    detail: `${spread(ratio('ours'))}; batch 1: ${spread(ratio('batch1'))}; 8: ${spread(ratio('batch8'))}; 32: ${spread(ratio('batch32'))}; rival: ${rig.rival}`,
  }
}

async function oneDomain(rig: EngineRig, { seconds }: BenchOptions): Promise<Measured> {
  const { single, images, slice } = rig
  const first = () => 0
  const slices = await interleave(
    {
      ours: bankSlice(rig, null, first),
      one: () => dedicatedSlice(single, 1, first, images, slice),
      eight: () => dedicatedSlice(single, 8, first, images, slice),
    },
    seconds,
  )
  const cost = (side: 'one' | 'eight') => median(slices[side].map(({ ms }) => ms))
  const best = cost('one') <= cost('eight') ? 'one' : 'eight'
  const ratios = speedups(slices.ours, slices[best])
  return {
    values: {
      one_domain_vs_dedicated: median(ratios),
      one_domain_vs_dedicated_cpu: cpuSpeedup(slices.ours, slices[best]),
    },
    detail: `${spread(ratios)}; dedicated at batch ${best === 'one' ? 1 : 8}`,
  }
}

/**
 * Compares batches of many domains with batches of one domain. Batches of one domain take a cheaper path; so
 * that both sides take the same path, the one domain is in two rows, and each batch has both.
 */
async function switching(rig: EngineRig, { domains, seconds }: BenchOptions): Promise<Measured> {
  const { bank, images, next } = rig
  await bank.write(domains + 1, randomPack(bank.family, 0))
  const size = 8
  const runs = 4
  const batches = (rows: () => number[]) => () => flow(size * runs, 1, () => bank.run(rows(), images), size)
  const slices = await interleave(
    {
      many: batches(() => Array.from({ length: size }, () => 1 + Math.floor(next() * domains))),
      one: batches(() => Array.from({ length: size }, (_, i) => (i === 0 ? domains + 1 : 1))),
      uniform: batches(() => Array.from({ length: size }, () => 1)),
    },
    seconds,
  )
  const ratios = speedups(slices.many, slices.one)
  const uniform = speedups(slices.many, slices.uniform)
  return {
    values: {
      switching: median(ratios),
      switching_cpu: cpuSpeedup(slices.many, slices.one),
      switching_vs_uniform: median(uniform),
    },
    detail: `${spread(ratios)}; against the cheaper path of a batch of one domain: ${spread(uniform)}`,
  }
}

/** p50 and p99 are computed for each round, and the medians over the rounds are reported. */
async function latency(rig: EngineRig, { domains, seconds }: BenchOptions): Promise<Measured> {
  const { bank, images, next } = rig
  const rounds: Record<'alone' | 'loaded', number[][]> = { alone: [], loaded: [] }
  const part = (kind: 'alone' | 'loaded', count: number, atOnce: number) => () => {
    bank.maxBatch = null
    const latencies: number[] = []
    rounds[kind].push(latencies)
    return flow(count, atOnce, async () => {
      const start = performance.now()
      await bank.predict(1 + Math.floor(next() * domains), images[0]!)
      latencies.push(performance.now() - start)
    })
  }
  const sides = { alone: part('alone', rig.slice / 4, 1), loaded: part('loaded', 3 * rig.slice, 8) }
  await interleave(sides, seconds)
  // The first round warmed up.
  const [alone, loaded] = [rounds.alone.slice(1), rounds.loaded.slice(1)]
  const p50Ratios = loaded.map((latencies, round) => median(latencies) / (8 * median(alone[round]!)))
  const tails = loaded.map((latencies) => quantile(latencies, 0.99) / median(latencies))
  const all = loaded.flat()
  const [single, p50, p99] = [median(alone.flat()), median(all), quantile(all, 0.99)]
  return {
    values: {
      latency_p50_ratio: median(p50Ratios),
      latency_p99_over_p50: median(tails),
      latency_p99_over_p50_all_rounds: p99 / p50,
      latency_single_ms: single,
      latency_p50_ms: p50,
      latency_p99_ms: p99,
    },
    detail: `p50 ${spread(p50Ratios)}; p99 ${spread(tails)}, over all rounds ${(p99 / p50).toFixed(2)}; single ${single.toFixed(2)} ms, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms of ${all.length}`,
  }
}

const rows: Row<EngineRig>[] = [
  {
    keys: ['mixed_vs_dedicated'],
    what: 'mixed traffic on the CPU, images/s against dedicated sessions',
    target: '>= 0.85',
    measure: mixed,
  },
  {
    keys: ['one_domain_vs_dedicated'],
    what: 'one domain only, images/s against its dedicated session',
    target: '>= 0.85',
    measure: oneDomain,
  },
  {
    keys: ['switching'],
    what: 'many domains against one, same path, batch 8',
    target: '>= 0.97',
    measure: switching,
  },
  {
    keys: ['latency_p50_ratio', 'latency_p99_over_p50'],
    what: 'latency, 8 in flight: p50 against 8 single images; p99 against p50',
    target: '<= 1.1; <= 1.5',
    measure: latency,
  },
]

export const engineRows: Group<EngineRig> = { name: 'engine', rows, open, close }
