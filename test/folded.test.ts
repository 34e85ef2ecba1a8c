/**
 * Backbones whose normalisations the exporter folded away: the same trained packs, with their scales made relative, give
 * the same answers as on the unfolded export.
 */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { decodeImage } from '../src/image/decode.js'
import { dedicatedNetwork } from '../src/compiler/dedicated.js'
import { packRow } from '../src/engine/row.js'
import { readFamily } from '../src/family/folder.js'
import { findGraph } from '../src/manifest/graphs.js'
import { FEATURES } from '../src/manifest/layout.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { FLOAT, loadModel, type Model, saveModel } from '../src/onnx/onnx.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { readSafetensors } from '../src/safetensors/safetensors.js'
import { basePack, build, distance, openTrunk } from './trunk.js'

const LIMITS = { maxPixels: 1_000_000 }
const shipped = await readFamily('models/resnet26-half')
const golden = readSafetensors(await readFile('test/fixtures/golden/resnet26-half.safetensors')).tensors

/** The shipped trunk as PyTorch's exporter writes it: every BatchNorm behind a convolution is folded into it. */
async function foldedExport(): Promise<Uint8Array> {
  const { dir, manifest, base, layout } = shipped
  const { file } = findGraph(manifest, { serves: 'one', bank: 'f32' })!
  const names = Object.keys(manifest.files)
  const files = new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(path.join(dir, name))] as const)),
  )
  const trunk = loadModel(files.get(file)!, (location) => files.get(location))
  const row = packRow(base, base, manifest, layout, 'f32').tensors as Float32Array[]
  const network = dedicatedNetwork(trunk, { manifest, layout }, row)
  // Without the pixels' normalisation in front, and with the layers' own names.
  const start = network.nodes.findIndex(({ op }) => op === 'Conv')
  const input = network.nodes[start]!.inputs[0]!
  const plain = (name: string) => name.replace(/^facet\/slot\/(.*)\/merged_(.*)$/, '$1.$2')
  const model: Model = {
    ...network,
    nodes: network.nodes.slice(start).map((node) => ({ ...node, inputs: node.inputs.map(plain) })),
    constants: new Map([...network.constants].map(([name, tensor]) => [plain(name), tensor])),
    inputs: [{ name: input, type: FLOAT, dims: [null, 3, manifest.input.height, manifest.input.width] }],
  }
  return saveModel(model)
}

/** The pack of a domain for the folded family: its scales relative to the backbone's, all else as it is. */
function relativePack(pack: Pack, family: FamilyManifest): Pack {
  const slots = family.slots.flatMap(({ name, relative }): [string, SlotWeights][] => {
    const weights = pack.slots.get(name)
    if (!weights) return []
    const backbone = shipped.base.slots.get(name)!.scale
    const scale = relative ? weights.scale.map((value, index) => value / backbone[index]!) : weights.scale
    return [[name, { ...weights, scale }]]
  })
  return { ...pack, family: family.fingerprint, slots: new Map(slots) }
}

t.test(
  'a folded export: slots are marked, and the shipped packs answer as on the unfolded one',
  async (t) => {
    const { mean, std } = shipped.manifest.input
    const built = await build(await foldedExport(), {
      features: FEATURES,
      mean,
      std,
      kernel: shipped.manifest.input.kernel,
    })
    const { manifest } = built
    t.same(
      manifest.slots.map(({ name, kind, relative }) => `${name} ${kind} ${relative ?? false}`),
      shipped.manifest.slots.map(({ name, kind }) => `${name} ${kind} ${kind === 'conv'}`),
    )
    t.match(built.notes.join('\n'), /25 .*relative/)
    const base = basePack(built)
    const folded = await openTrunk(built, path.join(t.testdir(), 'family'))
    const pixels = new Uint8Array(golden.get('pixels')!.bytes)
    const count = golden.get('pixels')!.shape[0]!
    const expected = (name: string) =>
      new Float32Array(new Uint8Array(golden.get(`features.${name}`)!.bytes).buffer)
    t.ok(distance(await folded.runOne(base, pixels), expected('base')) <= 1e-4, 'the base is the backbone')

    const domains = await readdir('samples')
    const packs = new Map<string, Pack>()
    for (const domain of domains) {
      const bytes = await readFile(`adapters/resnet26-half/${domain}.safetensors`)
      packs.set(domain, relativePack(readPack(bytes, shipped.manifest), manifest))
    }
    // Mixed: each image of the fixture by another domain.
    for (const domain of domains.filter((name) => golden.has(`features.${name}`))) {
      const found = await folded.run([base, packs.get(domain)!], pixels, Array<number>(count).fill(1))
      t.ok(
        distance(found, expected(domain)) <= 1e-2,
        `${domain}: features differ by ${distance(found, expected(domain))}`,
      )
    }

    // Every sample is named as on the unfolded family, which names them all (samples.test.ts).
    let images = 0
    let right = 0
    for (const [domain, pack] of packs)
      for (const file of await readdir(path.join('samples', domain))) {
        const image = await decodeImage(
          await readFile(path.join('samples', domain, file)),
          manifest.input,
          LIMITS,
        )
        const features = await folded.runOne(pack, image)
        const { weight, bias, classes } = pack.head!
        const logits = Array.from({ length: classes }, (_, k) =>
          features.reduce((sum, value, i) => sum + value * weight[k * features.length + i]!, bias[k]!),
        )
        images++
        if (pack.labels![logits.indexOf(Math.max(...logits))] === path.parse(file).name) right++
      }
    t.ok(images >= 30)
    t.equal(right, images, `${right} of ${images}`)
  },
)
