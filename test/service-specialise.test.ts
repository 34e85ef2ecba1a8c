/** `--specialise-memory`: the domains with the most traffic get dedicated networks, and nobody notices but by the speed. */
import { existsSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { dedicatedNetworkBytes } from '../src/residency/memory.js'
import { loadNative } from '../src/native/addon.js'
import { Control, family, nativeWithFaults } from './engine-rig.js'
import {
  metric,
  metricsOf,
  packBytes,
  type Prediction,
  pngImage,
  predict,
  put,
  runService,
} from './service-rig.js'

const skip = !existsSync(nativeWithFaults) && 'it is not built: npm run native:build -- --faults'
const each = dedicatedNetworkBytes(family.manifest)
const image = await pngImage(7)

async function specialising(t: Test, networks: number, flags: string[] = []) {
  const parts = { native: loadNative(nativeWithFaults, new Control().array) }
  const { url, service } = await runService(
    t,
    ['--specialise-memory', String(networks * each), ...flags],
    parts,
  )
  return { url, service, value: (name: string) => metric(url, name) }
}

/** Asks until `done`. */
async function ask<T>(
  question: () => Promise<T>,
  done: (answer: T) => boolean | Promise<boolean>,
): Promise<T> {
  for (;;) {
    const answer = await question()
    if (await done(answer)) return answer
  }
}

function scores({ predictions }: Prediction): Map<string, number> {
  return new Map(predictions.map(({ label, score }) => [label, score]))
}

t.test('the hottest domain gets one: the same answers, and the signals show it', { skip }, async (t) => {
  const { url, value } = await specialising(t, 1.5)
  t.equal((await put(url, 'shop', packBytes(1, 'shop'))).status, 201)
  const before = await predict(url, 'shop', image, '?top_k=5')
  const cold = await predict(url, 'eurosat', image)
  t.equal(await value('facet_specialised_capacity_bytes'), Math.floor(1.5 * each))
  const network = 'facet_run_images_total{network="dedicated"}'
  await ask(
    () => predict(url, 'shop', image),
    async () => (await value(network)) > 3,
  )
  const after = await predict(url, 'shop', image, '?top_k=5')
  t.equal(after.version, before.version)
  for (const [label, score] of scores(before)) {
    const other = scores(after).get(label)!
    t.ok(Math.abs(other - score) <= 1e-4 * score, `${label}: ${other}, ${score}`)
  }
  const metrics = await metricsOf(url)
  t.match(metrics, 'facet_adapter_loaded{domain="shop",tier="dedicated",pinned="false"} 1')
  t.match(metrics, 'facet_adapter_loaded{domain="eurosat",tier="seed",pinned="false"} 1')
  t.match(metrics, 'facet_specialised_domains 1')
  t.match(metrics, `facet_specialised_bytes ${each}`)
  t.match(metrics, 'facet_specialisations_total{outcome="promoted"} 1')
  const { memory } = (await (await fetch(`${url}/v1/family`)).json()) as {
    memory: { specialised: object; saving: number } & Record<string, number>
  }
  t.same(memory.specialised, { networks: 1, bytes: each })
  const sum = memory.trunk_bytes! + memory.adapter_bytes! + memory.head_bytes! + each
  t.equal(memory.saving, memory.dedicated_bytes! / sum)
  t.equal((await predict(url, 'eurosat', image)).version, cold.version, 'others are answered as ever')
})

t.test(
  'a domain replaced under load is never answered by the network of its old version',
  { skip },
  async (t) => {
    const { url, value } = await specialising(t, 3, ['--lanes', '2', '--threads', '2'])
    const packs = [packBytes(1, 'even'), packBytes(2, 'odd')]
    t.equal((await put(url, 'shop', packs[0]!)).status, 201)
    let running = true
    let [answered, sent] = [0, 0]
    const wrong: string[] = []
    const hammer = async () => {
      while (running) {
        const oldest = answered
        const { predictions } = await predict(url, 'shop', image)
        const prefix = sent % 2 === 0 ? 'even' : 'odd'
        if (oldest === sent && !predictions.every(({ label }) => label.startsWith(prefix)))
          wrong.push(`after PUT ${oldest} had returned, ${predictions[0]!.label} answered`)
      }
    }
    const clients = Array.from({ length: 6 }, hammer)
    for (let swap = 1; swap <= 3; swap++) {
      // Each version has its network for a while before it is replaced.
      const images = await value('facet_run_images_total{network="dedicated"}')
      await ask(
        () => value('facet_run_images_total{network="dedicated"}'),
        (now) => now > images + 20,
      )
      sent = swap
      t.equal((await put(url, 'shop', packs[swap % 2]!)).status, 200)
      answered = swap
    }
    running = false
    await Promise.all(clients)
    t.same(wrong, [])
    t.ok(
      (await value('facet_specialisations_total{outcome="promoted"}')) >= 2,
      'each version, which may keep its network while it is resident',
    )
    t.equal(await value('facet_specialisations_total{outcome="failed"}'), 0)
  },
)

t.test('an eviction takes the network along, and the domain comes back', { skip }, async (t) => {
  // Room for the base and two domains.
  const row = 1_500_000
  const flags = ['--bank-memory', String(2 * row), '--min-residency', '0ms']
  const { url, value } = await specialising(t, 2, flags)
  await ask(
    () => predict(url, 'eurosat', image),
    async () => (await value('facet_specialised_domains')) === 1,
  )
  const before = await predict(url, 'eurosat', image)
  for (let domain = 0; (await value('facet_specialised_domains')) === 1; domain++) {
    t.equal((await put(url, `d${domain}`, packBytes(domain, 'd'))).status, 201)
    await predict(url, `d${domain}`, image)
  }
  const after = await predict(url, 'eurosat', image)
  t.equal(after.version, before.version)
  t.ok(Math.abs(after.predictions[0]!.score - before.predictions[0]!.score) < 1e-4)
})

t.test('it stops in order while networks are made', { skip }, async (t) => {
  const { url, service, value } = await specialising(t, 20)
  const domains = ['eurosat', 'gtsrb', 'sketch', 'aircraft']
  let stopped = false
  const failures: string[] = []
  const clients = domains.map(async (domain) => {
    while (!stopped)
      await predict(url, domain, image).catch((error: Error) => {
        if (!stopped) failures.push(error.message)
      })
  })
  await ask(
    () => value('facet_specialisations_total{outcome="promoted"}'),
    (promoted) => promoted >= 1,
  )
  stopped = true
  await service.stop()
  await Promise.all(clients)
  t.same(failures, [])
})

t.test('what cannot have networks says so once and serves', { skip }, async (t) => {
  const log = new PassThrough()
  const lines: string[] = []
  log.on('data', (line) => lines.push(String(line)))
  const control = new Control()
  const { url } = await runService(t, ['--specialise-memory', '64MB'], {
    logger: pino(log),
    createWorker: () => control.createWorker(),
  })
  await predict(url, 'eurosat', image)
  t.equal(lines.filter((line) => line.includes('no dedicated networks')).length, 1)
  await t.rejects(specialising(t, 0.9), { message: /holds no dedicated network.*Give it 7MiB or more/ })
})
