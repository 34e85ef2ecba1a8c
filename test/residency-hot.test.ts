/**
 * Domains in use stay resident while many clients ask for many more domains than there are rows, in simulated time;
 * and none of those is kept out for ever.
 */
import t from 'tap'
import { SharedBudget } from '../src/concurrency/shared-budget.js'
import { type Resident, Rows } from '../src/residency/rows.js'
import { ManualClock, settle } from './manual-clock.js'
import { Random } from './random.js'

const STEP_MS = 40
/** The default of --min-residency. */
const MIN_RESIDENCY_MS = 2_000
const LOAD_TIMEOUT_MS = 5_000
const LOAD_MS = 20
const RUN_MS = 20
const about = {
  classes: 1,
  adapter: 'whole',
  halfHead: false,
  labels: null,
  activation: 'softmax',
  design: 'bn',
} as const

interface Client {
  requests: number
  /** Of these, requests that gave up. */
  failed: number
  /** Times of the requests that found their version cold, ms. */
  waits: number[]
}

interface Load {
  /** Ends the wait for a row; null while the load does not wait for one. */
  claim: AbortController | null
  readonly waiting: Set<(resident: Resident | undefined) => void>
}

/** A bank on a clock, with loads as the residency does them: a row first, then the pack; one load a version. */
class Bank {
  readonly clock = new ManualClock()
  readonly #rows: Rows
  readonly #loads = new Map<string, Load>()
  #running = 0
  over = false

  constructor(rows: number) {
    this.#rows = new Rows({
      capacity: rows,
      budget: new SharedBudget(Number.POSITIVE_INFINITY),
      bytes: () => 1,
      base: { version: 'base', about },
      clock: this.clock,
      minResidencyMs: MIN_RESIDENCY_MS,
      standing: () => 'active',
      evicted: () => {},
      cleared: () => {},
    })
  }

  resident(version: string): boolean {
    return this.#rows.find(version) !== undefined
  }

  /** One request: a lease, a run, the end of the lease. */
  async request(version: string, principal: string, client: Client, patienceMs = LOAD_TIMEOUT_MS) {
    client.requests++
    let resident = this.#rows.use(version, principal)
    if (resident === undefined) {
      client.waits.push(this.clock.now())
      resident = await this.#load(version, principal, patienceMs)
    }
    if (resident === undefined) {
      client.failed++
      return
    }
    await this.after(RUN_MS)
    this.#rows.release(resident)
  }

  after(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.after(ms, resolve))
  }

  async #load(version: string, principal: string, patienceMs: number): Promise<Resident | undefined> {
    let load = this.#loads.get(version)
    if (load === undefined) {
      load = { claim: new AbortController(), waiting: new Set() }
      this.#loads.set(version, load)
      void this.#bring(version, principal, load)
    } else if (load.claim !== null) this.#rows.join(version, principal)
    const { claim, waiting } = load
    return new Promise((resolve) => {
      const answer = (resident: Resident | undefined) => {
        cancel()
        waiting.delete(answer)
        resolve(resident)
      }
      const cancel = this.clock.after(patienceMs, () => {
        answer(undefined)
        if (waiting.size === 0) claim?.abort()
      })
      waiting.add(answer)
    })
  }

  async #bring(version: string, principal: string, load: Load): Promise<void> {
    const reservation = await this.#rows.reserve({ version, extent: about, principal }, load.claim!.signal)
    load.claim = null
    if (reservation !== null) await this.after(LOAD_MS)
    this.#loads.delete(version)
    if (reservation === null) return
    const resident = this.#rows.fill(reservation, version, about)
    for (const resolve of load.waiting) {
      resident.references++
      resolve(resident)
    }
    this.#rows.release(resident)
  }

  /** Starts a client that goes on until the end. */
  client(next: (client: Client) => Promise<unknown>): Client {
    const client: Client = { requests: 0, failed: 0, waits: [] }
    const go = async () => {
      this.#running++
      while (!this.over) await next(client)
      this.#running--
    }
    void go()
    return client
  }

  async run(ms: number): Promise<void> {
    const step = async () => {
      await settle()
      this.clock.advance(STEP_MS)
    }
    for (const end = this.clock.now() + ms; this.clock.now() < end; ) await step()
  }

  async end(): Promise<void> {
    this.over = true
    while (this.#running > 0) await this.run(STEP_MS)
  }
}

