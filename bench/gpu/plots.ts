/** Plots of what `npm run bench:gpu` wrote. What was not measured has no plot. */
import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { lineChart, type Series } from '../speed/svg.js'
import type * as engine from './engine-steps.js'
import type { service } from './service-steps.js'

type Answer<Step extends (...args: never[]) => Promise<unknown>> = Awaited<ReturnType<Step>>

/** The part of the file that is drawn. */
interface Measured {
  device: string
  steps: {
    mixed?: Answer<typeof engine.mixed>
    by_size?: Answer<typeof engine.bySize>
    service?: Answer<typeof service>
  }
}

const [DEVICE, STOCK, DEDICATED] = ['#0b6e4f', '#3d6cb9', '#c8553d']

/** @param file the JSON @param dir where the SVGs go @returns their paths */
export async function writePlots(file: string, dir: string): Promise<string[]> {
  const { device, steps } = JSON.parse(readFileSync(file, 'utf8')) as Measured
  const charts: [name: string, title: string, axes: [x: string, y: string], series: Series[]][] = []
  const { mixed, by_size: sizes, service } = steps
  if (mixed) {
    const of = (key: 'images_per_second' | 'stock_images_per_second' | 'dedicated_images_per_second') =>
      mixed.traffic.flatMap((point) => (point[key] === null ? [] : [[point.domains, point[key]] as const]))
    charts.push([
      'gpu-mixed.svg',
      `Mixed traffic, ${device}`,
      ['domains', 'images per second'],
      [
        { name: 'bank on the device', colour: DEVICE, points: of('images_per_second') },
        { name: 'rows copied', colour: STOCK, points: of('stock_images_per_second') },
        { name: 'dedicated sessions', colour: DEDICATED, points: of('dedicated_images_per_second') },
      ],
    ])
  }
  if (sizes) {
    const of = (key: 'one_domain_ms' | 'many_domains_ms' | 'dedicated_ms') =>
      sizes.sizes.map((point) => [point.batch, (1000 * point.batch) / point[key]] as const)
    charts.push([
      'gpu-batches.svg',
      `Images a second by batch size, ${device}`,
      ['images of a batch', 'images per second'],
      [
        { name: 'many domains', colour: DEVICE, points: of('many_domains_ms') },
        { name: 'one domain', colour: STOCK, points: of('one_domain_ms') },
        { name: 'one dedicated session', colour: DEDICATED, points: of('dedicated_ms') },
      ],
    ])
  }
  if (service) {
    const of = (kind: string) =>
      service.runs
        .filter((run) => run.kind === kind)
        .map(({ processes, images_per_second }) => [processes, images_per_second] as const)
    charts.push([
      'gpu-service.svg',
      `The whole service, ${device}`,
      ['service processes', 'images per second'],
      [
        { name: 'JPEGs', colour: DEDICATED, points: of('jpeg') },
        { name: 'small PNGs', colour: STOCK, points: of('png64') },
        { name: 'pixels from memory', colour: DEVICE, points: of('pixels') },
      ],
    ])
  }
  await mkdir(dir, { recursive: true })
  const written = []
  for (const [name, title, [x, y], series] of charts) {
    const drawn = series.filter(({ points }) => points.length > 0)
    await writeFile(join(dir, name), lineChart({ title, x, y, logarithmic: false, series: drawn }))
    written.push(join(dir, name))
  }
  return written
}
