/**
 * `npm run fairness -- [--only flood,photos,worst,cold] [--rate N] [--seconds N] [--rounds N]`: a quiet domain on the
 * real service, beside those who send much more (`fairness-scenarios.ts`).
 *
 * No request of the quiet domain may be refused or fail. Its p99 may exceed its p99 without the load by two batch runs,
 * and where the load is long decodes by one decode of the accepted image that takes longest. Otherwise the program ends
 * with 1. Times with and without the load take turns, so that both see the same machine. The length of a batch run is
 * the median over the load's answers: those are the batches that quiet requests wait for and share.
 */
import { Agent } from 'node:http'
import { type Reply, send, timingOf } from '../client.js'
import { command, positive, someOf } from '../command.js'
import { machine } from '../machine.js'
import { Child } from '../processes.js'
import { random } from '../random.js'
import { startServer } from '../server.js'
import { median, quantile } from '../statistics.js'
import { avif } from '../worst-images/avif.js'
import { encodedJpeg, scannedJpeg } from '../worst-images/jpeg.js'
import { type Kind, type Parameters, parametersOf } from '../worst-images/kind.js'
import { png } from '../worst-images/png.js'
import { type Image, type Scenario, scenarios } from './fairness-scenarios.js'
import type { FloodCount } from './flood.js'

/** The load runs this long before anything is counted: the service learns its batch size, and caches warm up. */
const WARM_UP_SECONDS = 10
/** Of the longest accepted decodes that `npm run worst-images` finds; each is made smaller until it is accepted. */
const worstKinds: readonly [Kind, Parameters][] = [
  [scannedJpeg, { scans: 100 }],
  [encodedJpeg, { space: 'cmyk', sampling: '4:4:4' }],
  [png, { interlaced: true }],
  [avif, { sampling: '4:2:0', content: 'soft', megapixels: 24 }],
]
/** Of an image that is refused, so much of the pixels is tried next. */
const SMALLER = 0.75

interface Answers {
  /** From sending a request to its whole answer, ms. */
  latencies: number[]
  /** Time in the service's queue, ms. */
  queued: number[]
  refused: number
  failed: number
}

interface Result {
  name: string
  idle: Answers
  loaded: Answers
  load: FloodCount
  /** Longest time of one decode of a worst accepted image alone, ms; 0 where it does not count. */
  decodeMs: number
  violations: string[]
}

/** Asks for the quiet domain without a pause, whether earlier requests are answered or not. */
class Quiet {
  /** Where answers are counted; those to requests that were sent before it changed too. */
  into: Answers = noAnswers()
  readonly #agent = new Agent({ keepAlive: true })
  readonly #open = new Set<Promise<void>>()
  readonly #done: Promise<void>
  #stopped = false

  constructor(url: string, { domain, image, rate, regular }: Scenario['quiet']) {
    const wire = { ...image, method: 'POST', path: `/v1/domains/${domain}/predict` }
    const next = random(5)
    const pause = () => (regular ? 0.8 + 0.4 * next() : -Math.log(1 - next())) / rate
    this.#done = (async () => {
      for (let due = performance.now(); !this.#stopped; due += 1000 * pause()) {
        await sleep(due - performance.now())
        const { into } = this
        const start = performance.now()
        const request = send(this.#agent, url, wire).then(
          (reply) => take(reply, performance.now() - start, into),
          () => void into.failed++,
        )
        this.#open.add(request)
        void request.then(() => this.#open.delete(request))
      }
    })()
  }

  /** Counts for so many seconds. */
  async during(seconds: number, into: Answers): Promise<void> {
    this.into = into
    await sleep(1000 * seconds)
    this.into = noAnswers()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#done
    await Promise.all(this.#open)
    this.#agent.destroy()
  }
}

async function main(): Promise<void> {
  const options = command('fairness', 'A quiet domain on the real service, beside those who send much more.')
    .addOption(someOf('--only <loads>', Object.keys(scenarios)))
    .option('--rate <n>', 'requests a second of the quiet domain', positive, 5)
    .option('--seconds <n>', 'length of a round', positive, 20)
    .option('--rounds <n>', 'rounds with and without each load', positive, 3)
    .parse()
    .opts<{ only: string[]; rate: number; seconds: number; rounds: number }>()
  const { only: names, rate, seconds, rounds } = options
  const worst = names.some((name) => name !== 'flood') ? await worstImages() : []
  const decodeMs = Math.max(0, ...worst.map((image) => image.decodeMs))
  const results: Result[] = []
  for (const name of names) {
    const scenario = await scenarios[name]!({ rate, worst })
    const result = await run(name, scenario, decodeMs, seconds, rounds)
    await scenario.end()
    show(result)
    results.push(result)
  }
  const json = results.map(({ name, idle, loaded, load, violations, ...more }) => ({
    name,
    ...{
      idle: inShort(idle),
      loaded: inShort(loaded),
      run: median(load.runs),
      runP99: quantile(load.runs, 0.99),
      limit: limitOf(idle, load, more),
    },
    ...{ ...more, load: { ...load, runs: load.runs.length }, violations },
  }))
  console.log(
    JSON.stringify({ fairness: { seconds: seconds * rounds, scenarios: json, machine: machine() } }),
  )
  process.exitCode = results.some(({ violations }) => violations.length > 0) ? 1 : 0
}

