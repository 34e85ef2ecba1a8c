/**
 * `npm run backbones -- --work DIR [--torchscript-python P] [--dynamo-python P]`: the networks that people bring, exported
 * by PyTorch, as families. Results go into `docs/backbones.json`, and docs/backbones.md is made of them.
 *
 * Exports that lie in the work folder are used again. A trial that was made before is made again; `--times` measures the
 * times of such trials alone, and needs no Python.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { packageFile } from '../../src/host/package.js'
import { command, onlyMatching } from '../command.js'
import { machine } from '../machine.js'
import { type Entry, keyOf, page, type Results } from './page.js'
import { compare, type Subject, time } from './trial.js'

/** Networks that are small enough to be exported for every operator set. */
const SMALL = /^(resnet18|mobilenet_v2|mobilenet_v3_large|efficientnet_b0|regnet_y_400mf|dinov2_vit_s14)$/
const ANY = /./

/** How networks are exported, and which of them. */
const exports: Record<string, { args: readonly string[]; networks: RegExp }> = {
  ...Object.fromEntries([17].map((opset) => torchscript(opset, ANY))),
  'torchscript-13-unfolded': {
    args: ['--exporter', 'torchscript', '--opset', '13', '--unfolded'],
    networks: /^(resnet18|mobilenet_v2)$/,
  },
  ...Object.fromEntries([13, 14, 15, 16, 18, 19, 20].map((opset) => torchscript(opset, SMALL))),
  ...Object.fromEntries([dynamo(18, ANY), ...[19, 20, 21, 22, 23].map((opset) => dynamo(opset, SMALL))]),
}

function torchscript(opset: number, networks: RegExp) {
  return [
    `torchscript-${opset}`,
    { args: ['--exporter', 'torchscript', '--opset', `${opset}`], networks },
  ] as const
}

function dynamo(opset: number, networks: RegExp) {
  return [`dynamo-${opset}`, { args: ['--exporter', 'dynamo', '--opset', `${opset}`], networks }] as const
}

/** The exporter of PyTorch 1.13 ends with this operator set; later ones are those of the other Python. */
const OLD_TORCH_OPSET = 17

const folder = packageFile('bench/backbones')
const options = command('backbones', 'The networks that people bring, as families.')
  .option('--work <dir>', 'folder for exports and families', '.work/backbones')
  .option('--torchscript-python <path>', 'a Python with torch, torchvision, timm, transformers', 'python3')
  .option(
    '--dynamo-python <path>',
    'the same with torch 2.5 or later and onnxscript; without it exports of the dynamo exporter and of operator sets above 17 are left out',
  )
  .option('--times', 'measure the times of the trials in docs/backbones.json whose exports are there', false)
  .option('--page', 'make docs/backbones.md of the results, and nothing else', false)
  .addOption(onlyMatching('trials NETWORK/EXPORT/DESIGN'))
  .parse()
  .opts<{
    work: string
    torchscriptPython: string
    dynamoPython?: string
    times: boolean
    page: boolean
    only: RegExp
  }>()

const resultsFile = packageFile('docs/backbones.json')
const results: Results = existsSync(resultsFile)
  ? (JSON.parse(await readFile(resultsFile, 'utf8')) as Results)
  : { machine: machine(), trials: [] }
const scratch = join(options.work, 'scratch')
if (!options.page) {
  await mkdir(scratch, { recursive: true })
  if (options.times) await measureTimes()
  else await compareAll()
}
await writeFile(packageFile('docs/backbones.md'), page(results))

async function compareAll(): Promise<void> {
  results.machine = machine()
  for (const network of networkNames())
    for (const [id, { args, networks }] of Object.entries(exports))
      for (const design of ['feature', 'default'] as const) {
        const entry = { network, export: id, design }
        const python = pythonOf(id)
        if (!networks.test(network) || !options.only.test(keyOf(entry)) || python === undefined) continue
        await keep(await attempt(entry, args, python))
      }
}

/** The times of the trials that went well, on this machine. */
async function measureTimes(): Promise<void> {
  results.timesOn = machine()
  for (const entry of [...results.trials]) {
    const { network, export: id } = entry
    const subject = subjectOf(entry)
    if ('failed' in entry || !options.only.test(keyOf(entry)) || !existsSync(subject.file)) continue
    const ratio = await time(subject)
    console.log(
      `${network} ${id} ${entry.design}: mixed ${ratio.mixed.toFixed(2)}, one ${ratio.one.toFixed(2)}`,
    )
    await keep({ ...entry, ratio })
  }
}

/** Puts an entry into the results, in the place of an older one. */
async function keep(entry: Entry): Promise<void> {
  results.trials = [...results.trials.filter((old) => keyOf(old) !== keyOf(entry)), entry].sort((a, b) =>
    keyOf(a) < keyOf(b) ? -1 : 1,
  )
  await writeFile(resultsFile, `${JSON.stringify(results, null, 1)}\n`)
}

async function attempt(
  entry: Pick<Entry, 'network' | 'export' | 'design'>,
  args: readonly string[],
  python: string,
): Promise<Entry> {
  const { network } = entry
  const dir = join(options.work, entry.export)
  const note = join(dir, `${network}.json`)
  if (!existsSync(note)) {
    await mkdir(dir, { recursive: true })
    const made = spawnSync(python, [join(folder, 'export.py'), '--out', dir, ...args, network], {
      stdio: 'inherit',
    })
    if (!existsSync(note))
      throw new Error(`the export of ${network} ended with ${made.status ?? made.error?.message}`)
  }
  const { torch, failed } = JSON.parse(await readFile(note, 'utf8')) as { torch?: string; failed?: string }
  if (failed !== undefined) return { ...entry, failed: `not exported: ${failed}` }
  // The network of PyTorch must be that of the export: weights are drawn alike by one version only.
  try {
    return { ...entry, torch: torch!, ...(await compare(subjectOf(entry), python)) }
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    return { ...entry, torch: torch!, failed: (stderr?.trim().split('\n').at(-1) ?? message).slice(0, 400) }
  } finally {
    console.log(keyOf(entry))
  }
}

function subjectOf({ network, export: id, design }: Pick<Entry, 'network' | 'export' | 'design'>): Subject {
  const file = join(options.work, id, `${network}.onnx`)
  return { network, file, design: design === 'feature' ? 'feature' : undefined, scratch }
}

function pythonOf(id: string): string | undefined {
  const isOld = id.startsWith('torchscript') && Number(id.split('-')[1]) <= OLD_TORCH_OPSET
  return isOld ? options.torchscriptPython : options.dynamoPython
}

function networkNames(): string[] {
  const code = 'import networks; print(*networks.NETWORKS)'
  const made = spawnSync(options.torchscriptPython, ['-c', code], { cwd: folder, encoding: 'utf8' })
  if (made.status !== 0)
    throw new Error(`${options.torchscriptPython} cannot list the networks: ${made.stderr}`)
  return made.stdout.trim().split(' ')
}
