/**
 * The wall clock of the whole service jumps by years, both ways; waits, deadlines and orders are not
 * affected.
 */
import t from 'tap'
import { systemClock } from '../src/concurrency/clock.js'
import { Fault } from './faulty-worker-control.mjs'
import { packBytes, pngImage, post, predict, put, runService } from './service-rig.js'
import { until } from './until.js'

const YEAR = 365 * 24 * 3600 * 1000

/** Added to the time of day wherever it is read, ms. */
let jump = 0
const RealDate = Date
class JumpingDate extends RealDate {
  constructor(...parts: [] | [number | string]) {
    if (parts.length === 0) super(RealDate.now() + jump)
    else super(parts[0])
  }

  static override now(): number {
    return RealDate.now() + jump
  }
}
globalThis.Date = JumpingDate as DateConstructor
t.teardown(() => {
  globalThis.Date = RealDate
})

const image = await pngImage(1)
const flags = ['--keep-versions', '2', '--min-residency', '0ms']
const clock = { ...systemClock, date: () => new Date() }
const { service, url, control, data } = await runService(t, flags, { clock })
await put(url, 'shop', packBytes(1, 'one'))
await predict(url, 'shop', image)

for (const [way, by] of [
  ['forwards', 3 * YEAR],
  ['backwards', -6 * YEAR],
] as const) {
  t.test(`${way}: requests in flight are answered, and deadlines fall due`, async (t) => {
    control.nextRun(Fault.waits)
    const held = post(url, '/v1/domains/shop/predict', image)
    await control.inRun()
    const waiting = post(url, '/v1/domains/base/predict', image)
    await until(() => service.runtimes[0].scheduler.length > 0)
    jump += by
    const short = await fetch(`${url}/v1/domains/shop/predict`, {
      method: 'POST',
      headers: { 'content-type': 'image/png', 'x-request-timeout': '30' },
      body: image,
    })
    t.match(await short.json(), { status: 504, code: 'deadline_exceeded' }, 'while the run is held')
    control.release()
    t.equal((await held).status, 200)
    t.equal((await waiting).status, 200, 'its deadline of 10 s has not come')
    t.equal((await post(url, '/v1/domains/eurosat/predict', image)).status, 200, 'a cold domain loads')
    t.equal((await fetch(`${url}/readyz`)).status, 200)
  })
}

t.test('versions go in the order of their registration, not of their dates', async (t) => {
  const labels = async (at: string) => (await predict(at, 'shop', image)).predictions[0]!.label
  jump = 0
  await put(url, 'shop', packBytes(2, 'two'))
  jump = -10 * YEAR
  await put(url, 'shop', packBytes(3, 'three'))
  const { versions } = (await (await fetch(`${url}/v1/domains/shop`)).json()) as {
    versions: { version: string; created: string }[]
  }
  t.equal(versions.length, 2)
  t.ok(versions[0]!.created > versions[1]!.created, 'the newer one has the older date')
  t.match(await labels(url), /^three-/)
  t.equal((await predict(url, 'shop', image, `?version=${versions[0]!.version}`)).predictions.length, 5)
  await service.stop()
  jump = 20 * YEAR
  const { url: there } = await runService(t, ['--data', data, ...flags], { clock })
  t.match(await labels(there), /^three-/, 'after a restart too')
  await put(there, 'shop', packBytes(4, 'four'))
  const after = (await (await fetch(`${there}/v1/domains/shop`)).json()) as typeof t & {
    versions: { version: string }[]
  }
  t.match(after.versions, [{ version: versions[1]!.version }, {}])
})
