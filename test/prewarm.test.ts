/** `--prewarm`: which adapters are in the bank before the first request, and what stands in the way of none. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { metric, packBytes, pngImage, predict, put, runService } from './service-rig.js'

const image = await pngImage(3)

/** Starts a service on the data folder. `resident`: domains in the bank, the base not counted, before any request. */
async function start(t: Test, data: string, prewarm: string, own: string[] = []) {
  const lines: Record<string, unknown>[] = []
  const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const flags = ['--data', data, '--prewarm', prewarm, ...own]
  const { url, service } = await runService(t, flags, { logger })
  const { domains } = (await (await fetch(`${url}/v1/domains?limit=100`)).json()) as {
    domains: { domain: string; residency: string }[]
  }
  const resident = domains
    .filter(({ domain, residency }) => domain !== 'base' && residency === 'resident')
    .map(({ domain }) => domain)
  const told = (message: string) => lines.filter(({ msg }) => msg === message)
  return { url, service, resident, told }
}

t.test('those of a list; what cannot be loaded is told and ends nothing', async (t) => {
  const { resident, told, url } = await start(t, t.testdir(), 'sketch,nobody,eurosat')
  t.same(resident, ['eurosat', 'sketch'])
  t.match(told('not prewarmed'), [{ domain: 'nobody', reason: /no domain/ }])
  t.match(told('prewarmed'), [{ domains: 2 }])
  await predict(url, 'sketch', image)
  t.equal(await metric(url, 'facet_adapter_evictions_total'), 0)
})

t.test(
  'those of the last time, in the order in which they were asked for; what was deleted is passed by',
  async (t) => {
    const data = t.testdir()
    const first = await start(t, data, 'last')
    t.same(
      [first.resident, first.told('not prewarmed'), first.told('prewarmed')],
      [[], [], []],
      'nothing yet',
    )
    await put(first.url, 'shop', packBytes(1, 'shop'))
    await put(first.url, 'gone', packBytes(2, 'gone'))
    for (const domain of ['gone', 'shop', 'eurosat']) await predict(first.url, domain, image)
    await first.service.stop()
    const file = join(data, 'resident.json')
    t.same(JSON.parse(readFileSync(file, 'utf8')), ['eurosat', 'shop', 'gone'])

    const second = await start(t, data, 'last')
    t.same(second.resident, ['eurosat', 'gone', 'shop'])
    await fetch(`${second.url}/v1/domains/gone`, { method: 'DELETE' })
    await second.service.stop()
    t.same(JSON.parse(readFileSync(file, 'utf8')), ['eurosat', 'shop'], 'the order is kept through the start')

    writeFileSync(file, JSON.stringify(['eurosat', 'gone', '../../etc', 7, 'shop']))
    const third = await start(t, data, 'last')
    t.same(third.resident, ['eurosat', 'shop'])
    t.same(third.told('not prewarmed'), [])
    await third.service.stop()

    writeFileSync(file, '{"torn')
    const fourth = await start(t, data, 'last')
    t.same(fourth.resident, [])
    t.match(fourth.told('not prewarmed'), [{ file, reason: /JSON/ }])
  },
)

t.test('where they do not all fit, the most important ones are there', async (t) => {
  const flags = ['--bank-memory', '3MB', '--min-residency', '0ms']
  const { resident, url } = await start(t, t.testdir(), 'eurosat,sketch,gtsrb,aircraft,dtd10', flags)
  t.ok(resident.includes('eurosat') && resident.includes('sketch'), resident.join())
  t.ok(resident.length < 5)
  await predict(url, 'eurosat', image)
})
