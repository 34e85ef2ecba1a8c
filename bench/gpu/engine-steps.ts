/** Steps of `npm run bench:gpu` without HTTP and decoding: batches to answers, on the device and on its rivals. */
import type { EngineOptions } from '../../src/engine/engine.js'
import { adapterBytes } from '../../src/engine/bank-spec.js'
import { randomPack } from '../networks.js'
import type { BankSide } from '../speed/bank-side.js'
import { relativeError } from '../speed/bank-side.js'
import { flow, interleave, median, quantile, type Side, type Slice, speedups, spread } from '../statistics.js'
import { arithmeticOf, deviceBytes, IN_FLIGHT, powers, type Rig } from './rig.js'

/** Batches of one slice of a comparison. */
const BATCHES_A_SLICE = 6
const MANY = [1, 4, 16, 64, 256, 1024]

const rate = (slices: readonly Slice[]) => 1000 / median(slices.map(({ ms }) => ms))

/** Batches of `size` images, of so many domains at random. */
function batches(rig: Rig, bank: BankSide, size: number, domains: number): Side {
  const work = () => bank.run(rig.rows(size, domains), rig.images)
  return () => flow(BATCHES_A_SLICE * size, IN_FLIGHT, work, size)
}

/** How far the device's features are from the CPU's, relative to the largest one: in float32, and as it is compared. */
export async function agreement(rig: Rig) {
  const cpu = await rig.cpu()
  try {
    const exact = await rig.open({ deviceOptions: { tf32: false } })
    const features = await agreementOf(rig, exact, cpu).finally(() => exact.close())
    const compared = await agreementOf(rig, await rig.bank(), cpu)
    return {
      arithmetic: 'float32',
      features,
      compared: { arithmetic: arithmeticOf(rig.scale.device), features: compared },
    }
  } finally {
    await cpu.close()
  }
}

async function agreementOf(rig: Rig, bank: BankSide, cpu: BankSide) {
  const found = []
  for (const size of [1, 7, Math.min(32, rig.scale.maxBatch)]) {
    const rows = rig.rows(size, rig.packs.length)
    const [ours, theirs] = [await bank.run(rows, rig.images), await cpu.run(rows, rig.images)]
    found.push({ batch: size, relative_error: relativeError(ours.features, theirs.features) })
  }
  return found
}

/**
 * Traffic over so many domains at random: Facet in batches of `maxBatch`, on the device's bank and on the stock runtime,
 * against dedicated sessions, which can only batch what waits for one domain, or take single images.
 */
export async function mixed(rig: Rig) {
  const { maxBatch, dedicated, seconds } = rig.scale
  const bank = await rig.bank()
  const stock = await rig.stock()
  try {
    const fleet = await rig.fleet()
    const found = []
    for (const domains of MANY.filter((count) => count <= rig.packs.length)) {
      const sides: Record<string, Side> = {
        device: batches(rig, bank, maxBatch, domains),
        stock: batches(rig, stock, maxBatch, domains),
      }
      const queued = Math.max(1, Math.floor(maxBatch / domains))
      for (const size of domains <= dedicated ? new Set([1, queued]) : []) {
        const session = () => Math.floor(rig.next() * domains)
        const work = () => fleet.run(session(), rig.pixels(size), rig.dims(size))
        sides[`dedicated, batch ${size}`] = () =>
          flow(BATCHES_A_SLICE * maxBatch, Math.ceil((IN_FLIGHT * maxBatch) / size), work, size)
      }
      const slices = await interleave(sides, seconds)
      const [best] = Object.keys(sides)
        .filter((name) => name.startsWith('dedicated'))
        .sort((a, b) => rate(slices[b]!) - rate(slices[a]!))
      const ratios = best === undefined ? null : speedups(slices.device!, slices[best]!)
      found.push({
        domains,
        images_per_second: rate(slices.device!),
        stock_images_per_second: rate(slices.stock!),
        dedicated_images_per_second: best === undefined ? null : rate(slices[best]!),
        dedicated_setting: best ?? null,
        ratio: ratios && median(ratios),
        spread: ratios && spread(ratios),
      })
    }
    return { batch: maxBatch, traffic: found }
  } finally {
    await stock.close()
  }
}

