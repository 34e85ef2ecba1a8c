/** A compressed family in the service: its packs, whole packs that are projected, and what is refused. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { compressFamily } from '../src/compiler/compress.js'
import { chooseBases } from '../src/compiler/joint/bases.js'
import type { Family } from '../src/family/family.js'
import { readFamily } from '../src/family/folder.js'
import { readPack } from '../src/pack/read.js'
import type { Projection } from '../src/pack/projection.js'
import { writePack } from '../src/pack/write.js'
import { random } from './networks.js'
import { packFor, secondFamily } from './second-family.js'
import { pngImage, post, predict, put, runService } from './service-rig.js'

const folders = t.testdir()
const source = await secondFamily(folders, 'whole')
const image = await pngImage(1)
const small = await compressedFamily()

/** A pack with random whole matrices of the family that is compressed. */
function wholePack(seed: number, prefix: string): Uint8Array<ArrayBuffer> {
  const { base, manifest } = source
  const next = random(seed * 31)
  const draw = (count: number, spread: number, middle = 0) =>
    Float32Array.from({ length: count }, () => middle + spread * next())
  const slots = new Map(
    manifest.slots.map(({ name, out, columns }) => [
      name,
      {
        scale: draw(out, 0.2, 1),
        bias: draw(out, 0.2),
        ...(columns > 0 && { matrix: draw(out * columns, 1 / Math.sqrt(columns)) }),
      },
    ]),
  )
  const head = { classes: 3, weight: draw(3 * manifest.features, 1), bias: draw(3, 1) }
  const { name: _, ...rest } = base
  const labels = [0, 1, 2].map((index) => `${prefix}-${index}`)
  return writePack({ ...rest, slots, labels, head }, manifest, { dtype: 'f32' }) as Uint8Array<ArrayBuffer>
}

/** The bases are chosen by the packs of two domains. @param bare slots that get none, by number */
async function compressedFamily(name = 'small', bare: readonly number[] = []): Promise<Family> {
  const domains = [1, 2].map((seed) => ({
    domain: `d${seed}`,
    pack: readPack(wholePack(seed, 'x'), source.manifest),
  }))
  const { bases } = chooseBases(
    source.manifest.slots.filter((_, at) => !bare.includes(at)),
    domains,
    null,
    { kind: 'uniform', share: 0.5 },
  )
  const read = (name: string) => readFileSync(join(source.dir, name))
  const record = { packs: ['d1', 'd2'], images: 0, created: '2026-01-01T00:00:00.000Z', tool: 'tests' }
  const { files } = compressFamily({ ...source, read }, bases, { name, record })
  const folder = join(folders, name)
  mkdirSync(folder, { recursive: true })
  for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
  return readFamily(folder)
}

interface Answer {
  version: string
  uploaded: string
  family: string
  projection?: Projection
  problems?: string[]
}

async function register(
  url: string,
  domain: string,
  pack: Uint8Array<ArrayBuffer>,
  status: number,
): Promise<Answer> {
  const response = await put(url, domain, pack)
  const answer = (await response.json()) as Answer
  if (response.status !== status) throw new Error(`HTTP ${response.status}: ${JSON.stringify(answer)}`)
  return answer
}

async function packOf(url: string, domain: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await fetch(`${url}/v1/domains/${domain}/pack`)).arrayBuffer())
}

const service = (t: Test, ...flags: string[]) => runService(t, ['--family', small.dir, ...flags])

