/**
 * `npm run bench:gpu`: speed and memory of mixed batches on a GPU, compared with dedicated sessions on the
 * same GPU.
 *
 * Needs only the CUDA provider (`npm run cuda:install`) and writes one JSON file. `--device cpu` runs the
 * same steps on the CPU, as a rehearsal.
 */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { availableCores } from '../../src/host/cpu-quota.js'
import type { EngineInit } from '../../src/engine/messages.js'
import type { Pack } from '../../src/pack/pack.js'
import { command } from '../command.js'
import { BankSide, relativeError } from './bank-side.js'
import { DedicatedFleet, describeFleet } from './dedicated.js'
import { dedicatedOf, makeFamily, randomBackbone, randomImages, randomPack } from '../networks.js'
import { privateBytes } from '../processes.js'
import { random } from '../random.js'
import { machine } from '../machine.js'
import { flow, interleave, median, type Side, speedups, spread } from '../statistics.js'

interface Rig {
  device: EngineInit['device']
  seconds: number
  domains: number
  maxBatch: number
  inFlight: number
  bank: BankSide
  images: Uint8Array[]
  next: () => number
}

/** Bytes in use on the GPU; without one, private bytes of this process. */
function deviceBytes(device: EngineInit['device']): number {
  if (device.kind === 'cpu') return privateBytes(process.pid)
  const query = ['--query-gpu=memory.used', '--format=csv,noheader,nounits', `--id=${device.id}`]
  return Number(execFileSync('nvidia-smi', query, { encoding: 'utf8' }).trim()) * 2 ** 20
}

function deviceName(device: EngineInit['device']): string {
  if (device.kind === 'cpu') return 'cpu'
  const query = ['--query-gpu=name,driver_version', '--format=csv,noheader', `--id=${device.id}`]
  return execFileSync('nvidia-smi', query, { encoding: 'utf8' }).trim()
}

function powers(upTo: number): number[] {
  return Array.from({ length: Math.floor(Math.log2(upTo)) + 1 }, (_, power) => 2 ** power)
}

/** Mixed traffic over 1, 4, 16 and 64 domains, against the best of the dedicated settings. */
async function mixed(rig: Rig, fleets: DedicatedFleet[]) {
  const { bank, images, next, seconds, domains, inFlight } = rig
  const { height, width } = bank.family.manifest.input
  const length = images[0]!.length
  const found = []
  for (const count of [1, 4, 16, 64].filter((count) => count <= domains)) {
    const pick = () => Math.floor(next() * count)
    const image = () => images[Math.floor(next() * images.length)]!
    // Dedicated sessions get batches as large as this traffic would queue for one domain, and single images.
    const batches = [...new Set([1, Math.max(1, Math.floor(inFlight / count))])]
    const sides: Record<string, Side> = {
      ours: () => flow(4 * inFlight, inFlight, () => bank.predict(pick() + 1, image())),
    }
    for (const fleet of fleets) {
      for (const batch of batches) {
        const work = () => {
          const pixels = new Uint8Array(batch * length)
          for (let i = 0; i < batch; i++) pixels.set(image(), i * length)
          return fleet.run(pick(), pixels, [batch, height, width, 3])
        }
        const name = `${describeFleet(fleet.options)}, batch ${batch}`
        sides[name] = () => flow(4 * inFlight, Math.ceil(inFlight / batch), work, batch)
      }
    }
    // Warm up: the batch size is learnt from full batches, and CUDA tunes each size when it first sees it.
    await flow(24 * inFlight, inFlight, () => bank.predict(pick() + 1, image()))
    const slices = await interleave(sides, seconds)
    const rate = (side: string) => 1000 / median(slices[side]!.map(({ ms }) => ms))
    const rival = Object.keys(sides)
      .filter((name) => name !== 'ours')
      .sort((a, b) => rate(b) - rate(a))[0]!
    const ratios = speedups(slices.ours!, slices[rival]!)
    found.push({
      domains: count,
      ratio: median(ratios),
      spread: spread(ratios),
      images_per_second: rate('ours'),
      dedicated_images_per_second: rate(rival),
      dedicated_settings: rival,
      chosen_batch: bank.chosenBatch,
    })
    console.error(`mixed: ${JSON.stringify(found.at(-1))}`)
  }
  return found
}

/** Milliseconds of a run by batch size, with samples of one domain and of many. */
async function batches({ bank, images, next, seconds, domains, maxBatch }: Rig) {
  const found = []
  for (const size of powers(maxBatch)) {
    const run = (count: number) => () => {
      return flow(
        2 * size,
        1,
        () =>
          bank.run(
            rowsOf(size, () => Math.floor(next() * count)),
            images,
          ),
        size,
      )
    }
    const { one, many } = await interleave({ one: run(1), many: run(domains) }, seconds / 4)
    const ms = (slices: typeof one) => size * median(slices.map((slice) => slice.ms))
    found.push({
      batch: size,
      one_domain_ms: ms(one),
      many_domains_ms: ms(many),
      images_per_second: (1000 * size) / ms(many),
    })
    console.error(`batch: ${JSON.stringify(found.at(-1))}`)
  }
  return found
}