/** Sends once a second, a little irregularly. */
function steady(bank: Bank, version: string, random: Random, principal = version): Client {
  return bank.client(async (client) => {
    const [pause] = [800 + 400 * random.next()]
    await Promise.all([bank.request(version, principal, client), bank.after(pause)])
  })
}

interface Crowd {
  clients: number
  domains: number
  patienceMs?: number
  principal?: (client: number) => string
}

function crowd(bank: Bank, random: Random, { clients, domains, patienceMs, principal }: Crowd): Client[] {
  return Array.from({ length: clients }, (_, n) =>
    bank.client(async (client) => {
      const version = `cold-${random.below(domains)}`
      await bank.request(version, principal?.(n) ?? `client-${n}`, client, patienceMs)
      await bank.after(1)
    }),
  )
}

const sum = (clients: Client[], key: 'requests' | 'failed') => clients.reduce((all, own) => all + own[key], 0)
const requests = (clients: Client[]) => sum(clients, 'requests') - sum(clients, 'failed')

const crowds: [name: string, crowd: Partial<Crowd>, minAnswered: number][] = [
  ['500 clients', {}, 200],
  ['500 clients of one principal', { principal: () => 'crowd' }, 200],
  ['500 impatient clients', { patienceMs: 2_000 }, 200],
  ['20 clients', { clients: 20 }, 200],
]

for (const [name, more, minAnswered] of crowds) {
  t.test(`room for 20, and ${name} ask for 500 domains: domains asked for once a second stay`, async (t) => {
    for (const seed of [1]) {
      const bank = new Bank(21)
      const random = new Random(seed)
      const clients = Array.from({ length: 3 }, (_, n) => steady(bank, `early-${n}`, random))
      await bank.run(200)
      const others = crowd(bank, random, { clients: 500, domains: 500, ...more })
      await bank.run(10_000)
      if (more.principal || more.clients)
        clients.push(steady(bank, 'late', random), steady(bank, 'later', random))
      await bank.run(20_000)
      await bank.end()
      for (const client of clients) {
        t.ok(client.requests >= 17)
        t.equal(client.waits.length, 1, `it waited at ${client.waits}`)
        t.equal(client.failed, 0)
      }
      t.ok(requests(others) > minAnswered, `${requests(others)} cold requests were answered`)
    }
  })
}

t.test('a cold domain gets in although all that are resident are in use', async (t) => {
  const bank = new Bank(5)
  const random = new Random(5)
  const hot = [0, 1, 2, 3].map((n) => steady(bank, `hot-${n}`, random))
  await bank.run(10_000)
  const cold = bank.client(async (client) => {
    await bank.request('cold', 'cold', client)
    await bank.after(15_000)
  })
  await bank.run(60_000)
  await bank.end()
  t.ok(cold.requests >= 4)
  t.equal(cold.failed + sum(hot, 'failed'), 0)
  const reloads = hot.reduce((all, { waits }) => all + waits.length - 1, 0)
  t.ok(
    reloads <= 4 * cold.requests,
    `${reloads} loads of the hot domains for ${cold.requests} of the cold one`,
  )
})

t.test('one principal with many domains in use pushes out its own, not those of another', async (t) => {
  const bank = new Bank(9)
  const random = new Random(6)
  const others = steady(bank, 'other', random, 'quiet')
  await bank.run(1_000)
  const many = Array.from({ length: 16 }, (_, n) => steady(bank, `many-${n}`, random, 'many'))
  await bank.run(60_000)
  await bank.end()
  t.equal(others.waits.length, 1, `it waited at ${others.waits}`)
  t.ok(Math.min(...many.map((own) => own.requests - own.failed)) > 0, 'each of them was answered')
})