t.test('a whole pack is projected, and that is what is stored, served and given back', async (t) => {
  const { url, data, service: first } = await service(t)
  const answer = await register(url, 'birds', wholePack(1, 'bird'), 201)
  t.equal(answer.family, 'small')
  t.equal(answer.uploaded, answer.version)
  const withBasis = small.manifest.slots.filter(({ basis }) => basis !== undefined).map(({ name }) => name)
  t.same(
    answer.projection?.slots.map(({ slot }) => slot),
    withBasis,
  )
  t.ok(answer.projection?.slots.every(({ error }) => error >= 0 && error < 1))
  const stored = await packOf(url, 'birds')
  t.ok(stored.length < wholePack(1, 'bird').length)
  const pack = readPack(stored, small.manifest)
  t.ok([...pack.slots.values()].every((slot) => !slot.matrix))
  const before = await predict(url, 'birds', image)

  // The same bytes again are the same version, and so is the projected pack, which is a pack like any other.
  t.equal((await register(url, 'birds', wholePack(1, 'bird'), 200)).version, answer.version)
  const again = await register(url, 'twins', stored, 201)
  t.equal(again.version, answer.version)
  t.equal(again.projection, undefined)
  t.same((await predict(url, 'twins', image)).predictions, before.predictions)

  await first.stop()
  const second = await service(t, '--data', data)
  t.same((await predict(second.url, 'birds', image)).predictions, before.predictions, 'after a restart')
})

t.test(
  'a slot may stay without a basis: packs keep their matrix there, whatever they give elsewhere',
  async (t) => {
    const partly = await compressedFamily('partly', [1])
    const [bare] = partly.manifest.slots.filter(({ columns, basis }) => columns > 0 && basis === undefined)
    const { url } = await runService(t, ['--family', partly.dir])
    const answer = await register(url, 'birds', wholePack(1, 'bird'), 201)
    const stored = await packOf(url, 'birds')
    const pack = readPack(stored, partly.manifest)
    t.ok(pack.slots.get(bare!.name)?.matrix)
    const again = await register(url, 'birds', stored, 200)
    t.equal(again.version, answer.version)
    t.equal(again.projection, undefined)
  },
)

t.test('a pack that would lose more than is allowed is refused, and changes nothing', async (t) => {
  const { url } = await service(t, '--max-projection-error', '0.05')
  const { problems } = await register(url, 'birds', wholePack(5, 'bird'), 422)
  t.match(problems?.[0], /^slot "stem\.conv" loses \d+\.\d% of its output, and 5\.0% is allowed$/)
  t.equal((await fetch(`${url}/v1/domains/birds`)).status, 404)
})

t.test('what is wrong with a whole pack is told as of any other', async (t) => {
  const { url } = await service(t)
  const { base } = source
  const slots = new Map(base.slots)
  const broken = writePack({ ...base, slots }, source.manifest, { dtype: 'f32' }) as Uint8Array<ArrayBuffer>
  broken.set(new TextEncoder().encode('XX'), 9)
  const { problems } = await register(url, 'birds', broken, 422)
  t.ok(problems && problems.length > 0)
})

t.test('where the family that was compressed is served too, its packs are its own', async (t) => {
  const { url } = await runService(t, ['--family', small.dir, '--family', source.dir])
  const answer = await register(url, 'birds', wholePack(1, 'bird'), 201)
  t.equal(answer.family, 'whole')
  t.equal(answer.projection, undefined)
})

t.test('packs of the family that was compressed, in a data folder: the remedy is a projection', async (t) => {
  const third = await compressedFamily('third', [1])
  const families = ['--family', source.dir, '--family', third.dir]
  const { url, data, service: before } = await runService(t, families)
  await register(url, 'birds', wholePack(1, 'bird'), 201)
  await register(url, 'fish', packFor(third, 1, 'fish'), 201)
  await before.stop()

  const lines: { message?: string }[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const after = await runService(t, ['--family', small.dir, '--data', data], { logger })
  t.match(
    lines.map(({ message }) => message),
    [
      /birds, fish cannot be served\. .*, or project those of the family that 'small' was compressed from \(facet pack project\)/,
    ],
  )
  const response = await post(after.url, '/v1/domains/birds/predict', image)
  t.equal(response.status, 503)
  t.match(
    await response.text(),
    /'small' was compressed from that family: make its pack with facet pack project/,
  )
})
