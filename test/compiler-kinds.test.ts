/** Every kind of slot, without a matrix, with a whole one and with factors: a family computes the slot's formula. */
import t from 'tap'
import type { BuildOptions } from '../src/compiler/build.js'
import { matrixPlaces } from '../src/compiler/places.js'
import { findGraph } from '../src/manifest/graphs.js'
import type { Slot } from '../src/manifest/manifest.js'
import { loadModel } from '../src/onnx/onnx.js'
import { mobile, mobileFolded, residual } from './backbones.js'
import { randomDomain } from './domains.js'
import { checkGraphs, matricesOf, ROWS } from './graph-checks.js'
import type { Network } from './networks.js'
import { reference } from './reference.js'
import { basePack, build, normalised, randomPixels } from './trunk.js'

interface Case {
  make: () => Network
  options: Partial<BuildOptions>
  /** Slots with their kinds and what they take: the whole matrix's columns, or rank x columns. */
  slots: Record<string, string>
}

const cases: Record<string, Case> = {
  'pointwise with factors, the others without a matrix': {
    make: mobile,
    options: { rank: 3 },
    slots: {
      stem: 'conv',
      'a.expand': 'pointwise 3x12',
      'a.depth': 'depthwise',
      'a.project': 'pointwise 3x24',
      'b.depth': 'depthwise',
      'b.project': 'pointwise 3x24',
      'c.grouped': 'conv',
      'c.last': 'pointwise 3x16',
      norm: 'norm',
    },
  },
  'pointwise with whole matrices': {
    make: mobile,
    options: { rank: 'full' },
    slots: {
      stem: 'conv',
      'a.expand': 'pointwise 12',
      'a.depth': 'depthwise',
      'a.project': 'pointwise 24',
      'b.depth': 'depthwise',
      'b.project': 'pointwise 24',
      'c.grouped': 'conv',
      'c.last': 'pointwise 16',
      norm: 'norm',
    },
  },
  'no matrices': {
    make: mobile,
    options: { design: 'bn' },
    slots: {
      stem: 'conv',
      'a.expand': 'pointwise',
      'a.depth': 'depthwise',
      'a.project': 'pointwise',
      'b.depth': 'depthwise',
      'b.project': 'pointwise',
      'c.grouped': 'conv',
      'c.last': 'pointwise',
      norm: 'norm',
    },
  },
  'factors behind the layers': {
    make: mobile,
    options: { design: 'series', rank: 2, open: /stem|a\.|last|norm/ },
    slots: {
      stem: 'conv 2x12',
      'a.expand': 'pointwise 2x24',
      'a.depth': 'depthwise',
      'a.project': 'pointwise 2x12',
      'c.last': 'pointwise 2x20',
      norm: 'norm',
    },
  },
  'factors beside k x k and grouped convolutions': {
    make: mobile,
    options: { rank: 2, open: /stem$|grouped|project/ },
    slots: {
      stem: 'conv 2x3',
      'a.project': 'pointwise 2x24',
      'b.project': 'pointwise 2x24',
      'c.grouped': 'conv 2x16',
    },
  },
  'factors at the last of the pointwise layers': {
    make: mobile,
    options: { rank: 3, slots: matrixPlaces('late', undefined) },
    slots: {
      stem: 'conv',
      'a.expand': 'pointwise',
      'a.depth': 'depthwise',
      'a.project': 'pointwise',
      'b.depth': 'depthwise',
      'b.project': 'pointwise',
      'c.grouped': 'conv',
      'c.last': 'pointwise 3x16',
      norm: 'norm',
    },
  },
  'whole matrices beside the first and the last convolution': {
    make: residual,
    options: { slots: matrixPlaces('early+late', undefined) },
    slots: { 'stem.conv': 'conv 3', 'a.conv': 'conv 16', 'b.conv': 'conv', bn: 'norm', 'c.conv': 'conv 16' },
  },
  'a whole matrix behind one convolution': {
    make: residual,
    options: { design: 'series', slots: matrixPlaces('^b', undefined) },
    slots: { 'stem.conv': 'conv', 'a.conv': 'conv', 'b.conv': 'conv 16', bn: 'norm', 'c.conv': 'conv' },
  },
  'folded normalisations': {
    make: mobileFolded,
    options: { rank: 2 },
    slots: {
      stem: 'conv',
      expand: 'pointwise 2x8',
      depth: 'depthwise',
      project: 'pointwise 2x24',
      last: 'pointwise 2x8',
    },
  },
}

