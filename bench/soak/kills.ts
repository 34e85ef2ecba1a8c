/**
 * `npm run kills -- [--kills N] [--seed S]`: kills the real service (SIGKILL) again and again on one data
 * folder: at each file operation of an upload in turn, and at random times while it starts and while clients
 * register, activate, pin and delete through HTTP.
 *
 * After each restart every acknowledged change must be there, and each unacknowledged one wholly or not at
 * all. The bytes of every version must have its hash, and every active version must answer. Otherwise it ends
 * with 1.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { packageFile } from '../../src/host/package.js'
import { verifyStore } from '../../src/store/verify.js'
import { applied, type Change, type DomainState, KillLedger } from './kill-model.js'
import { command, natural, seedOption } from '../command.js'
import { random } from '../random.js'
import { machine } from '../machine.js'
import { type RunningServer, startServer } from '../server.js'
import { NumberedPacks } from './packs.js'
import { send, type Wire } from '../client.js'

const KEEP_VERSIONS = 3
const CLIENTS = 4
const DOMAINS_PER_CLIENT = 2
/** A service under traffic is killed after this time at the latest. */
const MAX_TRAFFIC_MS = 1500
/** What the service is doing when it is killed, in turn. */
const MOMENTS = ['step', 'traffic', 'step', 'start'] as const
/** The service is killed at one of so many file operations; two uploads have fewer. */
const STEPS = 40
/**
 * From one kill to the next the operation moves by this many. It shares no factor with `STEPS`: all have a
 * turn.
 */
const STRIDE = 17
/** Uploads until the service dies. If it has not by then, its uploads make no file operations. */
const MAX_UPLOADS = 20

interface View {
  version: string | null
  pinned: boolean
  versions: { version: string }[]
}

/** A change, its request, and the status that means success. */
interface Sending {
  change: Change
  wire: Wire
  status: number
}

