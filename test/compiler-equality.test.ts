/** A built family computes what its backbone computes and, with any adapters, the formula of a slot. */
import path from 'node:path'
import * as ort from 'onnxruntime-node'
import t from 'tap'
import { branches, networks, residual } from './backbones.js'
import { randomDomain } from './domains.js'
import { Network } from './networks.js'
import { reference } from './reference.js'
import { basePack, build, distance, normalised, openTrunk, randomPixels } from './trunk.js'

for (const [name, make] of Object.entries(networks)) {
  t.test(`${name}: with the base's row the family gives the backbone's own answers`, async (t) => {
    const net = make()
    const onnx = net.onnx()
    const built = await build(onnx)
    const base = basePack(built)
    const trunk = await openTrunk(built, path.join(t.testdir(), 'family'))
    const pixels = randomPixels(3, net.size)
    const features = await trunk.run([base], pixels, [0, 0, 0])
    const expected = [0, 1, 2].flatMap((index) => [
      ...reference(net, {
        channels: 3,
        height: net.size,
        width: net.size,
        data: normalised(pixels, index, net.size, base),
      }),
    ])
    t.ok(distance(features, expected) <= 1e-4, `features differ by ${distance(features, expected)}`)
    t.ok(distance(await trunk.runOne(base, pixels), expected) <= 1e-4, 'by the graph for one domain too')

    // The backbone itself, run by the same runtime, agrees through the base's head.
    const backbone = await ort.InferenceSession.create(onnx, { intraOpNumThreads: 1, logSeverityLevel: 3 })
    const output = backbone.outputNames[0]!
    const size = trunk.manifest.features
    for (const index of [0, 1, 2]) {
      const image = Float32Array.from(normalised(pixels, index, net.size, base))
      const feeds = { image: new ort.Tensor('float32', image, [1, 3, net.size, net.size]) }
      const answer = (await backbone.run(feeds))[output]!.data as Float32Array
      const { weight, bias } = base.head!
      let logits = Array.from(bias, (value, k) => {
        const row = weight.subarray(k * size, (k + 1) * size)
        return row.reduce((sum, w, i) => sum + w * features[index * size + i]!, value)
      })
      if (net.style.activation === 'Sigmoid') logits = logits.map((value) => 1 / (1 + Math.exp(-value)))
      if (net.style.activation === 'Softmax') {
        const powers = logits.map(Math.exp)
        const total = powers.reduce((sum, value) => sum + value)
        logits = powers.map((value) => value / total)
      }
      t.ok(distance(logits, answer) <= 1e-4, `logits differ by ${distance(logits, answer)}`)
    }
    t.equal(base.activation, net.style.activation === 'Sigmoid' ? 'sigmoid' : 'softmax')
  })

  for (const design of ['parallel', 'series', 'bn'] as const) {
    t.test(
      `${name}: random ${design} adapters give the formula's features, any mix in a batch`,
      async (t) => {
        const net = make()
        const built = await build(net.onnx(), { design })
        const base = basePack(built)
        const trunk = await openTrunk(built, path.join(t.testdir(), 'family'))
        const domains = [1, 2, 3].map((seed) => randomDomain(net, built.manifest.slots, design, base, seed))
        const packs = [base, ...domains.map((domain) => domain.pack)]
        const rows = [2, 0, 3, 1, 2]
        const pixels = randomPixels(rows.length, net.size, 9)
        const expected = rows.map((row, index) => {
          const data = normalised(pixels, index, net.size, packs[row]!)
          const image = { channels: 3, height: net.size, width: net.size, data }
          return reference(net, image, design, row === 0 ? undefined : domains[row - 1]!.modules)
        })
        const features = await trunk.run(packs, pixels, rows)
        const flat = expected.flatMap((values) => [...values])
        t.ok(distance(features, flat) <= 1e-4, `features differ by ${distance(features, flat)}`)
        const plain = await trunk.run([base], pixels, [0, 0, 0, 0, 0])
        t.ok(distance(features, plain) > 1e-2, 'the adapters matter')

        // Each answer equals the one that the sample gets alone.
        const area = net.size * net.size * 3
        const size = trunk.manifest.features
        for (const [index, row] of rows.entries()) {
          const alone = await trunk.run(packs, pixels.slice(index * area, (index + 1) * area), [row])
          t.ok(distance(features.subarray(index * size, (index + 1) * size), alone) <= 1e-5)
        }
        // A batch of one domain may feed its matrix once.
        const many = await trunk.run(packs, pixels, [3, 3, 3, 3, 3])
        const once = await trunk.run(packs, pixels, [3, 3, 3, 3, 3], [3])
        t.ok(distance(once, many) <= 1e-5)
        // There is a graph for such batches, too.
        t.ok(distance(await trunk.runOne(packs[3]!, pixels), many) <= 1e-5)

        // The graph for a half-precision bank has the same weights and rounds the adapters only.
        const half = await openTrunk(built, path.join(t.testdir(), 'family'), 'f16')
        t.ok(distance(await half.run(packs, pixels, rows), features) <= 1e-2)
        t.ok(distance(await half.runOne(packs[3]!, pixels), many) <= 1e-2)
      },
    )
  }
}

t.test('weights stored as fp16 change the features by rounding only', async (t) => {
  const net = residual()
  const full = await build(net.onnx())
  const half = await build(net.onnx(), { fp16: true })
  t.equal(half.manifest.fingerprint, full.manifest.fingerprint, 'packs fit both')
  t.ok(half.files.get('trunk.weights')!.length < full.files.get('trunk.weights')!.length)
  const pixels = randomPixels(2, net.size)
  const dir = t.testdir()
  const a = await (await openTrunk(full, path.join(dir, 'full'))).run([basePack(full)], pixels, [0, 0])
  for (const bank of ['f32', 'f16'] as const) {
    const trunk = await openTrunk(half, path.join(dir, 'half'), bank)
    const b = await trunk.run([basePack(half)], pixels, [0, 0])
    t.ok(distance(b, a) > 0)
    t.ok(distance(b, a) <= 1e-2, `features differ by ${distance(b, a)}`)
  }
})

t.test('a family of design feature has no slots and the backbone frozen whole', async (t) => {
  const net = branches()
  const built = await build(net.onnx(), { design: 'feature' })
  t.same(built.manifest.slots, [])
  t.equal(built.manifest.parameters.adapter, 0)
  const trunk = await openTrunk(built, path.join(t.testdir(), 'family'))
  const pixels = randomPixels(1, net.size)
  const base = basePack(built)
  const data = normalised(pixels, 0, net.size, base)
  const expected = reference(net, { channels: 3, height: net.size, width: net.size, data })
  t.ok(distance(await trunk.run([base], pixels, [0]), expected) <= 1e-4)
  t.ok(distance(await trunk.runOne(base, pixels), expected) <= 1e-4)
})

t.test('a network without a classifier ends at its own output', async (t) => {
  const net = new Network(9)
  const x = net.vector(net.relu(net.bn('c.bn', net.conv('c.conv', 'image', [3, 4], { stride: 2 }), 4)))
  net.linear('unused', x, [4, 2])
  net.layers.pop()
  const built = await build(net.onnx())
  t.equal(built.manifest.features, 4)
  t.equal(built.manifest.parameters.head, 0)
  const base = basePack(built)
  t.equal(base.head, null)
  t.equal(base.labels, null)
  const trunk = await openTrunk(built, path.join(t.testdir(), 'family'))
  const features = await trunk.run([base], randomPixels(1, 9), [0])
  t.equal(features.length, 4)
})
