/** Several families in one service: what belongs to which, and domains that move from one to the other. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { family as first } from './engine-rig.js'
import { Fault } from './faulty-worker-control.mjs'
import { multipart } from './http-app.js'
import { checkOtherData } from '../src/serve/wrong-folder.js'
import { packFor, secondFamily } from './second-family.js'
import {
  packBytes,
  pngImage,
  post,
  predict,
  put,
  type Prediction,
  type Running,
  runService,
} from './service-rig.js'
import { until } from './until.js'

/** Of all tests: `runService` empties the folder of its own test. */
const folders = t.testdir()
const second = await secondFamily(folders)
const both = ['--family', first.dir, '--family', second.dir]
const image = await pngImage(1)

interface View {
  version: string | null
  family: string | null
  residency: string
  failure?: string
  versions: { version: string; family: string | null; active: boolean; seed?: boolean }[]
}

async function json<T>(url: string): Promise<T> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  return (await response.json()) as T
}

const view = (url: string, domain: string) => json<View>(`${url}/v1/domains/${domain}`)

async function register(
  url: string,
  domain: string,
  pack: Uint8Array<ArrayBuffer>,
  query = '',
): Promise<View> {
  const response = await put(url, domain, pack, query)
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  return (await response.json()) as View
}

async function activate(url: string, domain: string, version: string): Promise<View> {
  const response = await fetch(`${url}/v1/domains/${domain}/activate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ version }),
  })
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  return (await response.json()) as View
}

/** One image for each domain, in one request. */
async function predictAll(url: string, domains: readonly string[]): Promise<Prediction[]> {
  const { headers, payload } = multipart(domains.map((name) => ({ name, bytes: image })))
  const response = await fetch(`${url}/v1/predict`, { method: 'POST', headers, body: payload })
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  return ((await response.json()) as { results: Prediction[] }).results
}

/** A service with domains `a` and `b` of the first family, and `c` of the second. */
async function runBoth(t: Test, flags: string[] = []): Promise<Running> {
  const running = await runService(t, [...both, ...flags])
  for (const [domain, pack] of [
    ['a', packBytes(1, 'a')],
    ['b', packBytes(2, 'b')],
    ['c', packFor(second, 3, 'c')],
  ] as const)
    await register(running.url, domain, pack)
  return running
}

t.test(
  'a domain belongs to the family that its pack was made for, and one request may mix families',
  async (t) => {
    const { url } = await runBoth(t)
    t.match(await view(url, 'a'), { family: first.manifest.name })
    t.match(await view(url, 'c'), { family: 'second', versions: [{ family: 'second' }] })
    const alone = await Promise.all(['a', 'b', 'c'].map((domain) => predict(url, domain, image)))
    const mixed = await predictAll(url, ['c', 'a', 'b', 'c'])
    t.match(
      mixed.map(({ domain }) => domain),
      ['c', 'a', 'b', 'c'],
    )
    for (const [index, expected] of [alone[2], alone[0], alone[1], alone[2]].entries()) {
      const found = mixed[index]!
      t.equal(found.version, expected!.version)
      for (const [place, { label, score }] of found.predictions.entries()) {
        t.equal(label, expected!.predictions[place]!.label)
        t.ok(Math.abs(score - expected!.predictions[place]!.score) < 1e-4)
      }
    }
    const embedded = await post(url, '/v1/domains/c/embed', image)
    const { results } = (await embedded.json()) as { results: { features: number[] }[] }
    t.equal(results[0]!.features.length, second.manifest.features)
  },
)

t.test('images of several families that wait together are one run a family', async (t) => {
  const { url, control, service } = await runBoth(t, ['--lanes', '1', '--max-batch', '8'])
  const [one, two] = service.runtimes
  await predictAll(url, ['a', 'c'])
  control.nextRun(Fault.waits)
  const held = predict(url, 'a', image)
  await control.inRun()
  const before = control.runs
  const mixed = predictAll(url, ['a', 'c', 'b', 'c'])
  await until(() => one.scheduler.length + two!.scheduler.length >= 4)
  control.release()
  t.equal((await mixed).length, 4)
  await held
  t.equal(control.runs - before, 2)
})

t.test('the families, their pages and their memory, each and in all', async (t) => {
  const { url } = await runBoth(t)
  interface Memory {
    trunk_bytes: number
    adapter_bytes: number
    head_bytes: number
  }
  const { families, memory } = await json<{
    families: { name: string; fingerprint: string; memory: Memory & { rows: { used: number } } }[]
    memory: Memory & { bank: { used_bytes: number; capacity_bytes: number } }
  }>(`${url}/v1/families`)
  t.match(families, [
    { name: first.manifest.name, fingerprint: first.manifest.fingerprint, memory: { rows: { used: 3 } } },
    { name: 'second', fingerprint: second.manifest.fingerprint, memory: { rows: { used: 2 } } },
  ])
  for (const part of ['trunk_bytes', 'adapter_bytes', 'head_bytes'] as const)
    t.equal(
      memory[part],
      families.reduce((sum, family) => sum + family.memory[part], 0),
      part,
    )
  t.same(memory.bank, {
    used_bytes: memory.adapter_bytes + memory.head_bytes,
    capacity_bytes: 64 * 2 ** 20,
  })
  t.match(await json(`${url}/v1/family`), { name: first.manifest.name, features: first.manifest.features })
  t.match(await json(`${url}/v1/families/second`), { name: 'second', features: 7, slots: Array })
  const missing = await fetch(`${url}/v1/families/third`)
  t.match(
    { status: missing.status, ...((await missing.json()) as object) },
    { status: 404, code: 'unknown_family', detail: /"third" .*'resnet26-half', 'second'/ },
  )
  t.match(await json(url), { family: first.manifest.name, families: [first.manifest.name, 'second'] })

  await predictAll(url, ['a', 'c'])
  const metrics = await (await fetch(`${url}/metrics`)).text()
  for (const sample of [
    'facet_bank_rows_used{family="resnet26-half"} 3',
    'facet_bank_rows_used{family="second"} 2',
    'facet_run_images_total{network="trunk",family="second"} 1',
    'facet_domains{state="resident",family="second"} 2',
    'facet_adapter_loaded{domain="c",tier="store",pinned="false",family="second"} 1',
    'facet_bank_capacity_bytes 67108864',
  ])
    t.ok(metrics.includes(`\n${sample}\n`), sample)
  t.match(metrics, /^facet_build_info\{.*family="second".*\} 1$/m)
})

t.test("every family's base is the domain of its name, and `base` is the first family's", async (t) => {
  const { url } = await runBoth(t)
  t.match(await view(url, 'base'), { family: first.manifest.name })
  t.equal((await view(url, first.manifest.name)).version, (await view(url, 'base')).version)
  const base = await view(url, 'second')
  t.match(base, { family: 'second', residency: 'resident', pinned: true })
  const response = await post(url, '/v1/domains/second/embed', image)
  t.equal(((await response.json()) as { results: { version: string }[] }).results[0]!.version, base.version)
  for (const answer of [
    await put(url, 'second', packFor(second, 9, 'x')),
    await fetch(`${url}/v1/domains/second`, { method: 'DELETE' }),
  ]) {
    t.equal(answer.status, 409)
    t.match(await answer.json(), { code: 'base_immutable' })
  }
})

/** What a domain's answers must be: by a version that was in force at some moment of the request. */
class Moves {
  readonly wrong: string[] = []
  /** Versions and the first letters of their labels, in the order in which they were in force. */
  readonly #history: { version: string; prefix: string }[] = []
  /** Place of the last one whose change was answered. */
  #inForce = 0

  constructor(version: string, prefix: string) {
    this.#history.push({ version, prefix })
  }

  /** Makes another version active by `change`. */
  async to(version: string, prefix: string, change: () => Promise<View>): Promise<View> {
    this.#history.push({ version, prefix })
    const view = await change()
    this.#inForce = this.#history.length - 1
    return view
  }

  /** A request is sent. @returns takes its answer */
  sent(): (answer: Prediction) => void {
    const since = this.#inForce
    return ({ domain, version, predictions }) => {
      const right = this.#history.slice(since).find((each) => each.version === version)
      if (right === undefined) this.wrong.push(`${domain} was answered by ${version.slice(0, 12)}`)
      else if (!predictions.every(({ label }) => label.startsWith(`${right.prefix}-`)))
        this.wrong.push(`${domain}: ${predictions[0]!.label} of ${right.prefix}`)
    }
  }
}

t.test(
  'domains move to another family and back under load: no failed request, no stale answer',
  async (t) => {
    const { url } = await runBoth(t, ['--lanes', '1'])
    const domains = ['a', 'b', 'd']
    await register(url, 'd', packBytes(4, 'd'))
    const old = new Map<string, string>()
    const moves = new Map<string, Moves>()
    for (const domain of domains) {
      old.set(domain, (await view(url, domain)).version!)
      moves.set(domain, new Moves(old.get(domain)!, domain))
    }
    let running = true
    let answers = 0
    let answered = () => {}
    const hammer = async (asked: string[], request: () => Promise<Prediction[]>) => {
      while (running) {
        const takes = asked.map((domain) => moves.get(domain)?.sent())
        for (const [index, answer] of (await request()).entries()) takes[index]?.(answer)
        answers++
        answered()
      }
    }
    const several = [
      ['a', 'c', 'b'],
      ['d', 'a'],
    ].map((asked) => hammer(asked, () => predictAll(url, asked)))
    const single = domains.map((domain) => hammer([domain], async () => [await predict(url, domain, image)]))
    /** Some answers in between, so that each state is met by requests. */
    const goOn = async () => {
      const enough = answers + 10
      while (answers < enough)
        await new Promise<void>((resolve) => {
          answered = resolve
        })
    }
    for (const [index, domain] of domains.entries()) {
      const before = old.get(domain)!
      const move = moves.get(domain)!
      // Once staged and then activated; else moved by the PUT itself.
      const pack = packFor(second, index + 20, 'new')
      const version = createHash('sha256').update(pack).digest('hex')
      if (index === 0) {
        const staged = await register(url, domain, pack, '?activate=false')
        t.match(staged, { family: first.manifest.name, version: before }, 'a staged pack moves nothing')
      }
      const forth = () => (index === 0 ? activate(url, domain, version) : register(url, domain, pack))
      t.match(await move.to(version, 'new', forth), { family: 'second', version })
      await goOn()
      const back = await move.to(before, domain, () => activate(url, domain, before))
      t.match(back, { family: first.manifest.name, version: before })
      await goOn()
      await move.to(version, 'new', () => activate(url, domain, version))
      await goOn()
    }
    running = false
    await Promise.all([...several, ...single])
    for (const domain of domains) {
      t.same(moves.get(domain)!.wrong, [], domain)
      t.match(await view(url, domain), { family: 'second' })
      const older = await predict(url, domain, image, `?version=${old.get(domain)}`)
      t.match(
        older.predictions[0]!.label,
        new RegExp(`^${domain}-`),
        'the version of the other family still serves',
      )
    }
  },
)

t.test('a store of one family is opened by a service of several, and the other way round', async (t) => {
  const alone = await runService(t)
  await register(alone.url, 'a', packBytes(1, 'a'))
  const answer = await predict(alone.url, 'a', image)
  await alone.service.stop()
  const together = await runService(t, [...both, '--data', alone.data])
  t.same(await predict(together.url, 'a', image), answer)
  await register(together.url, 'a', packFor(second, 5, 'new'))
  await register(together.url, 'e', packFor(second, 6, 'e'))
  await together.service.stop()

  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const { url } = await runService(t, ['--data', alone.data], { logger })
  t.match(lines, [
    {
      kind: 'other_family',
      count: 2,
      message: /2 of 2 domains in the data folder .*: a, e cannot be served/,
    },
  ])
  t.match(await view(url, 'a'), { family: null, residency: 'failed', versions: { length: 2 } })
  const refused = await post(url, '/v1/domains/a/predict', image)
  t.match(
    { status: refused.status, ...((await refused.json()) as object) },
    { status: 503, code: 'domain_failed', detail: /another family .* this service serves 'resnet26-half'/ },
  )
  const older = (await view(url, 'a')).versions.find(({ family }) => family !== null)!
  t.match(await activate(url, 'a', older.version), { family: first.manifest.name })
  t.same(await predict(url, 'a', image), answer, 'rolled back')
})

t.test('a pack of a family that is not served is refused, and the answer names those that are', async (t) => {
  const { url } = await runBoth(t)
  const third = await secondFamily(folders, 'third')
  const { manifest } = third
  const stranger = { ...third, manifest: { ...manifest, fingerprint: 'f'.repeat(64) } }
  const pack = packFor({ ...stranger, base: { ...third.base, family: 'f'.repeat(64) } }, 1, 'x')
  const refused = await put(url, 'x', pack)
  t.match(
    { status: refused.status, ...((await refused.json()) as object) },
    { status: 422, code: 'invalid_pack', problems: [/"f{8}.*"resnet26-half".*"second".*another family/] },
  )
  t.equal((await fetch(`${url}/v1/domains/x`)).status, 404)
})

t.test('shipped packs of each family are versions of their domain; the first family serves', async (t) => {
  const shipped = { one: t.testdir({ one: {}, two: {} }) }
  const [one, two] = [join(shipped.one, 'one'), join(shipped.one, 'two')]
  await writeFile(join(one, 'pets.safetensors'), packBytes(1, 'one'))
  await writeFile(join(two, 'pets.safetensors'), packFor(second, 2, 'two'))
  await writeFile(join(two, 'toys.safetensors'), packFor(second, 3, 'toys'))
  const adapters = ['--adapters', one, '--adapters', two]
  const data = join(shipped.one, 'data')
  const { url, service } = await runService(t, [...both, ...adapters, '--data', data])
  t.match(await view(url, 'toys'), { family: 'second' })
  const pets = await view(url, 'pets')
  t.match(pets, { family: first.manifest.name, versions: { length: 2 } })
  t.match((await predict(url, 'pets', image)).predictions[0]!.label, /^one/)
  const other = pets.versions.find(({ active }) => !active)!
  t.match(await activate(url, 'pets', other.version), { family: 'second' })
  t.match((await predict(url, 'pets', image)).predictions[0]!.label, /^two/)
  await service.stop()
  const again = await runService(t, [...both, ...adapters, '--data', data])
  t.match((await predict(again.url, 'pets', image)).predictions[0]!.label, /^two/, 'what was activated stays')
})

t.test("a domain of a family's name keeps serving; the log says that the base has none", async (t) => {
  const alone = await runService(t)
  await register(alone.url, 'second', packBytes(1, 'mine'))
  await alone.service.stop()
  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const { url } = await runService(t, [...both, '--data', alone.data], { logger })
  t.match(lines, [{ family: 'second', msg: "a family's base is no domain", reason: /a domain of its name/ }])
  t.match((await predict(url, 'second', image)).predictions[0]!.label, /^mine/)
})

t.test('without --data an empty store is not begun beside one that has domains of the family', async (t) => {
  const all = t.testdir()
  const folder = (name: string) => join(all, name)
  const old = await runService(t, [...both, '--data', folder('old')])
  await register(old.url, 'c', packFor(second, 3, 'c'))
  await old.service.stop()
  const served = second.manifest.fingerprint
  await t.rejects(
    checkOtherData(folder('second'), [served]),
    /old is a store .*--data .*old\. Or begin an empty one/,
  )
  t.notOk(existsSync(folder('second')))
  await checkOtherData(folder('second'), [first.manifest.fingerprint])
  await checkOtherData(folder('old'), [served])
})

t.test(
  'a family folder that changes while it is served: lanes that are lost do not come back with another trunk',
  async (t) => {
    const own = await secondFamily(folders, 'changing')
    /** Called with each error in the log. */
    let told: (line: { msg: string; err?: { message: string } }) => void = () => {}
    const logger = pino({ level: 'error' }, { write: (line: string) => told(JSON.parse(line)) })
    const { url, control, service } = await runService(t, [...['--family', first.dir], '--family', own.dir], {
      logger,
    })
    const [, runtime] = service.runtimes
    await register(url, 'c', packFor(own, 3, 'c'))
    const answer = await predict(url, 'c', image)
    const graph = join(own.dir, 'trunk.one.onnx')
    const before = await readFile(graph)
    await writeFile(graph, before.subarray(1))
    const failed = new Promise<string>((resolve) => {
      told = ({ msg, err }) => {
        if (msg === 'engine restart failed') resolve(err!.message)
      }
    })
    control.nextRun(Fault.exits)
    t.equal((await post(url, '/v1/domains/c/predict', image)).status, 503)
    t.match(
      await failed,
      /'changing' in .* has changed while it is served.*trunk\.one\.onnx has \d+ bytes.*Put its files back/s,
    )
    const ready = await fetch(`${url}/readyz`)
    t.match(
      { status: ready.status, ...((await ready.json()) as object) },
      { status: 503, detail: /engine of family 'changing' is restarting/ },
    )
    t.match(await post(url, '/v1/domains/eurosat/predict', image), { status: 200 }, 'the other family serves')
    const up = new Promise((resolve) => runtime!.engine.once('up', resolve))
    await writeFile(graph, before)
    await up
    t.same(await predict(url, 'c', image), answer)
  },
)

t.test('families that cannot be told apart do not start, and nothing is written', async (t) => {
  const dir = t.testdir()
  await cp(second.dir, join(dir, 'copy'), { recursive: true })
  const named = await secondFamily(join(dir, 'other'), 'second')
  const manifest = JSON.parse(await readFile(join(named.dir, 'family.json'), 'utf8'))
  const data = join(dir, 'data')
  const start = (...folders: string[]) =>
    runService(t, [...folders.flatMap((folder) => ['--family', folder]), '--data', data])
  await t.rejects(
    start(first.dir, second.dir, join(dir, 'copy')),
    /are the same family \(fingerprint .*Name it once/,
  )
  t.equal(manifest.name, 'second')
  await t.rejects(start(first.dir, join(dir, 'none')), /--family/)
  t.notOk(existsSync(data))
})
