/**
 * `npm run kills -- [--kills N] [--seed S]`: SIGKILL of the real service, again and again on one data folder,
 * at moments of chance: while it starts, and while clients register, activate, pin and delete through HTTP.
 *
 * After each restart every acknowledged change is there, and each unacknowledged one wholly or not at all;
 * every version's bytes are its own, and every active one answers. Ends with 1 where that is not so.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { packageFile } from '../../src/package.js'
import { verifyStore } from '../../src/store/verify.js'
import { applied, type Change, type DomainState, KillLedger } from './kill-model.js'
import { random } from '../random.js'
import { machine } from '../machine.js'
import { type RunningServer, startServer } from '../server.js'
import { NumberedPacks } from './packs.js'
import { send, type Wire } from '../client.js'

const KEEP = 3
const CLIENTS = 4
const DOMAINS_EACH = 2
/** The longest a killed service takes requests, ms. */
const LONGEST_MS = 1500
/** One kill in so many meets the start. */
const AT_START = 4

interface View {
  version: string | null
  pinned: boolean
  versions: { version: string }[]
}

class Kills {
  readonly violations: string[] = []
  readonly counts = { kills: 0, atStart: 0, acknowledged: 0, open: 0, openDone: 0, checks: 0 }
  readonly #next: () => number
  readonly #flags: string[]
  readonly #packs: NumberedPacks
  readonly #image: Buffer
  readonly #ledger = new KillLedger()
  readonly #domains = Array.from({ length: CLIENTS * DOMAINS_EACH }, (_, index) => `d${index}`)
  #agent = new Agent()
  #copies = 0

  constructor(data: string, pack: Uint8Array, image: Buffer, seed: number) {
    this.#next = random(seed)
    this.#packs = new NumberedPacks(pack)
    this.#image = image
    this.#flags = [
      '--data',
      data,
      '--threads',
      '1',
      '--bank-memory',
      '32MiB',
      '--keep-versions',
      String(KEEP),
    ]
  }

  /** Starts, checks, changes and kills, `kills` times, and checks once more. */
  async run(kills: number): Promise<void> {
    let startMs = 500
    for (let kill = 0; kill < kills; kill++) {
      this.counts.kills++
      if (kill % AT_START === AT_START - 1) {
        await this.#killStart(this.#next() * startMs)
        this.counts.atStart++
        continue
      }
      const server = await this.#start()
      startMs = server.startMs
      await this.#check(server.url)
      await this.#killInTraffic(server)
      show(this.counts, kills)
    }
    const server = await this.#start()
    await this.#check(server.url)
    const code = await server.stop()
    if (code !== 0) this.violations.push(`the service ended with ${code}`)
  }

  #start(): Promise<RunningServer> {
    this.#agent = new Agent({ keepAlive: true })
    return startServer(this.#flags)
  }

  async #killStart(afterMs: number): Promise<void> {
    const started = startServer(
      this.#flags,
      {},
      (child) => void setTimeout(() => child.kill('SIGKILL'), afterMs),
    )
    // It may have been quicker, and is killed as it listens.
    await started.then(({ kill }) => kill()).catch(() => {})
  }

  async #killInTraffic(server: RunningServer): Promise<void> {
    let dead = false
    const client = async (_: unknown, own: number) => {
      for (let turn = 0; !dead; turn++) {
        const domain = this.#domains[own * DOMAINS_EACH + (turn % DOMAINS_EACH)]!
        await this.#change(server.url, domain).catch((error: Error) => {
          if (!dead) this.violations.push(`${domain}: ${error.message}`)
          dead = true
        })
      }
    }
    const clients = Promise.all(Array.from({ length: CLIENTS }, client))
    await new Promise((resolve) => setTimeout(resolve, this.#next() ** 2 * LONGEST_MS))
    dead = true
    await server.kill()
    await clients
    this.counts.open += this.#ledger.open
    this.#agent.destroy()
  }

  /** Makes some change that the domain's state allows. */
  async #change(url: string, domain: string): Promise<void> {
    const state = this.#ledger.state(domain)
    const { change, wire, status } = this.#choose(domain, state)
    this.#ledger.sent(domain, applied(state, change, KEEP))
    const reply = await send(this.#agent, url, wire)
    if (reply.status !== status) throw new Error(`${change.kind}: HTTP ${reply.status}: ${reply.text}`)
    this.#ledger.acknowledged(domain)
    this.counts.acknowledged++
  }

  #choose(domain: string, state: DomainState): { change: Change; wire: Wire; status: number } {
    const path = `/v1/domains/${domain}`
    const share = this.#next()
    const idle = state?.versions.filter((version) => version !== state.active) ?? []
    const other = idle[Math.floor(this.#next() * idle.length)]
    const json = (body: object) => ({ type: 'application/json', body: Buffer.from(JSON.stringify(body)) })
    if (state && share < 0.1)
      return { change: { kind: 'delete' }, wire: { method: 'DELETE', path }, status: 204 }
    if (state && share < 0.2) {
      const pinned = !state.pinned
      return {
        change: { kind: 'pin', pinned },
        wire: { method: 'PATCH', path, ...json({ pinned }) },
        status: 200,
      }
    }
    if (other && share < 0.3) {
      const wire = { method: 'POST', path: `${path}/activate`, ...json({ version: other }) }
      return { change: { kind: 'activate', version: other }, wire, status: 200 }
    }
    if (other && share < 0.35) {
      const wire = { method: 'DELETE', path: `${path}/versions/${other}` }
      return { change: { kind: 'delete-version', version: other }, wire, status: 204 }
    }
    const { version, bytes } = this.#packs.copy(this.#copies++)
    const kind = share < 0.5 ? 'stage' : 'put'
    const query = kind === 'stage' ? '?activate=false' : ''
    const wire = { method: 'PUT', path: path + query, type: 'application/octet-stream', body: bytes }
    return { change: { kind, version }, wire, status: state ? 200 : 201 }
  }

  /** Every domain against the ledger, every version's bytes, and an answer of every active one. */
  async #check(url: string): Promise<void> {
    for (const domain of this.#domains) {
      const path = `/v1/domains/${domain}`
      const response = await fetch(`${url}${path}`)
      const view = (await response.json()) as View
      const state: DomainState =
        response.status === 404
          ? null
          : {
              versions: view.versions.map(({ version }) => version),
              active: view.version,
              pinned: view.pinned,
            }
      const before = this.#ledger.state(domain)
      const verdict = this.#ledger.found(domain, state)
      this.counts.checks++
      if (verdict === 'done unacknowledged') this.counts.openDone++
      if (verdict === 'wrong')
        this.violations.push(
          `${domain} is ${JSON.stringify(state)}, acknowledged was ${JSON.stringify(before)}`,
        )
      for (const version of state?.versions ?? []) {
        const pack = await fetch(`${url}${path}/pack?version=${version}`)
        const sum = createHash('sha256')
          .update(Buffer.from(await pack.arrayBuffer()))
          .digest('hex')
        if (sum !== version)
          this.violations.push(`${domain}: the bytes of version ${version} are not its own`)
      }
      if (state?.active) await this.#ask(url, domain, state.active)
    }
  }

  async #ask(url: string, domain: string, version: string): Promise<void> {
    const wire = {
      method: 'POST',
      path: `/v1/domains/${domain}/predict`,
      type: 'image/png',
      body: this.#image,
    }
    const { status, text } = await send(this.#agent, url, wire)
    if (status !== 200 || !text.includes(`"version":"${version}"`))
      this.violations.push(`${domain} does not answer with ${version}: HTTP ${status}: ${text.slice(0, 200)}`)
  }
}

