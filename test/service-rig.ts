/**
 * The whole service on a free loopback port, with the family `resnet26-half` and its own data folder; and random packs
 * to register.
 */
import { pino } from 'pino'
import sharp from 'sharp'
import type { Test } from 'tap'
import { systemClock } from '../src/concurrency/clock.js'
import { type ServeConfig, serveCommand } from '../src/config/config.js'
import { writePack } from '../src/pack/write.js'
import { type Service, type ServiceParts, startService } from '../src/serve/service.js'
import { createLauncher } from './decoder.js'
import { Control, family, random, randomPack } from './engine-rig.js'

export interface Running {
  service: Service
  url: string
  /** The workers behind the engine, and faults to put into them. */
  control: Control
  /** The data folder. */
  data: string
}

/**
 * Starts a service that is stopped when the test ends.
 * @param flags of `facet serve`; `--data` names the folder of a service that was stopped before
 */
export async function runService(
  t: Test,
  flags: string[] = [],
  parts: Partial<ServiceParts> = {},
): Promise<Running> {
  const own = flags.includes('--family') ? [] : ['--family', family.dir]
  const config = await configure([
    '--port',
    '0',
    '--threads',
    '1',
    '--bank-memory',
    '64MiB',
    ...own,
    ...flags,
  ])
  if (!flags.includes('--data')) {
    config.data = t.testdir()
    config.dataGiven = true
  }
  const control = new Control()
  const service = await startService(config, {
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    ...control.parts,
    createLauncher,
    ...parts,
  })
  t.teardown(() => service.stop())
  return { service, url: service.url, control, data: config.data }
}

async function configure(flags: string[]): Promise<ServeConfig> {
  let config: ServeConfig | undefined
  const command = serveCommand(async (read) => {
    config = read
  })
  await command.parseAsync(flags, { from: 'user' })
  return config!
}

/** A pack whose labels all begin with `prefix`. */
export function packBytes(seed: number, prefix: string, classes = 5): Uint8Array<ArrayBuffer> {
  const labels = Array.from({ length: classes }, (_, index) => `${prefix}-${index}`)
  const { name: _, ...pack } = randomPack(seed, classes)
  return writePack({ ...pack, labels }, family.manifest, { dtype: 'f16' }) as Uint8Array<ArrayBuffer>
}

/** A PNG of random blocks, larger than the trunk's input. */
export async function pngImage(seed: number, size = 80): Promise<Buffer<ArrayBuffer>> {
  const next = random(seed)
  const blocks = Uint8Array.from({ length: 8 * 8 * 3 }, () => next() * 256)
  return (await sharp(blocks, { raw: { width: 8, height: 8, channels: 3 } })
    .resize(size, size, { kernel: 'nearest' })
    .png()
    .toBuffer()) as Buffer<ArrayBuffer>
}

export function put(
  url: string,
  domain: string,
  pack: Uint8Array<ArrayBuffer>,
  query = '',
): Promise<Response> {
  return fetch(`${url}/v1/domains/${domain}${query}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: pack,
  })
}

/** The page of metrics. */
export async function metricsOf(url: string): Promise<string> {
  return (await fetch(`${url}/metrics`)).text()
}

/** The value of a sample, named as it stands on the page, with its labels; NaN where there is none. */
export function sampleOf(metrics: string, name: string): number {
  const line = metrics.split('\n').find((line) => line.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? Number.NaN)
}

/** The value of a sample now. */
export async function metric(url: string, name: string): Promise<number> {
  return sampleOf(await metricsOf(url), name)
}

export interface Prediction {
  domain: string
  version: string
  predictions: { label: string; index: number; score: number }[]
}

export function post(url: string, path: string, image: Buffer<ArrayBuffer>): Promise<Response> {
  return fetch(`${url}${path}`, { method: 'POST', headers: { 'content-type': 'image/png' }, body: image })
}

/** The only result of a predict request. @throws Error with the problem if the request fails */
export async function predict(
  url: string,
  domain: string,
  image: Buffer<ArrayBuffer>,
  query = '',
): Promise<Prediction> {
  const response = await post(url, `/v1/domains/${domain}/predict${query}`, image)
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  return ((await response.json()) as { results: Prediction[] }).results[0]!
}
