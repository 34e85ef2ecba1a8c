/** `facet predict` and `facet embed`: images at the terminal, to a service that runs. */
import { Command, Option } from 'commander'
import type { Embedding, PredictionResult } from '../../client/client.js'
import { printable } from '../../shown-text.js'
import { count } from '../options.js'
import { clientOf, ending, messageOf, ofService, type ServiceFlags } from './connect.js'
import { csvLine } from './csv.js'
import { eachImage, type Outcome } from './each-image.js'
import { imageFiles } from './image-files.js'

interface ImageFlags extends ServiceFlags {
  domain: string
  packVersion?: string
  parallel: number
  json?: true
  csv?: true
}

/** Images that are under way at once, unless told. */
const DEFAULT_PARALLEL = 8

export function predictCommand(): Command {
  return imagesCommand('predict', 'classify images with a domain of a running service')
    .option('--top-k <n>', 'labels for each image, best first', count(1), 1)
    .action((paths: string[], flags: ImageFlags & { topK: number }, command: Command) =>
      ending(command, async () => {
        const client = await clientOf(flags)
        const { domain, topK, packVersion: version } = flags
        const options = { topK, ...(version !== undefined && { version }) }
        const send = async (image: Uint8Array<ArrayBuffer>) =>
          (await client.predict(domain, image, options))[0]!
        if (flags.csv) write(csvLine(['file', 'domain', 'version', 'rank', 'label', 'index', 'score']))
        await tellAll(paths, flags, send, predictionLines(flags))
      }),
    )
}

export function embedCommand(): Command {
  return imagesCommand('embed', "compute images' features with a domain of a running service").action(
    (paths: string[], flags: ImageFlags, command: Command) =>
      ending(command, async () => {
        const client = await clientOf(flags)
        const { domain, packVersion: version } = flags
        const options = version === undefined ? {} : { version }
        const send = async (image: Uint8Array<ArrayBuffer>) =>
          (await client.embed(domain, image, options))[0]!
        await tellAll(paths, flags, send, embeddingLines(flags))
      }),
  )
}

function imagesCommand(name: string, description: string): Command {
  const command = new Command(name)
    .description(description)
    .argument('<paths...>', 'images, or folders of them')
    .requiredOption('--domain <id>', 'the domain')
    .option('--pack-version <version>', 'a version in place of the active one: its first digits, 6 or more')
    .option('--parallel <n>', 'images under way at once', count(1), DEFAULT_PARALLEL)
    .addOption(new Option('--json', 'one JSON object a line').conflicts('csv'))
    .option('--csv', 'comma-separated values, with a line of headings')
  return ofService(command)
}

/** Sends the images, writes what came of each, and fails at the end where one has failed. */
async function tellAll<Result>(
  paths: readonly string[],
  { parallel, json }: ImageFlags,
  send: (image: Uint8Array<ArrayBuffer>) => Promise<Result>,
  lines: (file: string, result: Result) => string,
): Promise<void> {
  let failed = 0
  for await (const outcome of eachImage(await imageFiles(paths), parallel, send)) {
    if ('result' in outcome) write(lines(outcome.file, outcome.result))
    else {
      failed++
      tellFailure(outcome, json === true)
    }
  }
  if (failed > 0) process.exitCode = 1
}

function tellFailure({ file, error }: Outcome<never> & { error: Error }, json: boolean): void {
  if (json) {
    const { name, message, ...more } = error
    write(`${JSON.stringify({ file, error: { detail: message, ...more } })}\n`)
  } else process.stderr.write(`${printable(file)}: ${messageOf(error)}\n`)
}

function predictionLines({ json, csv }: ImageFlags): (file: string, result: PredictionResult) => string {
  return (file, { domain, version, predictions }) => {
    if (json) return `${JSON.stringify({ file, domain, version, predictions })}\n`
    const lines = predictions.map(({ label, index, score }, rank) =>
      csv
        ? csvLine([file, domain, version, rank + 1, label, index, score])
        : `${printable(file)}  ${printable(label)}  ${score.toFixed(4)}\n`,
    )
    return lines.join('')
  }
}

function embeddingLines({ csv }: ImageFlags): (file: string, result: Embedding) => string {
  if (!csv)
    return (file, { domain, version, features }) => `${JSON.stringify({ file, domain, version, features })}\n`
  let headed = false
  return (file, { features }) => {
    // How many columns there are is known by the first result.
    const heading = headed ? '' : csvLine(['file', ...features.map((_, index) => `feature_${index}`)])
    headed = true
    return heading + csvLine([file, ...features])
  }
}

function write(text: string): void {
  process.stdout.write(text)
}
