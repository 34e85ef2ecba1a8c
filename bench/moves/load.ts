/** Clients that ask for some domains without a pause, and check that no answer is of a version that was not in force. */
import { Agent } from 'node:http'
import { send } from '../client.js'

export interface Answers {
  /** From sending a request to its whole answer, ms. */
  latencies: number[]
  failed: number
  /** Answers of a version that was not in force at any time between the request and its answer. */
  wrong: number
  examples: string[]
}

/** What a domain answers with. */
interface Force {
  /** The version in force since it was last changed, and the one that a change under way would put in its place. */
  now: string
  next?: string
  /** How often it has changed. */
  changes: number
}

export class Load {
  /** Where answers are counted that begin now. */
  into: Answers = noAnswers()
  readonly #agent = new Agent({ keepAlive: true })
  readonly #force = new Map<string, Force>()
  readonly #clients: Promise<void>[] = []
  #stopped = false

  constructor(readonly url: string) {}

  /** The version that a domain has before anything is changed. */
  begin(domain: string, version: string): void {
    this.#force.set(domain, { now: version, changes: 0 })
  }

  /** Changes a domain by `change`; until that has returned, both versions may answer. */
  async during(domain: string, next: string, change: () => Promise<void>): Promise<void> {
    const { now, changes } = this.#force.get(domain)!
    this.#force.set(domain, { now, next, changes })
    await change()
    this.#force.set(domain, { now: next, changes: changes + 1 })
  }

  /** @param clients that each have one request in flight, for the domains in turn */
  start(clients: number, domains: readonly string[], image: { type: string; body: Buffer }): void {
    for (let client = 0; client < clients; client++)
      this.#clients.push(
        (async () => {
          for (let turn = client; !this.#stopped; turn++)
            await this.#ask(domains[turn % domains.length]!, image, this.into)
        })(),
      )
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#clients)
    this.#agent.destroy()
  }

  async #ask(domain: string, image: { type: string; body: Buffer }, into: Answers): Promise<void> {
    const before = this.#force.get(domain)!
    const start = performance.now()
    try {
      const { status, text } = await send(this.#agent, this.url, {
        method: 'POST',
        path: `/v1/domains/${domain}/predict?top_k=1`,
        ...image,
      })
      if (status !== 200) throw new Error(`HTTP ${status}: ${text}`)
      into.latencies.push(performance.now() - start)
      const { version } = (JSON.parse(text) as { results: [{ version: string }] }).results[0]
      const after = this.#force.get(domain)!
      const could = [before.now, before.next, after.now, after.next]
      // After more than one change meanwhile, any version may have been in force.
      if (after.changes - before.changes > 1 || could.includes(version)) return
      into.wrong++
      into.examples.push(`${domain}: version ${version}`)
    } catch (error) {
      into.failed++
      into.examples.push(`${domain}: ${(error as Error).message.slice(0, 300)}`)
    }
  }
}

export function noAnswers(): Answers {
  return { latencies: [], failed: 0, wrong: 0, examples: [] }
}
