/**
 * `npm run accuracy -- --data DIR`: sends held-out test images to the running service and prints its accuracy
 * per domain beside PyTorch's on the same images (training/results/predictions, which `training/evaluate.py`
 * wrote from the same packs).
 *
 * Ends with 1 if a domain's accuracy differs by more than --allowed points (0.3) and by more than one image.
 *
 * With `--jpeg QUALITY` it sends them as JPEGs, which PyTorch has not seen, enlarged to so many lines with `--lines`; and
 * asks a service on the stock runtime too, to compare the decoders of JPEGs.
 */
import { readdir, readFile } from 'node:fs/promises'
import sharp from 'sharp'
import { openArchive } from './archive.js'
import { command } from './command.js'
import { startServer } from './server.js'

/** `training/results/predictions/<domain>.json` */
interface Reference {
  domain: string
  split: string
  /** `<class folder>/<file>` */
  images: string[]
  /** The class PyTorch gave each, as an index into the sorted class folders: the pack's label order. */
  predicted: number[]
  /** How many of the predictions are right. */
  correct: number
}

interface Row {
  domain: string
  images: number
  /** Images that the service classifies correctly, and that PyTorch does. */
  served: number
  pytorch: number
  /** Images for which the two predict different classes. */
  differ: number
  /** Of the service on the stock runtime: images that it classifies correctly, and otherwise than the other service. */
  stock?: { served: number; differ: number }
}

interface Options {
  data: string
  url?: string
  serve: string
  allowed: number
  limit: number
  domains?: string[]
  concurrency: number
  jpeg?: number
  lines: number
}

const predictions = new URL('../../training/results/predictions/', import.meta.url)

async function main(): Promise<void> {
  const options = command(
    'accuracy',
    'Accuracy of the running service beside PyTorch, on the same held-out images.',
  )
    .requiredOption(
      '--data <dir>',
      'folder with <domain>.zip or unpacked <domain>/, layout <split>/<class>/<file>',
    )
    .option('--url <url>', 'a running service; left out, one is started and stopped')
    .option('--serve <options>', "options of that one: --serve='--precision int8'", '')
    .option('--allowed <points>', 'most points by which a domain may differ', Number, 0.3)
    .option('--limit <n>', 'images per domain, spread evenly over the test set; 0 takes all', Number, 0)
    .option('--domains <ids...>', 'only these domains')
    .option('--concurrency <n>', 'requests in flight', Number, 8)
    .option(
      '--jpeg <quality>',
      'send JPEGs of this quality, and ask a service on the stock runtime too',
      Number,
    )
    .option('--lines <n>', 'shorter side of these JPEGs; 0 leaves it', Number, 0)
    .parse()
    .opts<Options>()
  const known = (await readdir(predictions)).map((file) => file.replace(/\.json$/, ''))
  const wanted = options.domains ?? known
  const server =
    options.url === undefined ? await startServer(options.serve.split(' ').filter(Boolean)) : null
  const stock = options.jpeg === undefined ? null : await startServer(['--runtime', 'stock'])
  const rows: Row[] = []
  try {
    for (const domain of wanted.sort()) {
      const row = await measure(domain, options.url ?? server!.url, options, stock?.url)
      if (row) rows.push(row)
    }
  } finally {
    await Promise.all([server?.stop(), stock?.stop()])
  }
  report(rows, options.allowed)
}

async function measure(
  domain: string,
  url: string,
  { data, limit, concurrency, jpeg, lines }: Options,
  stockUrl?: string,
): Promise<Row | null> {
  const archive = await openArchive(data, domain)
  if (!archive) {
    console.error(`${domain}: no ${domain}.zip and no ${domain}/ in ${data}; left out.`)
    return null
  }
  const reference = JSON.parse(await readFile(new URL(`${domain}.json`, predictions), 'utf8')) as Reference
  const truth = classesOf(reference, archive.classes)
  const total = reference.images.length
  const count = limit > 0 ? Math.min(limit, total) : total
  const row: Row = { domain, images: count, served: 0, pytorch: 0, differ: 0 }
  let next = 0
  const client = async () => {
    while (next < count) {
      const position = Math.floor((next++ * total) / count)
      const stored = await archive.read(`${reference.split}/${reference.images[position]}`)
      const image = jpeg === undefined ? stored : await asJpeg(stored, jpeg, lines)
      const served = await predict(url, domain, image)
      if (stockUrl !== undefined) {
        const other = await predict(stockUrl, domain, image)
        row.stock ??= { served: 0, differ: 0 }
        if (other === truth[position]) row.stock.served++
        if (other !== served) row.stock.differ++
      }
      if (served === truth[position]) row.served++
      if (reference.predicted[position] === truth[position]) row.pytorch++
      if (served !== reference.predicted[position]) row.differ++
      if (next % 100 === 0) process.stderr.write(`\r${domain}: ${next} of ${count} images `)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, client))
  process.stderr.write(`\r${domain}: ${count} of ${count} images\n`)
  archive.close()
  return row
}

/**
 * The class of each image: the index of its folder in `classes`.
 * @throws Error if the count of correct predictions is then not that of the reference
 */
function classesOf({ domain, images, predicted, correct }: Reference, classes: string[]): number[] {
  const truth = images.map((image) => classes.indexOf(image.slice(0, image.lastIndexOf('/'))))
  if (truth.filter((place, index) => place === predicted[index]).length !== correct)
    throw new Error(`${domain}: the predictions were made on other data; run training/evaluate.py again.`)
  return truth
}

async function asJpeg(image: Buffer, quality: number, lines: number): Promise<Buffer> {
  const picture = sharp(image)
  const { width, height } = await picture.metadata()
  const side = (own: number) => Math.round((own * lines) / Math.min(width, height))
  if (lines > 0) picture.resize(side(width), side(height), { fit: 'fill', kernel: 'lanczos3' })
  return picture.removeAlpha().toColourspace('srgb').jpeg({ quality }).toBuffer()
}

/** The class index the service gives the image. */
async function predict(url: string, domain: string, image: Buffer): Promise<number> {
  const response = await fetch(`${url}/v1/domains/${domain}/predict?top_k=1`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(image),
  })
  if (!response.ok) throw new Error(`${domain}: HTTP ${response.status}: ${await response.text()}`)
  const { results } = (await response.json()) as { results: { predictions: { index: number }[] }[] }
  return results[0]!.predictions[0]!.index
}

function report(rows: Row[], allowed: number): void {
  const percent = (part: number, whole: number) => ((100 * part) / whole).toFixed(2)
  console.log('domain            images   served %  PyTorch %  difference  other class')
  let apart = false
  for (const { domain, images, served, pytorch, differ, stock } of rows) {
    const gap = Math.abs(served - pytorch)
    if (gap > 1 && 100 * gap > allowed * images) apart = true
    const cells = [percent(served, images), percent(pytorch, images), percent(served - pytorch, images)]
    console.log(
      `${domain.padEnd(16)} ${String(images).padStart(7)} ${cells[0]!.padStart(10)} ${cells[1]!.padStart(10)} ` +
        `${cells[2]!.padStart(11)} ${String(differ).padStart(12)}` +
        (stock ? `  (stock ${percent(stock.served, images)} %, another class of ${stock.differ})` : ''),
    )
  }
  console.log(JSON.stringify({ accuracy: rows }))
  if (apart) {
    console.error(`A domain differs from PyTorch by more than ${allowed} points and more than one image.`)
    process.exitCode = 1
  }
}

await main()