/** The cost of one more domain in a batch: the slope of run time over the number of distinct domains. */
async function compactBank({ bank, images, seconds, domains }: Rig) {
  const size = Math.min(64, domains)
  const counts = powers(size).slice(1)
  const sides = Object.fromEntries(
    counts.map((count) => {
      const rows = Array.from({ length: size }, (_, sample) => 1 + (sample % count))
      return [String(count), () => flow(2 * size, 1, () => bank.run(rows, images), size)]
    }),
  )
  const slices = await interleave(sides, seconds)
  const points = counts.map((count) => {
    return [count, size * median(slices[String(count)]!.map(({ ms }) => ms))] as const
  })
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(points.map(([count]) => count)), mean(points.map(([, ms]) => ms))]
  const covariance = points.reduce((sum, [count, ms]) => sum + (count - x) * (ms - y), 0)
  const variance = points.reduce((sum, [count]) => sum + (count - x) ** 2, 0)
  const bytes = 4 * bank.family.layout.elements
  const slope = covariance / variance
  return {
    batch: size,
    points,
    ms_per_domain: slope,
    bytes_per_domain: bytes,
    gb_per_second: bytes / slope / 1e6,
  }
}

/** The largest difference between the device's features and the CPU's, relative to the largest feature. */
async function agreement({ bank, images, domains }: Rig, packs: Pack[]) {
  const cpu = await BankSide.start(bank.family, packs, {
    rows: packs.length + 1,
    lanes: 1,
    threads: availableCores(),
  })
  try {
    const errors = []
    for (const size of [1, 7, 32]) {
      const rows = rowsOf(size, (sample) => sample % domains)
      const [found, expected] = [await bank.run(rows, images), await cpu.run(rows, images)]
      errors.push({ batch: size, relative_error: relativeError(found.features, expected.features) })
    }
    return errors
  } finally {
    await cpu.close()
  }
}

function rowsOf(size: number, domain: (sample: number) => number): number[] {
  return Array.from({ length: size }, (_, sample) => 1 + domain(sample))
}

async function fleetsOf(rig: Rig, packs: Pack[]) {
  const dedicated = await dedicatedOf(rig.bank.family)
  const fleets: DedicatedFleet[] = []
  const before = deviceBytes(rig.device)
  let bytes = 0
  for (const workers of [1, 4]) {
    const fleet = new DedicatedFleet({
      workers,
      threads: rig.device.kind === 'cpu' ? Math.max(1, Math.floor(availableCores() / workers)) : 1,
      spinning: false,
      device: rig.device,
    })
    fleets.push(fleet)
    await fleet.open(packs.length, (domain) => dedicated(packs[domain]!))
    const { height, width } = rig.bank.family.manifest.input
    for (let domain = 0; domain < packs.length; domain++) {
      await fleet.run(domain, rig.images[0]!.slice(), [1, height, width, 3])
    }
    if (workers === 1) bytes = deviceBytes(rig.device) - before
  }
  return { fleets, bytes }
}

async function main(): Promise<void> {
  const program = command(
    'bench:gpu',
    'Mixed batches on a GPU against dedicated sessions; writes a JSON file.',
  )
  const flags = program
    .option('--device <device>', 'cuda, cuda:NUMBER, or cpu for a rehearsal', 'cuda')
    .option('--seconds <n>', 'measuring time of a step', Number, 10)
    .option('--domains <n>', 'domains', Number, 64)
    .option('--max-batch <n>', 'largest batch', Number, 256)
    .option('--in-flight <n>', 'images in flight in mixed traffic', Number, 64)
    .option('--out <file>', 'where the JSON goes', 'bench-gpu.json')
    .parse()
    .opts<{
      device: string
      seconds: number
      domains: number
      maxBatch: number
      inFlight: number
      out: string
    }>()
  const match =
    /^(?:cpu|cuda(?::(\d+))?)$/.exec(flags.device) ??
    program.error(`error: --device ${flags.device}: cpu, cuda or cuda:NUMBER is accepted`)
  const device: EngineInit['device'] =
    flags.device === 'cpu' ? { kind: 'cpu' } : { kind: 'cuda', id: Number(match[1] ?? 0) }
  const dir = await mkdtemp(join(tmpdir(), 'facet-gpu-'))
  const closing: (() => Promise<void>)[] = [() => rm(dir, { recursive: true, force: true })]
  try {
    const family = await makeFamily(randomBackbone(), join(dir, 'full'))
    const packs = Array.from({ length: flags.domains }, (_, domain) => randomPack(family, domain))
    const idle = deviceBytes(device)
    const rows = { rows: packs.length + 1, lanes: 1, threads: availableCores() }
    const bank = await BankSide.start(family, packs, { ...rows, device, bankMode: 'compact' })
    closing.push(() => bank.close())
    const images = randomImages(family, 64)
    const rig: Rig = { ...flags, device, bank, images, next: random(41) }
    const agreed = await agreement(rig, packs)
    const byBatch = await batches(rig)
    const compact = await compactBank(rig)
    const ours = deviceBytes(device) - idle
    const { fleets, bytes: theirs } = await fleetsOf(rig, packs)
    closing.push(...fleets.map((fleet) => () => fleet.close()))
    const result = {
      device: deviceName(device),
      machine: machine(),
      bank: 'compact',
      mixed: await mixed(rig, fleets),
      batches: byBatch,
      compact_bank: compact,
      memory: {
        domains: packs.length,
        ours_bytes: ours,
        // The compact bank keeps its rows in the host's memory, so an idle domain costs the device nothing.
        ours_host_bytes_per_domain: 4 * family.layout.elements,
        dedicated_bytes: theirs,
        dedicated_bytes_per_domain: theirs / packs.length,
      },
      agreement_with_cpu: agreed,
    }
    await writeFile(flags.out, `${JSON.stringify(result, null, 2)}\n`)
    console.log(JSON.stringify(result))
  } finally {
    for (const close of closing.reverse()) await close()
  }
}

await main()