function show({ kills, acknowledged }: Kills['counts'], of: number): void {
  if (process.stderr.isTTY)
    process.stderr.write(`\r${kills} of ${of} kills, ${acknowledged} changes acknowledged `)
}

function natural(name: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  console.error(`--${name} must be a whole number from 0, not "${text}"`)
  process.exit(2)
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '100' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    },
  })
  const [wanted, seed] = [natural('kills', values.kills), natural('seed', values.seed)]
  const adapters = packageFile('adapters/resnet26-half')
  const pack = (await readdir(adapters)).find((name) => name.endsWith('.safetensors'))!
  const raw = { width: 64, height: 64, channels: 3 } as const
  const next = random(seed)
  const image = await sharp(
    Uint8Array.from({ length: 64 * 64 * 3 }, () => next() * 256),
    { raw },
  )
    .png()
    .toBuffer()
  const dir = await mkdtemp(join(tmpdir(), 'facet-kills-'))
  const start = performance.now()
  try {
    const kills = new Kills(join(dir, 'data'), await readFile(join(adapters, pack)), image, seed)
    await kills.run(wanted)
    const { problems } = await verifyStore(join(dir, 'data'))
    for (const { subject, message } of problems) kills.violations.push(`store: ${subject}: ${message}`)
    const { counts, violations } = kills
    const seconds = Math.round((performance.now() - start) / 1000)
    if (process.stderr.isTTY) process.stderr.write('\n')
    for (const violation of violations.slice(0, 20)) console.error(`violated: ${violation}`)
    console.log(
      `${counts.kills} kills, ${counts.atStart} of them while starting; ${counts.acknowledged} changes acknowledged; ` +
        `${counts.open} under way when killed, ${counts.openDone} of them done; ` +
        `${violations.length} violations, seed ${seed}, ${seconds} s`,
    )
    console.log(
      JSON.stringify({
        kills: { ...counts, violations: violations.length, seed, seconds, machine: machine() },
      }),
    )
    process.exitCode = violations.length > 0 ? 1 : 0
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

await main()
