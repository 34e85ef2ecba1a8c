/**
 * `npm run bursts -- [--requests N] [--rest SECONDS] [--only PATTERN] [--jemalloc FILE]`: how much memory the service
 * keeps after bursts of large bodies, under settings of the C library's allocator, and what each setting costs.
 *
 * For each setting in turn it starts the real service and sends small images, and then, six at once, so many requests
 * of each kind of `kinds`. Prints the memory that the service shares with no other process before the bursts, at its
 * peak, at their end and after a rest; and the CPU time of a small image and of a request of the bursts. Then one JSON
 * line. A service rests while the next one works.
 */
import { readFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { packageFile } from '../../src/host/package.js'
import { send, type Wire } from '../client.js'
import { command, natural, onlyMatching } from '../command.js'
import { machine } from '../machine.js'
import { cpuMs, privateBytes } from '../processes.js'
import { type RunningServer, startServer } from '../server.js'
import { largeJpeg } from '../soak/attack-bodies.js'
import { multipart } from '../soak/requests.js'

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
  /** Private memory, MB: before the bursts, its peak, at their end, and after the rest. */
  before: number
  peak: number
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

async function kinds(small: Buffer): Promise<Wire[]> {
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

async function main(): Promise<void> {
  const {
    requests,
    rest: restSeconds,
    only,
    jemalloc,
  } = command('bursts', 'Memory that is kept after bursts of large bodies.')
    .option('--requests <n>', 'of each kind of burst', natural, 24)
    .option('--rest <seconds>', 'from the bursts to the last look at the memory', natural, 60)
    .addOption(onlyMatching('settings'))
    .option('--jemalloc <file>', 'a library of jemalloc, to be measured too')
    .parse()
    .opts<{ requests: number; rest: number; only: RegExp; jemalloc?: string }>()
  const small = await readFile(packageFile('samples/eurosat/River.jpg'))
  const bursts = await kinds(small)
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
  bursts: readonly Wire[],
  requests: number,
): Promise<{ server: RunningServer; row: Omit<Row, 'rested'> }> {
  const server = await startServer(['--log-format', 'json'], env)
  const agent = new Agent({ keepAlive: true })
  const timed = async (count: number, atOnce: number, wire: Wire) => {
    const begin = cpuMs(server.pid)
    let sent = 0
    const client = async () => {
      while (sent++ < count) {
        const { status, text } = await send(agent, server.url, wire)
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
    const smallImageMs = await timed(SMALL_REQUESTS, 1, {
      method: 'POST',
      path: PREDICT,
      type: 'image/jpeg',
      body: small,
    })
    const before = megabytes(server)
    const times: number[] = []
    for (const wire of bursts) times.push(await timed(requests, AT_ONCE, wire))
    const burstRequestMs = times.reduce((sum, ms) => sum + ms, 0) / times.length
    const row = { setting, before, peak, end: megabytes(server), smallImageMs, burstRequestMs }
    return { server, row }
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
  return Math.round(privateBytes(pid) / 1e6)
}

await main()
