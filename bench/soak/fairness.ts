/**
 * `npm run fairness -- [--rate N] [--seconds N] [--rounds N]`: one domain floods the real service with a
 * hundred times as many requests as a quiet one.
 *
 * The quiet domain must never be refused, and its p99 may exceed its p99 without the flood by two batch runs
 * at most; otherwise the program ends with 1. Times with and without the flood take turns, so that both see
 * the same machine. The length of a batch run is the median over the flood's answers: those are the full
 * batches that quiet requests wait for and share.
 */
import { Agent } from 'node:http'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { Child } from '../processes.js'
import { machine } from '../machine.js'
import { random } from '../random.js'
import { startServer } from '../server.js'
import { median, quantile } from '../statistics.js'
import { type Reply, send, timingOf, type Wire } from '../client.js'
import type { FloodCount, FloodJob } from './flood.js'

const QUIET_DOMAIN = 'eurosat'
const FLOODING_DOMAIN = 'sketch'
/** Requests of the flood for each quiet one. */
const FLOOD_FACTOR = 100
const FLOOD_CONNECTIONS = 500
/** Quiet requests and the flood run this long before anything is counted. */
const WARM_UP_SECONDS = 10

interface Answers {
  /** From sending a request to its whole answer, ms. */
  latencies: number[]
  /** Time in the service's queue, ms. */
  queued: number[]
  refused: number
  failed: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rate: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '20' },
      rounds: { type: 'string', default: '3' },
    },
  })
  const [rate, seconds, rounds] = [values.rate, values.seconds, values.rounds].map(Number)
  const server = await startServer()
  const flood = await Child.start(new URL('./flood.js', import.meta.url))
  const [idle, flooded]: Answers[] = [empty(), empty()]
  const loud: FloodCount = { answered: 0, refused: 0, failed: 0, runs: [] }
  try {
    const wire = await pngRequest(1)
    const quiet = { ...wire, path: `/v1/domains/${QUIET_DOMAIN}/predict` }
    const job: FloodJob = {
      ...{ url: server.url, rate: rate! * FLOOD_FACTOR, atOnce: FLOOD_CONNECTIONS },
      wire: { ...wire, path: `/v1/domains/${FLOODING_DOMAIN}/predict` },
    }
    // Meanwhile the service learns its batch size, and code and caches warm up.
    await flood.ask({ type: 'start', ...job })
    await ask(server.url, quiet, rate!, WARM_UP_SECONDS, empty())
    await flood.ask({ type: 'stop' })
    for (let round = 0; round < rounds!; round++) {
      await ask(server.url, quiet, rate!, seconds!, idle!)
      await flood.ask({ type: 'start', ...job })
      await ask(server.url, quiet, rate!, seconds!, flooded!)
      const count = await flood.ask<FloodCount>({ type: 'stop' })
      for (const key of ['answered', 'refused', 'failed'] as const) loud[key] += count[key]
      loud.runs = loud.runs.concat(count.runs)
    }
  } finally {
    await flood.stop()
    await server.stop()
  }
  report(idle!, flooded!, loud, { rate: rate!, seconds: seconds! * rounds! })
}

function empty(): Answers {
  return { latencies: [], queued: [], refused: 0, failed: 0 }
}

/** Sends requests at random times (a Poisson process), whether earlier ones are answered or not. */
async function ask(url: string, wire: Wire, rate: number, seconds: number, into: Answers): Promise<void> {
  const agent = new Agent({ keepAlive: true })
  const next = random(5)
  const open: Promise<void>[] = []
  const end = performance.now() + 1000 * seconds
  for (let due = performance.now(); due < end; due += (-Math.log(1 - next()) / rate) * 1000) {
    await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
    const start = performance.now()
    open.push(
      send(agent, url, wire).then(
        (reply) => take(reply, performance.now() - start, into),
        () => void into.failed++,
      ),
    )
  }
  await Promise.all(open)
  agent.destroy()
}

function take(reply: Reply, ms: number, into: Answers): void {
  if (reply.status === 429) into.refused++
  else if (reply.status !== 200) into.failed++
  else {
    into.latencies.push(ms)
    into.queued.push(timingOf(reply, 'queue'))
  }
}

async function pngRequest(seed: number): Promise<Omit<Wire, 'path'>> {
  const next = random(seed)
  const raw = { width: 64, height: 64, channels: 3 } as const
  const pixels = Uint8Array.from({ length: 64 * 64 * 3 }, () => next() * 256)
  return { method: 'POST', type: 'image/png', body: await sharp(pixels, { raw }).png().toBuffer() }
}

function report(
  idle: Answers,
  flooded: Answers,
  { runs, ...loud }: FloodCount,
  of: { rate: number; seconds: number },
): void {
  const p99 = (values: number[]) => quantile(values, 0.99)
  const run = median(runs)
  const most = p99(idle.latencies) + 2 * run
  const row = (name: string, own: Answers) =>
    `${name.padEnd(9)} n=${own.latencies.length}: median ${median(own.latencies).toFixed(1)}, p99 ${p99(own.latencies).toFixed(1)}; ` +
    `queued p99 ${p99(own.queued).toFixed(1)}; ${own.refused} refused, ${own.failed} failed`
  console.log(
    `ms; ${QUIET_DOMAIN} at ${of.rate} requests a second, ${FLOODING_DOMAIN} at ${of.rate * FLOOD_FACTOR}`,
  )
  console.log(row('alone', idle))
  console.log(row('flooded', flooded))
  console.log(
    `a batch run takes ${run.toFixed(1)}, p99 ${p99(runs).toFixed(1)}; the p99 may be ${most.toFixed(1)}; of the flood ${loud.answered} answered, ${loud.refused} refused, ${loud.failed} failed`,
  )
  const violations: string[] = []
  if (flooded.refused + flooded.failed + idle.refused + idle.failed > 0)
    violations.push('requests of the quiet domain were refused or failed')
  if (p99(flooded.latencies) > most)
    violations.push('the p99 of the quiet domain is more than two runs above its p99 without the flood')
  if (loud.refused === 0) violations.push('the flood was too weak: none of it was refused; raise --rate')
  for (const violation of violations) console.error(`violated: ${violation}`)
  const ms = (own: Answers) => ({
    n: own.latencies.length,
    p50: median(own.latencies),
    p99: p99(own.latencies),
  })
  console.log(
    JSON.stringify({
      fairness: {
        ...of,
        alone: ms(idle),
        flooded: ms(flooded),
        run: { p50: run, p99: p99(runs) },
        loud,
        violations,
        machine: machine(),
      },
    }),
  )
  process.exitCode = violations.length > 0 ? 1 : 0
}

await main()
