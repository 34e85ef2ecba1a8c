/**
 * One domain floods at a hundred times the rate of another, in simulated time: what the quiet one waits is
 * counted in batch runs, so that the machine's speed does not matter.
 */
import t from 'tap'
import { Admission } from '../src/predict/admission.js'
import { Scheduler } from '../src/scheduler/scheduler.js'
import { ManualClock, settle } from './manual-clock.js'
import { Random } from './random.js'

const RUN_MS = 10
const MAX_BATCH = 8
/** The quiet domain sends one image in the time in which the engine could run so many. */
const QUIET_EVERY = 32
const STEP_MS = 2
const ROUNDS = 150

interface Outcome {
  /** Times from submission to answer, in batch runs, sorted. */
  runs: number[]
  quietRefused: number
  floodRefused: number
  floodAnswered: number
}

interface Traffic {
  /** Images of the flood for each of the quiet domain. */
  flood: number
  domains?: number
  lanes?: number
  maxBatch?: number
  /** Run time by batch size, which the scheduler knows. By default every run takes RUN_MS. */
  runMs?: (size: number) => number
  /** A domain has a principal of its own unless told. */
  principalOf?: (domain: string) => string
  /** Every domain runs faster by itself. */
  apart?: boolean
}

/** A CPU: a run has little cost beside its images. */
const cpu = (size: number) => (RUN_MS * (0.4 + size)) / (0.4 + MAX_BATCH)

async function simulate({
  flood,
  domains = 1,
  lanes = 1,
  maxBatch = MAX_BATCH,
  runMs,
  principalOf = (domain) => domain,
  apart = false,
}: Traffic): Promise<Outcome> {
  const clock = new ManualClock()
  const scheduler = new Scheduler<string, string>({
    run: (batch) =>
      new Promise((resolve) => clock.after(runMs?.(batch.length) ?? RUN_MS, () => resolve(batch))),
    ...(runMs && { runMs }),
    ...(apart && { apart: (domain) => domain }),
    clock,
    lanes: () => lanes,
    maxBatch: () => maxBatch,
  })
  const admission = new Admission({ maxImages: 1024, maxImagesOfDomain: 256, maxBytes: Infinity })
  const image = new Uint8Array(0)
  /** Admits, runs and leaves, as the predictor does. */
  const submit = async (domain: string) => {
    const principal = principalOf(domain)
    admission.check([{ domain, image }], principal)
    admission.enter([{ domain, image }], principal)
    await scheduler.submit(domain, domain, { principal }).finally(() => admission.leave(domain, 0, principal))
  }
  const quietEveryMs = (QUIET_EVERY * RUN_MS) / (lanes * maxBatch)
  const random = new Random(7)
  const outcome: Outcome = { runs: [], quietRefused: 0, floodRefused: 0, floodAnswered: 0 }
  const answers: Promise<void>[] = []
  const quiet = () => {
    const since = clock.now()
    const answer = submit('quiet').then(
      () => void outcome.runs.push((clock.now() - since) / RUN_MS),
      () => void outcome.quietRefused++,
    )
    answers.push(answer)
  }
  const noisy = (domain: number) => {
    const answer = submit(`flood-${domain}`).then(
      () => void outcome.floodAnswered++,
      () => void outcome.floodRefused++,
    )
    answers.push(answer)
  }
  // Random arrivals, so that they are not in step with the runs.
  let sent = 0
  while (sent < ROUNDS) {
    if (random.next() < STEP_MS / quietEveryMs) {
      quiet()
      sent++
    }
    for (let domain = 0; domain < domains; domain++) {
      const mean = (flood * STEP_MS) / quietEveryMs / domains
      for (let count = Math.floor(mean + random.next()); count > 0; count--) noisy(domain)
    }
    clock.advance(STEP_MS)
    await settle()
  }
  while (scheduler.busy) {
    clock.advance(RUN_MS)
    await settle()
  }
  await Promise.all(answers)
  outcome.runs.sort((a, b) => a - b)
  return outcome
}