/** Rate and latency by batch size, with one domain and with many, beside one dedicated session at the same size. */
export async function bySize(rig: Rig) {
  const { maxBatch, seconds } = rig.scale
  const bank = await rig.bank()
  const fleet = await rig.fleet()
  const found = []
  const sizes = powers(maxBatch)
  for (const size of sizes) {
    const side = (domains: number): Side => {
      return () => flow(2 * size, 1, () => bank.run(rig.rows(size, domains), rig.images), size)
    }
    const dedicated: Side = () =>
      flow(2 * size, 1, () => fleet.run(0, rig.pixels(size), rig.dims(size)), size)
    const sides = { one: side(1), many: side(rig.packs.length), dedicated }
    const slices = await interleave(sides, (2 * seconds) / sizes.length)
    const ms = (name: keyof typeof sides) => size * median(slices[name].map((slice) => slice.ms))
    found.push({
      batch: size,
      one_domain_ms: ms('one'),
      many_domains_ms: ms('many'),
      dedicated_ms: ms('dedicated'),
      images_per_second: rate(slices.many),
      of_dedicated: median(speedups(slices.many, slices.dedicated)),
    })
  }
  return { sizes: found }
}

/** What one more domain in a batch costs: run time over the number of distinct domains, and its slope. */
export async function byDomains(rig: Rig) {
  const { maxBatch, seconds } = rig.scale
  const bank = await rig.bank()
  const counts = powers(Math.min(maxBatch, rig.packs.length)).filter((count) => count !== 2)
  const sides = Object.fromEntries(
    counts.map((count) => {
      const rows = Array.from({ length: maxBatch }, (_, sample) => 1 + (sample % count))
      return [String(count), () => flow(2 * maxBatch, 1, () => bank.run(rows, rig.images), maxBatch)]
    }),
  )
  const slices = await interleave(sides, seconds)
  const points = counts.map((count) => {
    return [count, maxBatch * median(slices[String(count)]!.map(({ ms }) => ms))] as const
  })
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(points.map(([count]) => count)), mean(points.map(([, ms]) => ms))]
  const covariance = points.reduce((sum, [count, ms]) => sum + (count - x) * (ms - y), 0)
  const variance = points.reduce((sum, [count]) => sum + (count - x) ** 2, 0)
  const [few, most] = [points.find(([count]) => count >= 4), points.at(-1)]
  return {
    batch: maxBatch,
    ms_by_domains: points,
    ms_per_domain: variance > 0 ? covariance / variance : null,
    rate_of_most_over_four: few && most ? few[1] / most[1] : null,
  }
}

/** Batches of one domain each: another domain in each, over always the same. */
export async function switching(rig: Rig) {
  const { maxBatch, seconds } = rig.scale
  const bank = await rig.bank()
  let turn = 0
  const side = (domains: number): Side => {
    const work = () => bank.run(Array<number>(maxBatch).fill(1 + (turn++ % domains)), rig.images)
    return () => flow(BATCHES_A_SLICE * maxBatch, IN_FLIGHT, work, maxBatch)
  }
  const slices = await interleave({ same: side(1), other: side(rig.packs.length) }, seconds)
  const ratios = speedups(slices.other, slices.same)
  return { batch: maxBatch, ratio: median(ratios), spread: spread(ratios) }
}

