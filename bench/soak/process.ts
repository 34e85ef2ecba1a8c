/**
 * The load of a soak, which runs as its own process: mixed traffic at full speed, with registrations,
 * deletions, bad requests and clients that leave. Checks every answer against the answers that are right.
 */
import { readFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { join } from 'node:path'
import sharp from 'sharp'
import { answer } from '../processes.js'
import { random } from '../random.js'
import { type Answer, judgeAnswer, Ledger, type Reference, type Watch } from './ledger.js'
import { NumberedPacks } from './packs.js'
import { type Reply, send, type Wire } from '../client.js'
import { type BadRequest, badRequests, multipart } from './requests.js'
import type { Tally } from './verdict.js'

export interface SoakJob {
  url: string
  /** Folder of the shipped packs, and their domains, which the soak does not change. */
  adapters: string
  shipped: readonly string[]
  /** Domains that are registered, replaced and deleted. */
  changing: readonly string[]
  /** Number of different images. */
  images: number
  /** Connections, one request in flight on each. */
  atOnce: number
  seed: number
}

/** Shares of all requests: bad ones, changes of domains, and those whose client leaves. */
const BAD_SHARE = 0.01
const CHANGE_SHARE = 0.02
const LEAVE_SHARE = 0.005
/** Fewer than the service admits by default. */
const UPLOADS_AT_ONCE = 3
/** Failures that are kept as examples, and characters of each. */
const MAX_EXAMPLES = 10
const MAX_EXAMPLE_CHARACTERS = 300

type Work = () => Promise<void>

class Load {
  readonly #job: SoakJob
  readonly #agent: Agent
  readonly #next: () => number
  readonly #ledger = new Ledger()
  readonly #packs: NumberedPacks[]
  readonly #packOf = new Map<string, number>()
  readonly #images: Buffer[]
  readonly #references: Reference[][] = []
  readonly #bad: BadRequest[]
  #turn = 0
  readonly #tally = {
    ...{
      requests: 0,
      images: 0,
      absent: 0,
      left: 0,
      changes: 0,
      refused: 0,
      failed: 0,
      wrong: 0,
      misjudged: 0,
    },
    latencies: [] as number[],
    examples: [] as string[],
  }
  #uploads = 0
  #copies = 0
  #running: Promise<unknown> = Promise.resolve()
  #stopped = false

  constructor(job: SoakJob, packs: readonly Uint8Array[], images: Buffer[]) {
    this.#job = job
    this.#agent = new Agent({ keepAlive: true, maxSockets: job.atOnce })
    this.#next = random(job.seed)
    this.#packs = packs.map((pack) => new NumberedPacks(pack))
    this.#images = images
    this.#bad = badRequests(job.shipped[0]!, images[0]!, packs[0]!)
    for (const domain of job.changing) this.#ledger.add(domain, null)
  }

  /**
   * Asks every shipped domain for every image, one request at a time, for the answers computed alone. Then
   * registers the changing domains.
   */
  async prepare(): Promise<void> {
    for (const [pack, domain] of this.#job.shipped.entries()) {
      const references: Reference[] = []
      for (const body of this.#images) {
        const wire = { method: 'POST', type: 'image/png', body }
        const ask = async (path: string): Promise<Answer> => {
          const reply = await this.#send({ ...wire, path: `/v1/domains/${domain}/${path}` })
          if (reply.status !== 200) throw new Error(`${domain}: HTTP ${reply.status}: ${reply.text}`)
          return resultsOf(reply)[0]!
        }
        const predicted = await ask('predict?top_k=100000')
        const scores: number[] = []
        for (const { index, score } of predicted.predictions!) scores[index] = score
        references.push({ scores, features: (await ask('embed')).features! })
        this.#packOf.set(predicted.version, pack)
        this.#ledger.add(domain, predicted.version)
      }
      this.#references.push(references)
    }
    for (const domain of this.#job.changing) await this.#put(domain)
  }

  start(): void {
    const client = async () => {
      while (!this.#stopped) await this.#work()()
    }
    this.#running = Promise.all(Array.from({ length: this.#job.atOnce }, client))
  }

  /** Sends no further requests; resolves once the last one is answered. */
  async stop(): Promise<Tally> {
    this.#stopped = true
    await this.#running
    this.#agent.destroy()
    return this.#tally
  }

  /** The counts so far, without the latencies, which would be much to send. */
  progress(): Tally {
    return { ...this.#tally, latencies: [] }
  }

  #work(): Work {
    // By count instead of chance: so even a short run on a slow machine has some of each.
    const turn = this.#turn++
    if (turn % (1 / BAD_SHARE) === 10) return () => this.#mistake(this.#pick(this.#bad))
    if (turn % (1 / CHANGE_SHARE) === 5) return this.#change()
    if (this.#next() < LEAVE_SHARE) return () => this.#leave()
    const kind = this.#next()
    if (kind < 0.5) return () => this.#predict()
    if (kind < 0.65) return () => this.#embed()
    if (kind < 0.8) return () => this.#list()
    return () => this.#mix()
  }

  async #predict(): Promise<void> {
    const [domain, image] = [this.#domain(), this.#image()]
    const path = `/v1/domains/${domain}/predict`
    await this.#good(
      { method: 'POST', path, type: 'image/png', body: this.#images[image]! },
      [domain],
      [image],
    )
  }

  async #embed(): Promise<void> {
    const [domain, image] = [this.#domain(), this.#image()]
    const path = `/v1/domains/${domain}/embed`
    await this.#good(
      { method: 'POST', path, type: 'image/png', body: this.#images[image]! },
      [domain],
      [image],
    )
  }

  /** Several images of one domain in JSON. */
  async #list(): Promise<void> {
    const domain = this.#domain()
    const images = Array.from({ length: 1 + this.#below(4) }, () => this.#image())
    const json = JSON.stringify({ images: images.map((image) => this.#images[image]!.toString('base64')) })
    const path = `/v1/domains/${domain}/predict`
    const wire = { method: 'POST', path, type: 'application/json', body: Buffer.from(json) }
    await this.#good(wire, Array(images.length).fill(domain), images)
  }

  /** Images of different domains in one request. */
  async #mix(): Promise<void> {
    const domains = Array.from({ length: 2 + this.#below(7) }, () => this.#domain())
    const images = domains.map(() => this.#image())
    const parts = domains.map((name, part) => ({ name, bytes: this.#images[images[part]!]! }))
    await this.#good({ method: 'POST', path: '/v1/predict', ...multipart(parts) }, domains, images)
  }

  /** Sends a good request and checks its answers. @param domains the domain of each image */
  async #good(wire: Wire, domains: readonly string[], images: readonly number[]): Promise<void> {
    const watches = domains.map((domain) => this.#ledger.watch(domain))
    const start = performance.now()
    try {
      const reply = await this.#send(wire)
      this.#tally.latencies.push(performance.now() - start)
      if (reply.status === 404 && watches.some((watch) => watch.has(null))) this.#tally.absent++
      else if (reply.status !== 200) this.#fail('failed', `${wire.path}: HTTP ${reply.status}: ${reply.text}`)
      else this.#look(wire.path, resultsOf(reply), watches, images)
    } catch (error) {
      this.#fail('failed', `${wire.path}: ${(error as Error).message}`)
    } finally {
      for (const [index, domain] of domains.entries()) this.#ledger.unwatch(domain, watches[index]!)
    }
  }

  #look(path: string, answers: Answer[], watches: readonly Watch[], images: readonly number[]): void {
    const fault = images.length === answers.length ? null : `${answers.length} answers, not ${images.length}`
    const faults = answers.map((answer, index) => {
      const reference = (pack: number) => this.#references[pack]![images[index]!]!
      return judgeAnswer(answer, watches[index]!, (version) => this.#packOf.get(version), reference)
    })
    const first = fault ?? faults.find((each) => each !== null)
    if (first) this.#fail('wrong', `${path}: ${first}`)
    this.#tally.requests++
    this.#tally.images += images.length
  }

  async #mistake({ status, code, ...wire }: BadRequest): Promise<void> {
    try {
      const reply = await this.#send(wire)
      const told = (JSON.parse(reply.text) as { code: string }).code
      if (reply.status === status && told === code) this.#tally.refused++
      else
        this.#fail(
          'misjudged',
          `${wire.method} ${wire.path}: HTTP ${reply.status} ${told}, not ${status} ${code}`,
        )
    } catch (error) {
      this.#fail('misjudged', `${wire.method} ${wire.path}: ${(error as Error).message}`)
    }
  }

  /** Sends a request whose client leaves at a random moment. */
  async #leave(): Promise<void> {
    const leaving = new AbortController()
    const timer = setTimeout(() => leaving.abort(), this.#below(10))
    const path = `/v1/domains/${this.#pick(this.#job.shipped)}/predict`
    const wire = { method: 'POST', path, type: 'image/png', body: this.#images[this.#image()]! }
    await send(this.#agent, this.#job.url, wire, leaving.signal).catch(() => this.#tally.left++)
    clearTimeout(timer)
  }

  /** Registers, replaces, deletes, or pins and unpins a domain that no other client is changing. */
  #change(): Work {
    const free = this.#job.changing.filter((domain) => !this.#ledger.changing(domain))
    const domain = free[this.#below(free.length)]
    if (domain === undefined || this.#uploads >= UPLOADS_AT_ONCE) return () => this.#predict()
    const kind = this.#next()
    if (this.#ledger.now(domain) === null || kind < 0.5) return () => this.#put(domain)
    if (kind < 0.65) return () => this.#stage(domain)
    if (kind < 0.85) {
      const wire = { method: 'DELETE', path: `/v1/domains/${domain}` }
      return async () => void (await this.#changed(domain, null, wire, 204))
    }
    return () => this.#pin(domain)
  }

  async #put(domain: string): Promise<void> {
    const { version, wire } = this.#upload(domain)
    await this.#changed(domain, version, wire, this.#ledger.now(domain) === null ? 201 : 200)
    this.#uploads--
  }

  async #stage(domain: string): Promise<void> {
    const { version, wire } = this.#upload(domain)
    const { path } = wire
    const staged = await this.#changed(
      domain,
      this.#ledger.now(domain),
      { ...wire, path: `${path}?activate=false` },
      200,
    )
    this.#uploads--
    if (!staged) return
    const body = Buffer.from(JSON.stringify({ version }))
    const activate = { method: 'POST', path: `${path}/activate`, type: 'application/json', body }
    await this.#changed(domain, version, activate, 200)
  }

  async #pin(domain: string): Promise<void> {
    for (const pinned of [true, false]) {
      const body = Buffer.from(JSON.stringify({ pinned }))
      const wire = { method: 'PATCH', path: `/v1/domains/${domain}`, type: 'application/json', body }
      await this.#changed(domain, this.#ledger.now(domain), wire, 200)
    }
  }

  /** The upload of a new copy of a random shipped pack. */
  #upload(domain: string): { version: string; wire: Wire } {
    this.#uploads++
    const pack = this.#below(this.#packs.length)
    const { version, bytes } = this.#packs[pack]!.copy(this.#copies++)
    this.#packOf.set(version, pack)
    const path = `/v1/domains/${domain}`
    return { version, wire: { method: 'PUT', path, type: 'application/octet-stream', body: bytes } }
  }

  async #changed(domain: string, version: string | null, wire: Wire, status: number): Promise<boolean> {
    this.#ledger.begin(domain, version)
    let done = false
    try {
      const reply = await this.#send(wire)
      done = reply.status === status
      if (done) this.#tally.changes++
      else this.#fail('failed', `${wire.method} ${wire.path}: HTTP ${reply.status}: ${reply.text}`)
    } catch (error) {
      this.#fail('failed', `${wire.method} ${wire.path}: ${(error as Error).message}`)
    }
    this.#ledger.end(domain, done)
    return done
  }

  #send(wire: Wire): Promise<Reply> {
    return send(this.#agent, this.#job.url, wire)
  }

  #fail(kind: 'failed' | 'wrong' | 'misjudged', example: string): void {
    this.#tally[kind]++
    if (this.#tally.examples.length < MAX_EXAMPLES)
      this.#tally.examples.push(example.slice(0, MAX_EXAMPLE_CHARACTERS))
  }

  /** A random domain, the first ones more often, so that the last ones are mostly cold. */
  #domain(): string {
    const { shipped, changing } = this.#job
    const place = Math.floor((shipped.length + changing.length) * this.#next() ** 1.5)
    // Shipped and changing domains alternate, so that both are among the hot ones.
    const [first, second] = place % 2 === 0 ? [changing, shipped] : [shipped, changing]
    return first[place >> 1] ?? second[place - first.length]!
  }

  #image(): number {
    return this.#below(this.#images.length)
  }

  #below(n: number): number {
    return Math.floor(this.#next() * n)
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!
  }
}

function resultsOf(reply: Reply): Answer[] {
  return (JSON.parse(reply.text) as { results: Answer[] }).results
}

/** Images of random blocks: cheap to decode, and different enough to get different answers. */
async function makeImages(count: number, seed: number): Promise<Buffer[]> {
  const next = random(seed)
  const image = () => {
    const blocks = Uint8Array.from({ length: 8 * 8 * 3 }, () => next() * 256)
    const raw = { width: 8, height: 8, channels: 3 } as const
    return sharp(blocks, { raw }).resize(64, 64, { kernel: 'cubic' }).png().toBuffer()
  }
  return Promise.all(Array.from({ length: count }, image))
}

let load: Load | undefined

answer<
  ({ type: 'hello' | 'start' | 'progress' | 'stop' } | ({ type: 'prepare' } & SoakJob)) & { id: number }
>(
  async (question) => {
    switch (question.type) {
      case 'hello':
        return null
      case 'prepare': {
        const read = (domain: string) => readFile(join(question.adapters, `${domain}.safetensors`))
        const packs = await Promise.all(question.shipped.map(read))
        load = new Load(question, packs, await makeImages(question.images, question.seed))
        return load.prepare()
      }
      case 'start':
        return load!.start()
      case 'progress':
        return load!.progress()
      case 'stop':
        return load!.stop()
    }
  },
  async () => {},
)
