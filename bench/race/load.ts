/**
 * The race's load: a fixed number of connections, each of which sends the next request as soon as the one before
 * is answered, to a random domain with a random image. It knows HTTP and nothing of who answers.
 */
import { quantile } from '../statistics.js'
import { Connection } from '../speed/connection.js'
import { random } from '../random.js'

export interface LoadJob {
  /** `http://host:port` */
  url: string
  /** Path of a prediction, in which `{domain}` is replaced. */
  path: string
  domains: string[]
  connections: number
  warmSeconds: number
  /** Length of the window in which answers count. */
  seconds: number
  seed: number
  /** A request that is not answered in this time has failed. */
  timeoutSeconds: number
}

export interface LoadResult {
  /** Requests answered with 200 within the window, and those not. */
  answered: number
  failed: number
  /** The answer or error of the first request that failed, in the window or before it. */
  failure: string | null
  failedInWarmUp: number
  /** Length of the window as it was. */
  seconds: number
  /** Images a second. */
  rate: number
  /** Quantiles of the time from request to answer, ms; null where nothing was answered. */
  p50: number | null
  p99: number | null
  max: number | null
  /** CPU time of this process over the window, as part of one core. */
  cores: number
}

/** What the load takes from its surroundings. */
export interface Surroundings {
  /** Milliseconds. */
  now(): number
  /** CPU time of this process, ms. */
  cpuMs(): number
  pause(ms: number): Promise<void>
  /** Called when the window begins and when it ends; the server's CPU time is read then. */
  said(event: 'begin' | 'end'): void
}

/** A connection that failed is not opened again at once, or a server that is gone would be asked without end. */
const PAUSE_AFTER_FAILURE_MS = 20

class Window {
  readonly times: number[] = []
  failed = 0
  failure: string | null = null
  failedInWarmUp = 0
  #state: 'warm-up' | 'open' | 'over' = 'warm-up'
  #cpuMs = 0
  #began = 0
  #ended = 0

  constructor(
    readonly from: number,
    readonly until: number,
    readonly around: Surroundings,
  ) {}

  /** Moves on with the time; whether another request may be sent. */
  goesOn(): boolean {
    const now = this.around.now()
    if (this.#state === 'warm-up' && now >= this.from) {
      this.#state = 'open'
      this.#began = now
      this.#cpuMs = this.around.cpuMs()
      this.around.said('begin')
    }
    if (this.#state === 'open' && now >= this.until) {
      this.#state = 'over'
      this.#ended = now
      this.#cpuMs = this.around.cpuMs() - this.#cpuMs
      this.around.said('end')
    }
    return this.#state !== 'over'
  }

  /** Counts an answer. One that began in the warm-up counts where it ends, as one that is cut off does not. */
  ended(ms: number, failure: string | null): void {
    if (failure !== null && this.#state !== 'over') this.failure ??= failure
    if (this.#state === 'open') {
      if (failure === null) this.times.push(ms)
      else this.failed++
    } else if (this.#state === 'warm-up' && failure !== null) this.failedInWarmUp++
  }

  result(): LoadResult {
    const { times, failed, failure, failedInWarmUp } = this
    const ms = this.#ended - this.#began
    const at = (q: number) => (times.length > 0 ? quantile(times, q) : null)
    return {
      answered: times.length,
      failed,
      failure,
      failedInWarmUp,
      seconds: ms / 1000,
      rate: (times.length * 1000) / ms,
      p50: at(0.5),
      p99: at(0.99),
      max: at(1),
      cores: this.#cpuMs / ms,
    }
  }
}

/** @param images the bodies that are sent */
export async function load(
  job: LoadJob,
  images: readonly Uint8Array[],
  around: Surroundings,
): Promise<LoadResult> {
  const start = around.now()
  const from = start + job.warmSeconds * 1000
  const window = new Window(from, from + job.seconds * 1000, around)
  const open = () => Connection.open(job.url, job.timeoutSeconds * 1000)
  const client = async (number: number): Promise<void> => {
    const next = random(job.seed * 1000 + number)
    const pick = <T>(of: readonly T[]) => of[Math.floor(next() * of.length)]!
    let connection: Connection | null = null
    while (window.goesOn()) {
      const path = job.path.replace('{domain}', pick(job.domains))
      const body = pick(images)
      const sent = around.now()
      let failure: string | null = null
      try {
        connection ??= await open()
        const { status, text } = await connection.send({ method: 'POST', path, type: 'image/jpeg', body })
        if (status !== 200) failure = `HTTP ${status}: ${text.slice(0, 200)}`
      } catch (error) {
        failure = (error as Error).message
        connection?.close()
        connection = null
      }
      window.goesOn()
      window.ended(around.now() - sent, failure)
      if (failure !== null) await around.pause(PAUSE_AFTER_FAILURE_MS)
    }
    connection?.close()
  }
  await Promise.all(Array.from({ length: job.connections }, (_, number) => client(number)))
  return window.result()
}