/** From a pack in memory to its first answer: the row laid out, on the device, and run; while nothing runs, and under load. */
export async function registration(rig: Rig) {
  const { maxBatch, seconds } = rig.scale
  const bank = await rig.bank()
  const row = rig.packs.length + 1
  const packs = Array.from({ length: 4 }, (_, seed) => randomPack(rig.family, 10_000 + seed))
  const measure = async (until: number) => {
    const live: number[] = []
    const answered: number[] = []
    for (let turn = 0; turn < 3 || performance.now() < until; turn++) {
      const start = performance.now()
      await bank.write(row, packs[turn % packs.length]!)
      live.push(performance.now() - start)
      await bank.run([row], rig.images)
      answered.push(performance.now() - start)
    }
    const ms = (values: number[]) => ({ p50: quantile(values, 0.5), p95: quantile(values, 0.95) })
    return { times: live.length, live_ms: ms(live), first_answer_ms: ms(answered) }
  }
  const idle = await measure(performance.now() + seconds * 500)
  let loaded = true
  const load = Array.from({ length: IN_FLIGHT }, async () => {
    while (loaded) await bank.run(rig.rows(maxBatch, rig.packs.length), rig.images)
  })
  const busy = await measure(performance.now() + seconds * 500)
  loaded = false
  await Promise.all(load)
  return { bytes: adapterBytes({ layout: rig.family.layout, dtype: 'f32' }, 'whole'), idle, busy }
}

/** The device's memory: the bank with all domains, and dedicated sessions that were run once. */
export async function memory(rig: Rig) {
  const { device, dedicated } = rig.scale
  const before = deviceBytes(device)
  const few = await rig.open({}, 1)
  const trunk = deviceBytes(device) - before
  await few.close()
  const start = deviceBytes(device)
  const bank = await rig.open({})
  const ours = deviceBytes(device) - start
  await bank.close()
  await rig.fleet()
  return {
    domains: rig.packs.length,
    ours_bytes: ours,
    ours_with_one_domain_bytes: trunk,
    ours_bytes_per_domain: (ours - trunk) / Math.max(1, rig.packs.length - 1),
    dedicated_sessions: dedicated,
    dedicated_bytes: rig.fleetBytes,
    dedicated_bytes_per_domain: rig.fleetBytes / dedicated,
  }
}

/** Rates of mixed batches under other settings of the device, each beside the default. */
export async function settings(rig: Rig) {
  const { maxBatch, seconds, device } = rig.scale
  const domains = Math.min(64, rig.packs.length)
  const gpu: Record<string, Partial<EngineOptions>> = {
    float32: { deviceOptions: { tf32: false } },
    'channels last': { deviceOptions: { tf32: true, provider: { prefer_nhwc: '1' } } },
    'all algorithms tried': {
      deviceOptions: { tf32: true, provider: { cudnn_conv_algo_search: 'EXHAUSTIVE' } },
    },
  }
  const anywhere: Record<string, Partial<EngineOptions>> = {
    'f16 rows': { bankDtype: 'f16' },
    '2 lanes': { lanes: 2 },
  }
  const standard = await rig.bank()
  const usual = await standard.run(fixedRows(rig), rig.images)
  const found = []
  for (const [name, options] of Object.entries({ ...(device.kind === 'cuda' && gpu), ...anywhere })) {
    const bank = await rig.open(options, domains)
    try {
      const { features } = await bank.run(fixedRows(rig), rig.images)
      const sides = {
        standard: batches(rig, standard, maxBatch, domains),
        other: batches(rig, bank, maxBatch, domains),
      }
      const slices = await interleave(sides, seconds / 2)
      found.push({
        setting: name,
        images_per_second: rate(slices.other),
        standard_images_per_second: rate(slices.standard),
        ratio: median(speedups(slices.other, slices.standard)),
        // Of features, to the default's.
        relative_difference: relativeError(features, usual.features),
      })
    } finally {
      await bank.close()
    }
  }
  return { batch: maxBatch, domains, settings: found }
}

/** A batch that is the same in each bank. */
function fixedRows(rig: Rig): number[] {
  return Array.from({ length: 8 }, (_, at) => 1 + (at % Math.min(64, rig.packs.length)))
}
