/**
 * `npm run bursts -- [--requests N] [--rest SECONDS] [--only PATTERN] [--jemalloc FILE]`: how much memory the service
 * keeps after bursts of large bodies and of the images that take most memory, under settings of the C library's
 * allocator, and what each setting costs.
 *
 * For each setting in turn it starts the real service and sends small images, and then, six at once, so many requests
 * of each kind of `bodies`, and then as many of `worstImages`. Prints the memory that the service and its decoding
 * processes share with no other process: before the bursts, at the peak of each of the two, at their end and after a
 * rest; and the CPU time of a small image and of a request with a large body. Then one JSON line. A service rests while the
 * next one works.
 */
import { readFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { packageFile } from '../../src/host/package.js'
import { send, type Wire } from '../client.js'
import { command, natural, onlyMatching } from '../command.js'
import { machine } from '../machine.js'
import { cpuMs, privateBytesOfTree } from '../processes.js'
import { type RunningServer, startServer } from '../server.js'
import { largeJpeg } from '../soak/attack-bodies.js'
import { multipart } from '../soak/requests.js'
import { avif } from '../worst-images/avif.js'
import { gif } from '../worst-images/gif.js'
import { scannedJpeg } from '../worst-images/jpeg.js'
import { type Kind, type Parameters, parametersOf } from '../worst-images/kind.js'
import { png } from '../worst-images/png.js'
import { tiff } from '../worst-images/tiff.js'
import { webp } from '../worst-images/webp.js'

/** Together they hold fewer bytes than --max-bodies leaves to one peer. */
const AT_ONCE = 6
const SMALL_REQUESTS = 500
/** A little less than the default of `--max-body`, bytes. */
const BODY_BYTES = 16_700_000
/** Images of a JSON or multipart body: small ones with bytes behind their end, which are ignored. */
const IMAGES = 16
const SAMPLE_MS = 50
const PREDICT = '/v1/domains/eurosat/predict?top_k=1'

interface Row {
  setting: string
  /** Private memory, MB: before the bursts, its peaks, at their end, and after the rest. */
  before: number
  peakOfBodies: number
  peakOfImages: number
  end: number
  rested: number
  /** CPU time of the service, ms. */
  smallImageMs: number
  burstRequestMs: number
}

/** Environments of the service by their names in the table. */
function settings(jemalloc: string | undefined): [string, NodeJS.ProcessEnv][] {
  return [
    ['glibc', {}],
    ['MALLOC_ARENA_MAX=2', { MALLOC_ARENA_MAX: '2' }],
    ['MALLOC_MMAP_THRESHOLD_=1048576', { MALLOC_MMAP_THRESHOLD_: '1048576' }],
    ...(jemalloc === undefined
      ? []
      : [['jemalloc', { LD_PRELOAD: jemalloc }] as [string, NodeJS.ProcessEnv]]),
  ]
}

/** Bodies of one kind each. */
async function bodies(small: Buffer): Promise<Wire[]> {
  const part = Buffer.concat([small, Buffer.alloc(Math.floor(BODY_BYTES / IMAGES) - small.length - 200)])
  const text = part.toString('base64', 0, Math.floor(part.length / 4) * 3)
  const json = Buffer.from(JSON.stringify({ images: Array<string>(IMAGES).fill(text) }))
  const form = multipart(Array.from({ length: IMAGES }, () => ({ name: 'eurosat', bytes: part })))
  const types = { json: 'application/json', jpeg: 'image/jpeg' }
  return [
    { method: 'POST', path: PREDICT, type: types.json, body: json },
    { method: 'POST', path: PREDICT, ...form },
    { method: 'POST', path: PREDICT, type: types.jpeg, body: await largeJpeg() },
  ]
}

/**
 * Of each format the accepted image that `npm run worst-images` found to take most memory; an AVIF of that size would meet the
 * bound of CPU time where all cores are busy.
 */
const worstKinds: readonly [Kind, Parameters][] = [
  [scannedJpeg, { components: 4, scans: 10 }],
  [png, { bits: 8, interlaced: true }],
  [webp, {}],
  [gif, { aspect: 1.5, interlaced: true, frames: 9000 }],
  [avif, { sampling: '4:2:0', content: 'soft', megapixels: 16 }],
  [tiff, { planar: true, rows: 65_535, compression: 'packbits' }],
]

async function worstImages(): Promise<Wire[]> {
  const images: Wire[] = []
  for (const [kind, given] of worstKinds) {
    const body = (await kind.make(parametersOf(kind, given)))!
    images.push({ method: 'POST', path: PREDICT, type: `image/${kind.format}`, body })
  }
  return images
}

async function main(): Promise<void> {
  const {
    requests,
    rest: restSeconds,
    only,
    jemalloc,
  } = command('bursts', 'Memory that is kept after bursts of large bodies and of images that take much.')
    .option('--requests <n>', 'of each kind of burst', natural, 24)
    .option('--rest <seconds>', 'from the bursts to the last look at the memory', natural, 60)
    .addOption(onlyMatching('settings'))
    .option('--jemalloc <file>', 'a library of jemalloc, to be measured too')
    .parse()
    .opts<{ requests: number; rest: number; only: RegExp; jemalloc?: string }>()
  const small = await readFile(packageFile('samples/eurosat/River.jpg'))
  const bursts = { bodies: await bodies(small), images: await worstImages() }
  const resting: Promise<Row>[] = []
  for (const [setting, env] of settings(jemalloc)) {
    if (!only.test(setting)) continue
    const { server, row } = await burst(setting, env, small, bursts, requests)
    resting.push(rest(server, row, restSeconds * 1000))
  }
  console.log(JSON.stringify({ rows: await Promise.all(resting), machine: machine() }))
}

async function burst(
  setting: string,
  env: NodeJS.ProcessEnv,
  small: Buffer,
  bursts: { bodies: readonly Wire[]; images: readonly Wire[] },
  requests: number,
): Promise<{ server: RunningServer; row: Omit<Row, 'rested'> }> {
  const server = await startServer(['--log-format', 'json'], env)
  const agent = new Agent({ keepAlive: true })
  /** Sends so many requests, of `wires` in turn; CPU time of one, ms. */
  const timed = async (count: number, atOnce: number, wires: readonly Wire[]) => {
    const begin = cpuMs(server.pid)
    let sent = 0
    const client = async () => {
      while (sent < count) {
        const { status, text } = await send(agent, server.url, wires[sent++ % wires.length]!)
        if (status !== 200) throw new Error(`${setting}: answered ${status} ${text}`)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, client))
    return (cpuMs(server.pid) - begin) / count
  }
  let peak = 0
  const sampler = setInterval(() => {
    peak = Math.max(peak, megabytes(server))
  }, SAMPLE_MS)
  try {
    const image = { method: 'POST', path: PREDICT, type: 'image/jpeg', body: small }
    const smallImageMs = await timed(SMALL_REQUESTS, 1, [image])
    const before = megabytes(server)
    const times: number[] = []
    for (const wire of bursts.bodies) times.push(await timed(requests, AT_ONCE, [wire]))
    const burstRequestMs = times.reduce((sum, ms) => sum + ms, 0) / times.length
    const peakOfBodies = peak
    peak = 0
    await timed(requests, AT_ONCE, bursts.images)
    const peaks = { peakOfBodies, peakOfImages: peak }
    return {
      server,
      row: { setting, before, ...peaks, end: megabytes(server), smallImageMs, burstRequestMs },
    }
  } catch (error) {
    await server.stop()
    throw error
  } finally {
    clearInterval(sampler)
    agent.destroy()
  }
}

async function rest(server: RunningServer, row: Omit<Row, 'rested'>, ms: number): Promise<Row> {
  await new Promise((resolve) => setTimeout(resolve, ms))
  const rested = megabytes(server)
  await server.stop()
  console.log({ ...row, rested })
  return { ...row, rested }
}

function megabytes({ pid }: RunningServer): number {
  return Math.round(privateBytesOfTree(pid) / 1e6)
}

await main()