class Kills {
  readonly violations: string[] = []
  readonly counts = { kills: 0, atStart: 0, atStep: 0, acknowledged: 0, open: 0, openDone: 0, checks: 0 }
  /** Number of kills by the file operation at which they came. */
  readonly steps = new Map<string, number>()
  readonly #next: () => number
  readonly #flags: string[]
  readonly #packs: NumberedPacks
  readonly #image: Buffer
  readonly #ledger = new KillLedger()
  readonly #domains = Array.from({ length: CLIENTS * DOMAINS_PER_CLIENT }, (_, index) => `d${index}`)
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
      String(KEEP_VERSIONS),
    ]
  }

  /** Starts, checks, changes and kills, `kills` times, and checks once more. */
  async run(kills: number): Promise<void> {
    // The first service, which is not killed, creates the data folder.
    const first = await this.#start()
    let startMs = first.startMs
    await first.stop()
    for (let kill = 0; kill < kills; kill++) {
      this.counts.kills++
      const moment = MOMENTS[kill % MOMENTS.length]
      if (moment === 'start') {
        await this.#killStart(this.#next() * startMs)
        this.counts.atStart++
        continue
      }
      const step = 1 + ((this.counts.atStep * STRIDE) % STEPS)
      const server = await this.#start(moment === 'step' ? step : undefined)
      startMs = server.startMs
      await this.#check(server.url)
      await (moment === 'step' ? this.#dieAtStep(server, step) : this.#killInTraffic(server))
      this.counts.open += this.#ledger.open
      this.#agent.destroy()
      show(this.counts, kills)
    }
    const server = await this.#start()
    await this.#check(server.url)
    const code = await server.stop()
    if (code !== 0) this.violations.push(`the service ended with ${code}`)
  }

  /** @param step the file operation of its uploads at which it kills itself */
  #start(step?: number): Promise<RunningServer> {
    this.#agent = new Agent({ keepAlive: true })
    if (step === undefined) return startServer(this.#flags)
    const preload = new URL('./mortal-disk.js', import.meta.url).href
    const env = { NODE_OPTIONS: `--import=${preload}`, KILL_AT_STEP: String(step) }
    return startServer(this.#flags, env, ({ stdout }) => {
      stdout!.on('data', (text: Buffer) => {
        const killed = /"killed":"([^"]+)"/.exec(text.toString())?.[1]
        if (killed) this.steps.set(killed, (this.steps.get(killed) ?? 0) + 1)
      })
    })
  }

  /** Uploads one pack after the other until the service dies. */
  async #dieAtStep(server: RunningServer, step: number): Promise<void> {
    this.counts.atStep++
    for (let upload = 0; upload < MAX_UPLOADS; upload++) {
      const domain = this.#domains[upload % this.#domains.length]!
      const kind = this.#next() < 0.5 ? 'put' : 'stage'
      const alive = await this.#send(
        server.url,
        domain,
        this.#upload(domain, this.#ledger.state(domain), kind),
      ).then(
        () => true,
        () => false,
      )
      if (alive) continue
      // The upload failed. Unless the service said that it died at a step, that is a violation.
      await server.kill()
      const died = [...this.steps.values()].reduce((sum, count) => sum + count, 0)
      if (died < this.counts.atStep)
        this.violations.push(`an upload failed without a kill at file operation ${step}`)
      return
    }
    this.violations.push(`${MAX_UPLOADS} uploads had no file operation ${step}`)
    await server.kill()
  }

  async #killStart(afterMs: number): Promise<void> {
    const started = startServer(
      this.#flags,
      {},
      (child) => void setTimeout(() => child.kill('SIGKILL'), afterMs),
    )
    // If the service was faster than the timer, kill it once it listens.
    await started.then(({ kill }) => kill()).catch(() => {})
  }

  async #killInTraffic(server: RunningServer): Promise<void> {
    let dead = false
    const client = async (_: unknown, own: number) => {
      for (let turn = 0; !dead; turn++) {
        const domain = this.#domains[own * DOMAINS_PER_CLIENT + (turn % DOMAINS_PER_CLIENT)]!
        await this.#change(server.url, domain).catch((error: Error) => {
          if (!dead) this.violations.push(`${domain}: ${error.message}`)
          dead = true
        })
      }
    }
    const clients = Promise.all(Array.from({ length: CLIENTS }, client))
    await new Promise((resolve) => setTimeout(resolve, this.#next() ** 2 * MAX_TRAFFIC_MS))
    dead = true
    await server.kill()
    await clients
  }

  /** Sends a random change that the domain's state allows. */
  async #change(url: string, domain: string): Promise<void> {
    await this.#send(url, domain, this.#choose(domain, this.#ledger.state(domain)))
  }

  async #send(url: string, domain: string, { change, wire, status }: Sending): Promise<void> {
    const state = this.#ledger.state(domain)
    this.#ledger.sent(domain, applied(state, change, KEEP_VERSIONS))
    const reply = await send(this.#agent, url, wire)
    if (reply.status !== status) throw new Error(`${change.kind}: HTTP ${reply.status}: ${reply.text}`)
    this.#ledger.acknowledged(domain)
    this.counts.acknowledged++
  }

  #choose(domain: string, state: DomainState): Sending {
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
    return this.#upload(domain, state, share < 0.5 ? 'stage' : 'put')
  }

  #upload(domain: string, state: DomainState, kind: 'stage' | 'put'): Sending {
    const { version, bytes } = this.#packs.copy(this.#copies++)
    const path = `/v1/domains/${domain}${kind === 'stage' ? '?activate=false' : ''}`
    const wire = { method: 'PUT', path, type: 'application/octet-stream', body: bytes }
    return { change: { kind, version }, wire, status: state ? 200 : 201 }
  }

  /**
   * Checks every domain against the ledger, the bytes of every version, and an answer of every active
   * version.
   */
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
          this.violations.push(`${domain}: the bytes of version ${version} have another hash`)
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

async function main(): Promise<void> {
  const { kills: wanted, seed } = command(
    'kills',
    'Kills the real service again and again on one data folder.',
  )
    .option('--kills <n>', 'how often', natural, 100)
    .addOption(seedOption('changes'))
    .parse()
    .opts<{ kills: number; seed: number }>()
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
    const { counts, steps, violations } = kills
    const seconds = Math.round((performance.now() - start) / 1000)
    if (process.stderr.isTTY) process.stderr.write('\n')
    for (const violation of violations.slice(0, 20)) console.error(`violated: ${violation}`)
    console.log(
      `${counts.kills} kills, ${counts.atStart} of them while starting, ${counts.atStep} at a file operation of an upload ` +
        `(${[...steps].map(([step, count]) => `${step} ${count}`).join(', ')}); ${counts.acknowledged} changes acknowledged; ` +
        `${counts.open} under way when killed, ${counts.openDone} of them done; ` +
        `${violations.length} violations, seed ${seed}, ${seconds} s`,
    )
    console.log(
      JSON.stringify({
        kills: {
          ...counts,
          steps: Object.fromEntries(steps),
          violations: violations.length,
          seed,
          seconds,
          machine: machine(),
        },
      }),
    )
    process.exitCode = violations.length > 0 ? 1 : 0
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

await main()
