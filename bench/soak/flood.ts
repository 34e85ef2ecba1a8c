/**
 * The load of a fairness run, as a process of its own: sends requests at a fixed rate, whether they are answered or
 * not, or from clients each of which sends its next request when it is answered.
 */
import { Agent } from 'node:http'
import { send, timingOf } from '../client.js'
import { answer } from '../processes.js'
import { random } from '../random.js'

export interface FloodJob {
  url: string
  /** Each request takes a domain and an image at random. */
  domains: readonly string[]
  images: readonly { type: string; body: Uint8Array }[]
  /** Requests a second; null for clients that wait for their answers. */
  rate: number | null
  /** Clients, or most requests in flight: those due beyond are sent as soon as one is answered. */
  atOnce: number
  /** Loopback addresses that the clients have in turn. */
  addresses: readonly string[]
}

export interface FloodCount {
  answered: number
  /** HTTP 429, and 503 of an adapter that could not be loaded in time. */
  refused: number
  failed: number
  /** Run time of the batch, ms, of each request that was answered. */
  runs: number[]
}

/** A client that was refused tries again after this, ms. */
const RETRY_MS = 50

class Flood {
  readonly #job: FloodJob
  readonly #agents: Agent[]
  readonly #random = random(7)
  readonly #start = performance.now()
  readonly #count: FloodCount = { answered: 0, refused: 0, failed: 0, runs: [] }
  readonly #timer: NodeJS.Timeout | undefined
  #stopped = false
  #sent = 0
  #open = 0
  #drained: () => void = () => {}

  constructor(job: FloodJob) {
    this.#job = job
    this.#agents = job.addresses.map((localAddress) => new Agent({ keepAlive: true, localAddress }))
    if (job.rate !== null) this.#timer = setInterval(() => this.#due(job.rate!), 2)
    else for (let n = 0; n < job.atOnce; n++) void this.#client(n)
  }

  async stop(): Promise<FloodCount> {
    this.#stopped = true
    clearInterval(this.#timer)
    if (this.#open > 0)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
    for (const agent of this.#agents) agent.destroy()
    return this.#count
  }

  #due(rate: number): void {
    const due = ((performance.now() - this.#start) / 1000) * rate
    for (; this.#sent < due && this.#open < this.#job.atOnce; this.#sent++) void this.#one(this.#sent)
  }

  async #client(number: number): Promise<void> {
    while (!this.#stopped) {
      const answered = await this.#one(number)
      if (!answered) await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  async #one(client: number): Promise<boolean> {
    const { url, domains, images } = this.#job
    const wire = {
      ...this.#pick(images),
      method: 'POST',
      path: `/v1/domains/${this.#pick(domains)}/predict`,
    }
    this.#open++
    const reply = await send(this.#agents[client % this.#agents.length]!, url, wire).catch(() => null)
    const outcome = outcomes[reply?.status ?? 0] ?? 'failed'
    this.#count[outcome]++
    if (outcome === 'answered') this.#count.runs.push(timingOf(reply!, 'inference'))
    if (--this.#open === 0 && this.#stopped) this.#drained()
    return outcome === 'answered'
  }

  #pick<Value>(values: readonly Value[]): Value {
    return values[Math.floor(this.#random() * values.length)]!
  }
}

const outcomes: Record<number, 'answered' | 'refused'> = { 200: 'answered', 429: 'refused', 503: 'refused' }

let flood: Flood | undefined

answer<({ type: 'hello' | 'stop' } | ({ type: 'start' } & FloodJob)) & { id: number }>(
  async (question) => {
    if (question.type === 'start') flood = new Flood(question)
    return question.type === 'stop' ? flood!.stop() : null
  },
  async () => {},
)
