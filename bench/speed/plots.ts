/**
 * `--plot`: draws throughput and memory over the number of domains, for Facet and dedicated sessions, as SVG.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BankSide } from './bank-side.js'
import { DedicatedFleet } from './dedicated.js'
import { dedicatedOf, makeFamily, randomBackbone, randomImages, randomPack } from '../networks.js'
import { random } from '../random.js'
import type { BenchOptions, Group, Measured, RowResult } from './rows.js'
import { flow, interleave, median, type Side } from '../statistics.js'
import { lineChart } from './svg.js'

interface PlotRig {
  bank: BankSide
  fleet: DedicatedFleet
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
const IN_FLIGHT = 32

async function open(options: BenchOptions): Promise<PlotRig> {
  const { many, domains, threads, dir, rival } = options
  const family = await makeFamily(randomBackbone(), join(dir, 'full'))
  const dedicated = await dedicatedOf(family)
  const packs = Array.from({ length: domains }, (_, domain) => randomPack(family, domain))
  const fleet = new DedicatedFleet(rival ?? { workers: 1, threads, spinning: false, device: { kind: 'cpu' } })
  try {
    await fleet.open(domains, (domain) => dedicated(packs[domain]!))
    // There are as many different packs as dedicated sessions. Further domains repeat them, in rows of their
    // own.
    const rows = Array.from({ length: many }, (_, row) => packs[row % domains]!)
    return { fleet, bank: await BankSide.start(family, rows, { rows: many + 1, lanes: threads, threads: 1 }) }
  } catch (error) {
    await fleet.close()
    throw error
  }
}

async function throughput(
  { bank, fleet }: PlotRig,
  { many, domains, seconds }: BenchOptions,
): Promise<Measured> {
  const images = randomImages(bank.family, 64)
  const { height, width } = bank.family.manifest.input
  const next = random(31)
  // Slices are long against the images in flight: at the end of a slice lanes idle, which costs batches more.
  const perSlice = Math.max(8, Math.min(4 * IN_FLIGHT, Math.round(seconds * 10)))
  const sides: Record<string, Side> = {}
  for (const count of STEPS.filter((step) => step <= many)) {
    const pick = () => Math.floor(next() * count)
    const image = () => images[Math.floor(next() * images.length)]!
    sides[`ours ${count}`] = () => flow(perSlice, IN_FLIGHT, () => bank.predict(pick() + 1, image()))
    if (count > domains) continue
    const run = () => fleet.run(pick(), image().slice(), [1, height, width, 3])
    sides[`dedicated ${count}`] = () => flow(perSlice, IN_FLIGHT, run)
  }
  const slices = await interleave(sides, 2 * seconds)
  const curves: NonNullable<Measured['curves']> = { ours: [], dedicated: [] }
  for (const [name, found] of Object.entries(slices)) {
    const [side, count] = name.split(' ') as [string, string]
    curves[side]!.push([Number(count), 1000 / median(found.map(({ ms }) => ms))])
  }
  const words = Object.entries(curves).map(([name, points]) => {
    return `${name}: ${points.map(([count, rate]) => `${count}: ${rate.toFixed(1)}`).join(', ')}`
  })
  return { values: {}, detail: `images/s by domains; ${words.join('; ')}`, curves }
}

export const plotRows: Group<PlotRig> = {
  name: 'plot',
  rows: [{ keys: ['throughput_curve'], what: 'throughput by domains', target: 'none', measure: throughput }],
  open,
  close: async ({ bank, fleet }) => {
    await Promise.all([bank.close(), fleet.close()])
  },
}

/** Writes the plots of the rows that were measured. @returns the paths of the plots */
export async function writePlots(results: readonly RowResult[], dir: string): Promise<string[]> {
  await mkdir(dir, { recursive: true })
  const written: string[] = []
  const [ours, theirs] = ['#0b6e4f', '#c8553d']
  const write = async (name: string, svg: string) => {
    written.push(join(dir, name))
    await writeFile(join(dir, name), svg)
  }
  const speed = results.find(({ keys }) => keys.includes('throughput_curve'))?.curves
  if (speed) {
    const series = [
      { name: 'Facet, mixed traffic', colour: ours, points: speed.ours! },
      { name: 'dedicated sessions', colour: theirs, points: speed.dedicated! },
    ]
    const title = 'Throughput, ResNet-26 at 64x64'
    await write(
      'throughput.svg',
      lineChart({ title, x: 'domains', y: 'images per second', logarithmic: false, series }),
    )
  }
  const memory = results.find(({ keys }) => keys.includes('rss_ratio_1000'))?.curves
  if (memory) {
    const gb = (points: [number, number][]) =>
      points.map(([domains, bytes]) => [domains, bytes / 1e9] as const)
    const series = [
      { name: 'Facet, measured', colour: ours, points: gb(memory.ours!) },
      { name: 'dedicated sessions, measured', colour: theirs, points: gb(memory.dedicated!) },
      { name: 'extrapolated', colour: theirs, dashed: true, points: gb(memory.extrapolated!) },
    ]
    const title = 'Private memory of the process, ResNet-26 at 64x64'
    await write('memory.svg', lineChart({ title, x: 'domains', y: 'GB', logarithmic: true, series }))
  }
  return written
}
