/**
 * `npm run folded -- --data DIR [--limit N] [--domains ID...]`: accuracy of the shipped packs of `resnet26-half` on the
 * unfolded backbone, and of the same packs with relative scales on the backbone with its normalisations folded away, over
 * the same test images. Ends with 1 where a domain differs by more than 0.3 points.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startFamilyEngine } from '../../src/commands/family-engine.js'
import { runModel } from '../../src/commands/run-model.js'
import { buildFamily } from '../../src/compiler/build.js'
import type { Engine } from '../../src/engine/engine.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { decodeImage } from '../../src/image/decode.js'
import { FEATURES } from '../../src/manifest/layout.js'
import { readPack } from '../../src/pack/read.js'
import { openArchive } from '../archive.js'
import { command, natural } from '../command.js'
import { machine } from '../machine.js'
import { foldedExport, relativePack } from './family.js'

/** The most points by which a domain may differ. */
const ALLOWED_POINTS = 0.3
/** Images of a run. */
const BATCH = 16
const LIMITS = { maxPixels: 50_000_000 }

interface Row {
  domain: string
  images: number
  unfolded: number
  folded: number
  /** Images that the two name differently. */
  differ: number
}

const { data, limit, domains } = command('folded', 'The same packs on an unfolded and on a folded backbone.')
  .requiredOption('--data <dir>', 'folder with <domain>.zip or <domain>/, layout <split>/<class>/<file>')
  .option('--limit <n>', 'images of each domain, spread evenly over its test set; 0 takes all', natural, 0)
  .option('--domains <ids...>', 'only these domains')
  .parse()
  .opts<{ data: string; limit: number; domains?: string[] }>()

const predictions = packageFile('training/results/predictions')
const adapters = packageFile('adapters/resnet26-half')
const scratch = await mkdtemp(join(tmpdir(), 'facet-folded-'))
try {
  const unfolded = await readFamily(packageFile('models/resnet26-half'))
  const folded = await foldedFamily(unfolded, join(scratch, 'folded'))
  const rows: Row[] = []
  for (const domain of domains ??
    (await readdir(predictions)).map((file) => file.replace('.json', '')).sort()) {
    const row = await measure(domain, unfolded, folded)
    if (row) rows.push(row)
  }
  report(rows)
} finally {
  await rm(scratch, { recursive: true, force: true })
}

async function foldedFamily(family: Family, dir: string): Promise<Family> {
  const { mean, std, kernel, resize, height, width } = family.manifest.input
  const options = {
    ...{ name: 'folded', mean, std, kernel, resize, height, width, features: FEATURES },
    ...{
      fp16: false,
      license: 'none',
      source: 'folded',
      created: '2026-01-01T00:00:00.000Z',
      tool: 'facet bench',
    },
  }
  const built = await buildFamily(await foldedExport(family), options, runModel)
  await mkdir(dir)
  for (const [name, bytes] of built.files) await writeFile(join(dir, name), bytes)
  return readFamily(dir)
}

/** Null where there are no images of the domain. */
async function measure(domain: string, unfolded: Family, folded: Family): Promise<Row | null> {
  const archive = await openArchive(data, domain)
  if (!archive) {
    console.error(`${domain}: no ${domain}.zip and no ${domain}/ in ${data}; left out.`)
    return null
  }
  const file = await readFile(join(predictions, `${domain}.json`), 'utf8')
  const { split, images } = JSON.parse(file) as { split: string; images: string[] }
  const count = limit > 0 ? Math.min(limit, images.length) : images.length
  const pack = readPack(await readFile(join(adapters, `${domain}.safetensors`)), unfolded.manifest)
  const engines = [
    await startFamilyEngine(unfolded, [pack]),
    await startFamilyEngine(folded, [relativePack(pack, unfolded, folded.manifest)]),
  ] as const
  const row: Row = { domain, images: count, unfolded: 0, folded: 0, differ: 0 }
  try {
    for (let at = 0; at < count; at += BATCH) {
      const places = Array.from({ length: Math.min(BATCH, count - at) }, (_, index) =>
        Math.floor(((at + index) * images.length) / count),
      )
      const names = places.map((place) => images[place]!)
      const pixels = Buffer.concat(
        await Promise.all(
          names.map(async (name) =>
            decodeImage(await archive.read(`${split}/${name}`), unfolded.manifest.input, LIMITS),
          ),
        ),
      )
      const [one, other] = [
        await classes(engines[0], pixels, names.length),
        await classes(engines[1], pixels, names.length),
      ]
      for (const [index, name] of names.entries()) {
        const truth = archive.classes.indexOf(name.slice(0, name.lastIndexOf('/')))
        if (one[index] === truth) row.unfolded++
        if (other[index] === truth) row.folded++
        if (one[index] !== other[index]) row.differ++
      }
    }
  } finally {
    archive.close()
    for (const engine of engines) await engine.stop()
  }
  console.error(`${domain}: ${count} images`)
  return row
}

/** The class of each image by the pack in row 1. */
async function classes(engine: Engine, pixels: Uint8Array, images: number): Promise<number[]> {
  const rows = new Int32Array(images).fill(1)
  const { logits } = await engine.run({ pixels: new Uint8Array(pixels), rows }, engine.generation)
  return logits.map((scores) => scores!.indexOf(Math.max(...scores!)))
}

function report(rows: readonly Row[]): void {
  const percent = (part: number, whole: number) => ((100 * part) / whole).toFixed(2)
  console.log('| domain | test images | unfolded % | folded % | other class |')
  console.log('|---|--:|--:|--:|--:|')
  for (const { domain, images, unfolded, folded, differ } of rows)
    console.log(
      `| ${domain} | ${images} | ${percent(unfolded, images)} | ${percent(folded, images)} | ${differ} |`,
    )
  console.log(JSON.stringify({ folded: rows, machine: machine() }))
  const apart = rows.filter(
    ({ images, unfolded, folded }) => 100 * Math.abs(unfolded - folded) > ALLOWED_POINTS * images,
  )
  for (const { domain } of apart) console.error(`${domain} differs by more than ${ALLOWED_POINTS} points.`)
  process.exitCode = apart.length > 0 ? 1 : 0
}
