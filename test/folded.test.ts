/**
 * Backbones whose normalisations the exporter folded away: the same trained packs, with their scales made relative, give
 * the same answers as on the unfolded export.
 */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { foldedExport, relativePack } from '../bench/folded/family.js'
import { decodeImage } from '../src/image/decode.js'
import { readFamily } from '../src/family/folder.js'
import { FEATURES } from '../src/manifest/layout.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { readSafetensors } from '../src/safetensors/safetensors.js'
import { basePack, build, distance, openTrunk } from './trunk.js'

const LIMITS = { maxPixels: 1_000_000 }
const shipped = await readFamily('models/resnet26-half')
const golden = readSafetensors(await readFile('test/fixtures/golden/resnet26-half.safetensors')).tensors

t.test(
  'a folded export: slots are marked, and the shipped packs answer as on the unfolded one',
  async (t) => {
    const { mean, std } = shipped.manifest.input
    const built = await build(await foldedExport(shipped), {
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
      packs.set(domain, relativePack(readPack(bytes, shipped.manifest), shipped, manifest))
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