function takes({ kind, columns, rank }: Slot): string {
  if (columns === 0) return kind
  return rank === undefined ? `${kind} ${columns}` : `${kind} ${rank}x${columns}`
}

for (const [name, { make, options, slots }] of Object.entries(cases)) {
  t.test(name, async (t) => {
    const net = make()
    const built = await build(net.onnx(), options)
    const { manifest } = built
    t.same(Object.fromEntries(manifest.slots.map((slot) => [slot.name, takes(slot)])), slots)
    const base = basePack(built)
    const design = manifest.design as 'parallel' | 'series' | 'bn'
    const domains = [1, 2, 3].map((seed) => randomDomain(net, manifest.slots, design, base, seed))
    const packs = [base, ...domains.map(({ pack }) => pack)]
    const pixels = randomPixels(ROWS.length, net.size, 9)
    const features = ROWS.flatMap((row, index) => {
      const data = normalised(pixels, index, net.size, packs[row]!)
      const image = { channels: 3, height: net.size, width: net.size, data }
      return [...reference(net, image, design, row === 0 ? undefined : domains[row - 1]!.modules)]
    })
    const network = await checkGraphs(t, built, { packs, pixels, features, half: 1e-2 })
    const kept = matricesOf(network)
    t.same(
      kept,
      kept.filter((name) => name.endsWith('.c.grouped')),
      'every matrix is merged but those of grouped convolutions',
    )
  })
}

t.test('a domain has weights of its own where a layer has more places than channels', async (t) => {
  const { manifest, files } = await build(mobile().onnx(), { rank: 3 })
  for (const serves of ['any', 'one'] as const) {
    const { file } = findGraph(manifest, { serves, bank: 'f32' })!
    const { nodes } = loadModel(files.get(file)!, (location) => files.get(location))
    const made = nodes.flatMap(({ outputs }) => /^facet\/slot\/(.*)\/weights$/.exec(outputs[0]!)?.[1] ?? [])
    t.same(made, ['a.expand', 'a.project'], serves)
  }
})

t.test(
  'a rank above the width of a layer is refused where the layer is named, or where all are narrower',
  async (t) => {
    const onnx = mobile().onnx()
    await t.rejects(build(onnx, { rank: 13, open: /a\.expand/ }), {
      message:
        /rank 13 \(--rank\) is above the width of the layer a\.expand, .* 24 rows and 12 columns\. Lower it to 12/,
    })
    await t.rejects(build(onnx, { rank: 64 }), {
      message: /rank 64 \(--rank\) is above the width of .* Lower it to 16/,
    })
    // A narrow layer among wide ones takes the whole matrix, which is no larger than the factors.
    const { slots } = (await build(onnx, { rank: 8 })).manifest
    t.same(
      slots.filter(({ columns }) => columns > 0).map((slot) => `${slot.name} ${takes(slot)}`),
      [
        'a.expand pointwise 12',
        'a.project pointwise 24',
        'b.project pointwise 8x24',
        'c.last pointwise 8x16',
      ],
    )
  },
)

t.test('a normalisation that the exporter folded is marked, and part of the fingerprint', async (t) => {
  const { manifest } = await build(mobileFolded().onnx())
  t.same(
    manifest.slots.map(({ relative }) => relative),
    [true, true, true, true, true],
  )
  t.notOk((await build(mobile().onnx())).manifest.slots.some(({ relative }) => relative))
})