/** The images that take longest, and how long each takes on a service that does nothing else. */
async function worstImages(): Promise<(Image & { decodeMs: number })[]> {
  const server = await startServer()
  const agent = new Agent({ keepAlive: true })
  const found: (Image & { decodeMs: number })[] = []
  try {
    for (const [kind, changes] of worstKinds) {
      const parameters = parametersOf(kind, changes)
      for (let megapixels = Number(parameters.megapixels); ; megapixels *= SMALLER) {
        const body = await kind.make({ ...parameters, megapixels })
        const image = { type: `image/${kind.format}`, body: body! }
        const wire = { ...image, method: 'POST', path: '/v1/domains/base/embed' }
        const reply = await send(agent, server.url, wire)
        if (reply.status === 413) continue
        if (reply.status !== 200) throw new Error(`${kind.format}: HTTP ${reply.status}: ${reply.text}`)
        const again = await send(agent, server.url, wire)
        const decodeMs = Math.max(timingOf(reply, 'decode'), timingOf(again, 'decode'))
        const size = `${megapixels.toFixed(1)} megapixels, ${(image.body.length / 1024).toFixed(0)} KiB`
        console.log(`${kind.format} of ${size}: decoded in ${decodeMs.toFixed(0)} ms alone`)
        found.push({ ...image, decodeMs })
        break
      }
    }
  } finally {
    agent.destroy()
    await server.stop()
  }
  return found
}

async function run(
  name: string,
  scenario: Scenario,
  worstDecodeMs: number,
  seconds: number,
  rounds: number,
): Promise<Result> {
  const server = await startServer(scenario.options)
  const flood = await Child.start(new URL('./flood.js', import.meta.url))
  const [idle, loaded] = [noAnswers(), noAnswers()]
  const load: FloodCount = { answered: 0, refused: 0, failed: 0, runs: [] }
  const quiet = new Quiet(server.url, scenario.quiet)
  try {
    const start = { type: 'start', url: server.url, ...scenario.load }
    await flood.ask(start)
    await sleep(1000 * WARM_UP_SECONDS)
    await flood.ask({ type: 'stop' })
    for (let round = 0; round < rounds; round++) {
      await quiet.during(seconds, idle)
      await flood.ask(start)
      await quiet.during(seconds, loaded)
      const count = await flood.ask<FloodCount>({ type: 'stop' })
      for (const key of ['answered', 'refused', 'failed'] as const) load[key] += count[key]
      load.runs = load.runs.concat(count.runs)
    }
  } finally {
    await quiet.stop()
    await flood.stop()
    await server.stop()
  }
  const decodeMs = scenario.andDecode ? worstDecodeMs : 0
  const violations: string[] = []
  if (loaded.refused + loaded.failed + idle.refused + idle.failed > 0)
    violations.push('requests of the quiet domain were refused or failed')
  if (p99(loaded) > limitOf(idle, load, { decodeMs }))
    violations.push('the p99 of the quiet domain exceeds its limit')
  if (scenario.overloads && load.refused === 0)
    violations.push('the load was too weak: none of it was refused')
  return { name, idle, loaded, load, decodeMs, violations }
}

function noAnswers(): Answers {
  return { latencies: [], queued: [], refused: 0, failed: 0 }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function take(reply: Reply, ms: number, into: Answers): void {
  if (reply.status === 429) into.refused++
  else if (reply.status !== 200) into.failed++
  else {
    into.latencies.push(ms)
    into.queued.push(timingOf(reply, 'queue'))
  }
}

function p99({ latencies }: Answers): number {
  return quantile(latencies, 0.99)
}

function limitOf(idle: Answers, { runs }: FloodCount, { decodeMs }: { decodeMs: number }): number {
  return p99(idle) + 2 * median(runs) + decodeMs
}

function inShort(answers: Answers) {
  const { latencies, queued, refused, failed } = answers
  const queuedP99 = quantile(queued, 0.99)
  return { n: latencies.length, p50: median(latencies), p99: p99(answers), queuedP99, refused, failed }
}

function show(result: Result): void {
  const { name, idle, loaded, load, decodeMs } = result
  const row = (answers: Answers) => {
    const { n, p50, queuedP99, refused, failed } = inShort(answers)
    return `n=${n}: median ${p50.toFixed(1)}, p99 ${p99(answers).toFixed(1)}; queued p99 ${queuedP99.toFixed(1)}; ${refused} refused, ${failed} failed`
  }
  console.log(`${name}, ms`)
  console.log(`  alone   ${row(idle)}`)
  console.log(`  loaded  ${row(loaded)}`)
  console.log(
    `  a run takes ${median(load.runs).toFixed(1)}, p99 ${quantile(load.runs, 0.99).toFixed(1)}; the longest decode ${decodeMs.toFixed(0)}; the p99 may be ${limitOf(idle, load, result).toFixed(1)}; of the load ${load.answered} answered, ${load.refused} refused, ${load.failed} failed`,
  )
  for (const violation of result.violations) console.error(`  violated: ${violation}`)
}

await main()
