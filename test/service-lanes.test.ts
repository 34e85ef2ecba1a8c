/** The whole service with two lanes: a fault of one of them, and what the other does meanwhile. */
import t from 'tap'
import type { Clock } from '../src/concurrency/clock.js'
import { systemClock } from '../src/concurrency/clock.js'
import { Fault } from './faulty-worker-control.mjs'
import { runtime } from './engine-rig.js'
import { packBytes, pngImage, post, predict, put, runService } from './service-rig.js'
import { until } from './until.js'

/** A real clock that a test can move ahead: timers that fall due are called at once. */
class LeapingClock implements Clock {
  #skew = 0
  readonly #timers = new Set<{ at: number; fire: () => void }>()

  now(): number {
    return systemClock.now() + this.#skew
  }

  date(): Date {
    return systemClock.date()
  }

  after(ms: number, callback: () => void): () => void {
    const cancel = () => {
      stop()
      this.#timers.delete(timer)
    }
    const fire = () => {
      cancel()
      callback()
    }
    const timer = { at: this.now() + ms, fire }
    const stop = systemClock.after(ms, fire)
    this.#timers.add(timer)
    return cancel
  }

  leap(ms: number): void {
    this.#skew += ms
    for (const { at, fire } of [...this.#timers]) if (at <= this.now()) fire()
  }
}

const image = await pngImage(1)
const clock = new LeapingClock()
const patient = ['--request-timeout', '1h', '--max-request-timeout', '2h', '--load-timeout', '30m']
const { service, url, control } = await runService(
  t,
  // Memory for the base and four more.
  [
    ...['--lanes', '2', '--max-batch', '1', '--bank-memory', '2200KiB', '--min-residency', '0ms'],
    ...['--max-uploads', '8', ...patient],
  ],
  { clock },
)
await service.runtimes[0].engine.allLanesReady()
for (const [index, domain] of ['shop', 'bakery'].entries()) await put(url, domain, packBytes(index, domain))

const ask = (domain: string) => post(url, `/v1/domains/${domain}/predict`, image)
const status = async (answer: Promise<Response>) => (await answer).status
const ready = () => fetch(`${url}/readyz`)

/** Puts `fault` into the run of one lane. The other lane is free. */
async function inRun(fault: Fault, domain = 'shop'): Promise<{ answer: Promise<Response> }> {
  control.nextRun(fault)
  const answer = ask(domain)
  await control.inRun()
  return { answer }
}

t.test('a lane that hangs is not ready, though the other one answers (pain 15)', async (t) => {
  t.equal(await status(ready()), 200)
  const held = await inRun(Fault.waits)
  // Longer than a readiness proof is valid.
  clock.leap(60_000)
  const { runs } = control
  const asked = ready()
  await until(() => control.runs > runs)
  for (const domain of ['shop', 'bakery', 'base']) t.equal(await status(ask(domain)), 200, domain)
  clock.leap(3_600_000)
  const answer = await asked
  t.equal(answer.status, 503)
  t.match(await answer.json(), { code: 'engine_restarting', detail: 'A lane of the engine does not answer.' })
  t.equal(await status(ready()), 503, 'told at once from then on')
  t.equal(await status(fetch(`${url}/livez`)), 200)
  const late = await held.answer
  t.equal(late.status, 504, 'its own deadline has passed too')
  t.match(await late.json(), { code: 'deadline_exceeded' })
  control.release()
  await until(async () => (await status(ready())) === 200)
  t.pass('ready again once it has answered')
})

t.test('a run that throws in one lane fails alone; the run of the other lane is answered', async (t) => {
  const held = await inRun(Fault.waits)
  control.addFault(Fault.throws)
  t.equal(await status(ask('bakery')), 500)
  t.equal(await status(ask('bakery')), 200, 'the lane goes on')
  control.release()
  t.equal(await status(held.answer), 200)
})

t.test('a pack that is registered while a lane runs gets no row of that run', async (t) => {
  const alone = await predict(url, 'shop', image)
  const held = await inRun(Fault.waits)
  // More domains than rows, so that every row that may be given away is. On the stock runtime their loads wait
  // for the lane; requests of resident domains do not.
  const names = Array.from({ length: 7 }, (_, index) => `other-${index}`)
  const registered = [put(url, 'shop', packBytes(9, 'new'))]
  for (const [index, name] of names.entries()) registered.push(put(url, name, packBytes(20 + index, name)))
  for (let turn = 0; turn < 5; turn++) t.equal(await status(ask('base')), 200)
  if (runtime === 'stock') t.equal(service.registry.get('shop').version, alone.version, 'not replaced yet')
  control.release()
  t.match(await (await held.answer).json(), { results: [alone] }, 'by the pack it was admitted with')
  for (const answer of registered) t.ok((await answer).ok)
  t.match(await predict(url, 'shop', image), { predictions: [{ label: /^new-/ }] })
  for (const name of names)
    t.match(await predict(url, name, image), { predictions: [{ label: new RegExp(`^${name}-`) }] })
})

const loadsWait = { skip: runtime === 'native' && 'native rows wait for no lane' }
t.test(
  'while a lane hangs a cold domain and a new pack are given up after --load-timeout',
  loadsWait,
  async (t) => {
    const { domains } = service.registry.list({ limit: 100 })
    const cold = domains.find(({ residency }) => residency !== 'resident')!.domain
    const held = await inRun(Fault.waits)
    const answer = ask(cold)
    const registered = put(url, 'late', packBytes(40, 'late'))
    t.equal(await status(ask('base')), 200, 'who is resident is answered')
    clock.leap(31 * 60_000)
    const refused = await answer
    t.equal(refused.status, 503)
    t.match(await refused.json(), { code: 'load_timeout' })
    t.ok(Number(refused.headers.get('retry-after')) >= 1)
    let ended = false
    void registered.finally(() => {
      ended = true
    })
    // The service reads and hashes the bytes first, which takes some time.
    await until(() => {
      clock.leap(31 * 60_000)
      return ended
    })
    t.equal(await status(registered), 503)
    t.equal(await status(ask('late')), 404, 'and has changed nothing')
    control.release()
    await held.answer
    t.equal(await status(ask(cold)), 200)
  },
)

const loadsGoOn = { skip: runtime === 'stock' && 'rows of the stock runtime wait for every lane' }
t.test('while a lane hangs a cold domain and a new pack are served by the other', loadsGoOn, async (t) => {
  const { domains } = service.registry.list({ limit: 100 })
  const cold = domains.find(({ residency }) => residency !== 'resident')!.domain
  const held = await inRun(Fault.waits)
  t.equal(await status(ask(cold)), 200)
  t.equal(await status(put(url, 'late', packBytes(40, 'late'))), 201)
  t.match(await predict(url, 'late', image), { predictions: [{ label: /^late-/ }] })
  control.release()
  t.equal(await status(held.answer), 200)
})

t.test('a lane that dies takes no answer of the other with it; both are back, and all domains', async (t) => {
  const before = [await predict(url, 'shop', image), await predict(url, 'bakery', image)]
  const held = await inRun(Fault.waits)
  const down = new Promise((resolve) => service.runtimes[0].engine.once('down', resolve))
  const up = new Promise((resolve) => service.runtimes[0].engine.once('up', resolve))
  control.addFault(Fault.exits)
  const lost = await ask('bakery')
  t.equal(lost.status, 503)
  t.equal(lost.headers.get('retry-after'), '1')
  await down
  t.equal(await status(ready()), 503)
  control.release()
  t.equal(await status(held.answer), 200)
  await up
  await service.runtimes[0].engine.allLanesReady()
  t.equal(service.runtimes[0].engine.readyLanes, 2)
  t.equal(await status(ready()), 200)
  // More requests at once than one lane takes.
  const after = await Promise.all(['shop', 'bakery', 'shop', 'bakery'].map((d) => predict(url, d, image)))
  t.same(after, [...before, ...before])
})
