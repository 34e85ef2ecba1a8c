/** A family of series adapters in the service: packs that go live, and answers of any mix of domains as the modules give them. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import type { Head } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { residual } from './backbones.js'
import { randomDomain } from './domains.js'
import { multipart } from './http-app.js'
import { random } from './networks.js'
import { reference } from './reference.js'
import { post, type Prediction, put, runService } from './service-rig.js'
import { basePack, build, distance, normalised, randomPixels } from './trunk.js'

const CLASSES = 4
/** `runService` empties the folder of its own test. */
const folders = t.testdir()

const net = residual()
const built = await build(net.onnx(), { name: 'in-series', design: 'series', resize: net.size })
const base = basePack(built)
const domains = ['one', 'two', 'three'].map((name, at) => {
  const { modules, pack } = randomDomain(net, built.manifest.slots, 'series', base, at + 1)
  const next = random(at + 50)
  const draw = (count: number) => Float32Array.from({ length: count }, next)
  const head = { classes: CLASSES, weight: draw(CLASSES * built.manifest.features), bias: draw(CLASSES) }
  const labels = Array.from({ length: CLASSES }, (_, label) => `${name}-${label}`)
  return { name, modules, pack: { ...pack, labels, head, activation: 'softmax' as const } }
})

/** Scores of all classes, from the features that the trained modules compute. */
function scores(features: Float64Array, { classes, weight, bias }: Head): number[] {
  const powers = Array.from({ length: classes }, (_, label) =>
    Math.exp(
      features.reduce((sum, value, at) => sum + weight[label * features.length + at]! * value, bias[label]!),
    ),
  )
  const total = powers.reduce((sum, power) => sum + power)
  return powers.map((power) => power / total)
}

t.test('packs in series, registered while it runs, answer in any mix as their modules do', async (t) => {
  const folder = join(folders, 'in-series')
  mkdirSync(folder)
  for (const [name, bytes] of built.files) writeFileSync(join(folder, name), bytes)
  const { url } = await runService(t, ['--family', folder])
  for (const { name, pack } of domains) {
    const bytes = writePack(pack, built.manifest, { dtype: 'f32' }) as Uint8Array<ArrayBuffer>
    t.equal((await put(url, name, bytes)).status, 201)
  }
  const order = [2, 0, 1, 2, 0]
  const pixels = randomPixels(order.length, net.size, 9)
  const area = net.size * net.size * 3
  const raw = { width: net.size, height: net.size, channels: 3 as const }
  const images = await Promise.all(
    order.map((_, at) =>
      sharp(pixels.slice(at * area, (at + 1) * area), { raw })
        .png()
        .toBuffer(),
    ),
  )
  const expected = order.map((domain, at) => {
    const { modules, pack } = domains[domain]!
    const data = normalised(pixels, at, net.size, pack)
    return reference(net, { channels: 3, height: net.size, width: net.size, data }, 'series', modules)
  })

  const { headers, payload } = multipart(
    order.map((domain, at) => ({ name: domains[domain]!.name, bytes: images[at]! })),
  )
  const response = await fetch(`${url}/v1/predict?top_k=${CLASSES}`, {
    method: 'POST',
    headers,
    body: payload,
  })
  const { results } = (await response.json()) as { results: Prediction[] }
  for (const [at, domain] of order.entries()) {
    const { name, pack } = domains[domain]!
    t.equal(results[at]!.domain, name)
    const found = new Map(results[at]!.predictions.map(({ label, score }) => [label, score]))
    const wanted = scores(expected[at]!, pack.head)
    t.ok(
      distance(
        pack.labels.map((label) => found.get(label)!),
        wanted,
      ) <= 1e-4,
      `${name} in the mix`,
    )

    const embedded = await post(url, `/v1/domains/${name}/embed`, images[at] as Buffer<ArrayBuffer>)
    const { results: own } = (await embedded.json()) as { results: { features: number[] }[] }
    t.ok(distance(own[0]!.features, expected[at]!) <= 1e-4, `${name}'s features`)
  }
})