const quantile = ({ runs }: Outcome, share: number) => runs[Math.ceil(share * runs.length) - 1]!
const p99 = (outcome: Outcome) => quantile(outcome, 0.99)

t.test('a domain that floods at 100x costs a quiet one at most two batch runs', async (t) => {
  const idle = await simulate({ flood: 0 })
  const loaded = await simulate({ flood: 100 })
  t.equal(idle.quietRefused + loaded.quietRefused, 0, 'the quiet one is never refused')
  t.equal(loaded.runs.length, ROUNDS)
  t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
  t.ok(loaded.runs.at(-1)! <= 3, `none waits longer than ${loaded.runs.at(-1)} runs`)
  t.ok(loaded.floodRefused > 0, 'the flood is more than the engine can run')
  t.ok(loaded.floodAnswered > 25 * ROUNDS, 'and gets all that is left')
})

t.test('the flood may come from several domains, as many as share a batch with the quiet one', async (t) => {
  const idle = await simulate({ flood: 0 })
  const loaded = await simulate({ flood: 100, domains: MAX_BATCH - 1 })
  t.equal(loaded.quietRefused, 0, 'the queue keeps room for it')
  t.ok(loaded.floodRefused > 0)
  t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
})

t.test('where a small batch is short, the quiet one waits for one run, and its own is small', async (t) => {
  for (const lanes of [1, 2]) {
    const idle = await simulate({ flood: 0, lanes, runMs: cpu })
    const loaded = await simulate({ flood: 100, lanes, runMs: cpu })
    t.equal(loaded.quietRefused, 0)
    t.ok(loaded.floodRefused > 0)
    t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
    // Beyond the p95 are images of which a third arrived in the same run; it shares the next full batch.
    const most = quantile(loaded, 0.95)
    t.ok(most <= 1 + p99(idle), `p95 ${most} runs`)
  }
})

t.test(
  'where a small batch is short, floods of more domains than share a batch cost the quiet one at most two runs',
  async (t) => {
    const idle = await simulate({ flood: 0, runMs: cpu })
    const loaded = await simulate({ flood: 100, domains: 12, runMs: cpu })
    t.equal(loaded.quietRefused, 0)
    t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
  },
)

t.test('a principal that floods from 200 domains costs another at most two runs', async (t) => {
  for (const runMs of [cpu, undefined]) {
    const principalOf = (domain: string) => (domain === 'quiet' ? domain : 'flood')
    const idle = await simulate({ flood: 0, ...(runMs && { runMs }) })
    const loaded = await simulate({ flood: 100, domains: 200, principalOf, ...(runMs && { runMs }) })
    t.equal(loaded.quietRefused, 0)
    t.ok(loaded.floodRefused > 0)
    t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
  }
})

t.test('domains of one principal that floods share as they do where each has its own', async (t) => {
  const principalOf = () => 'all'
  const idle = await simulate({ flood: 0, principalOf })
  const loaded = await simulate({ flood: 100, principalOf })
  t.equal(loaded.quietRefused, 0)
  t.ok(loaded.floodRefused > 0)
  t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
})

