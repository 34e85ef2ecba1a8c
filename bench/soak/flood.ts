/**
 * Sends requests for one domain at a fixed rate, whether they are answered or not. Runs as its own process.
 */
import { Agent } from 'node:http'
import { send, timingOf, type Wire } from '../client.js'
import { answer } from '../processes.js'

export interface FloodJob {
  url: string
  wire: Wire
  /** Requests a second. */
  rate: number
  /** Most requests in flight. Those due beyond are sent as soon as one is answered. */
  atOnce: number
}

export interface FloodCount {
  answered: number
  /** HTTP 429. */
  refused: number
  failed: number
  /** Run time of the batch, ms, of each request that was answered. */
  runs: number[]
}

class Flood {
  readonly #job: FloodJob
  readonly #agent: Agent
  readonly #start = performance.now()
  readonly #count: FloodCount = { answered: 0, refused: 0, failed: 0, runs: [] }
  readonly #timer: NodeJS.Timeout
  #sent = 0
  #open = 0
  #drained: () => void = () => {}

  constructor(job: FloodJob) {
    this.#job = job
    this.#agent = new Agent({ keepAlive: true, maxSockets: job.atOnce })
    this.#timer = setInterval(() => this.#due(), 2)
  }

  async stop(): Promise<FloodCount> {
    clearInterval(this.#timer)
    if (this.#open > 0)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
    this.#agent.destroy()
    return this.#count
  }

  #due(): void {
    const due = ((performance.now() - this.#start) / 1000) * this.#job.rate
    for (; this.#sent < due && this.#open < this.#job.atOnce; this.#sent++) void this.#one()
  }

  async #one(): Promise<void> {
    this.#open++
    const reply = await send(this.#agent, this.#job.url, this.#job.wire).catch(() => null)
    this.#count[reply?.status === 200 ? 'answered' : reply?.status === 429 ? 'refused' : 'failed']++
    if (reply?.status === 200) this.#count.runs.push(timingOf(reply, 'inference'))
    if (--this.#open === 0) this.#drained()
  }
}

let flood: Flood | undefined

answer<({ type: 'hello' | 'stop' } | ({ type: 'start' } & FloodJob)) & { id: number }>(
  async (question) => {
    if (question.type === 'start') flood = new Flood(question)
    return question.type === 'stop' ? flood!.stop() : null
  },
  async () => {},
)