t.test('where domains run in batches of their own, a flood costs a quiet one at most two runs', async (t) => {
  const one = (domain: string) => (domain === 'quiet' ? domain : 'flood')
  for (const [what, traffic] of Object.entries({
    'one flood': {},
    'two lanes': { lanes: 2 },
    'more floods than share a batch': { domains: 12 },
    'a principal that floods from 200 domains': { domains: 200, principalOf: one },
    'one principal': { domains: 12, principalOf: () => 'all' },
  })) {
    const idle = await simulate({ flood: 0, runMs: cpu, apart: true, ...traffic })
    const loaded = await simulate({ flood: 100, runMs: cpu, apart: true, ...traffic })
    t.equal(loaded.quietRefused, 0, what)
    t.ok(loaded.floodRefused > 0, what)
    t.ok(p99(loaded) <= p99(idle) + 2, `${what}: p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
  }
})

t.test('many quiet domains do not keep the flood from its turn', async (t) => {
  const clock = new ManualClock()
  const runs: string[][] = []
  const scheduler = new Scheduler<string, string>({
    run: (batch) => {
      runs.push(batch)
      return new Promise((resolve) => clock.after(cpu(batch.length), () => resolve(batch)))
    },
    runMs: cpu,
    clock,
    lanes: () => 1,
    maxBatch: () => MAX_BATCH,
  })
  let over = false
  const client = async (domain: string) => {
    while (!over) await scheduler.submit(domain, domain)
  }
  // More than a small batch holds: some of them always wait.
  const clients = [0, 1, 2, 3, 4, 5].map((quiet) => client(`quiet-${quiet}`))
  for (let i = 0; i < 40; i++) clients.push(client('flood'))
  while (runs.length < 200) {
    await settle()
    clock.advance(1)
  }
  over = true
  while (scheduler.busy) {
    await settle()
    clock.advance(1)
  }
  await Promise.all(clients)
  const images = runs.flat()
  const flood = images.filter((domain) => domain === 'flood').length
  t.ok(flood >= images.length / 3, `${flood} of ${images.length} are the flood's`)
  const small = runs.slice(2, 200).filter((batch) => batch.length < MAX_BATCH)
  t.ok(small.length > 50, 'the quiet ones have small batches')
  t.ok(small.every((batch) => !batch.includes('flood')))
})

for (const [lanes, maxBatch] of [
  [1, 2],
  [2, 1],
] as const) {
  t.test(`${lanes} lanes and batches of ${maxBatch}: the same`, async (t) => {
    const idle = await simulate({ flood: 0, lanes, maxBatch })
    const loaded = await simulate({ flood: 100, lanes, maxBatch })
    t.equal(loaded.quietRefused, 0)
    t.ok(p99(loaded) <= p99(idle) + 2, `p99 ${p99(loaded)} runs, ${p99(idle)} without the flood`)
  })
}

/**
 * Clients that send the next image of a random domain when they are answered.
 * @returns p99 over p50 of the answers' times
 */
async function unevenness(of: { domains: number; clients: number; maxBatch: number }): Promise<number> {
  const clock = new ManualClock()
  const random = new Random(3)
  const scheduler = new Scheduler<string, string>({
    run: (batch) => new Promise((resolve) => clock.after(cpu(batch.length), () => resolve(batch))),
    runMs: cpu,
    clock,
    lanes: () => 2,
    maxBatch: () => of.maxBatch,
  })
  const times: number[] = []
  let sent = 0
  const client = async () => {
    while (sent++ < 4000) {
      const since = clock.now()
      // Until it is decoded.
      await new Promise<void>((resolve) => clock.after(random.next(), resolve))
      await scheduler.submit(`d${Math.floor(random.next() * of.domains)}`, 'x')
      times.push(clock.now() - since)
    }
  }
  const clients = Promise.all(Array.from({ length: of.clients }, client))
  while (times.length < 4000) {
    await settle()
    clock.advance(0.25)
  }
  await clients
  times.sort((a, b) => a - b)
  const [p50, p99] = [0.5, 0.99].map((share) => times[Math.floor(share * times.length)]!)
  return p99! / p50!
}

for (const domains of [3, 10, 50])
  for (const maxBatch of [1, 2, 4, 8])
    t.test(
      `32 clients of ${domains} random domains are answered evenly, in batches of ${maxBatch}`,
      async (t) => {
        const ratio = await unevenness({ clients: 32, domains, maxBatch })
        t.ok(ratio <= 1.3, `p99 is ${ratio.toFixed(2)} times the median`)
      },
    )

t.test('and so are eight clients', async (t) => {
  const ratio = await unevenness({ clients: 8, domains: 50, maxBatch: 1 })
  t.ok(ratio <= 1.3, `p99 is ${ratio.toFixed(2)} times the median`)
})
