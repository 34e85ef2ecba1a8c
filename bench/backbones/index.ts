/**
 * `npm run backbones -- --work DIR [--torchscript-python P] [--dynamo-python P]`: the networks that people bring, exported
 * by PyTorch, as families. Results go into `docs/backbones.json`, and docs/backbones.md is made of them.
 *
 * Exports that lie in the work folder are used again. A trial that was made before is made again.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { packageFile } from '../../src/host/package.js'
import type { Design } from '../../src/manifest/manifest.js'
import { command, onlyMatching } from '../command.js'
import { machine } from '../machine.js'
import { type Entry, page, type Results } from './page.js'
import { trial } from './trial.js'

/** How networks are exported. */
const exports = {
  'torchscript-17': ['--exporter', 'torchscript', '--opset', '17'],
  'torchscript-13-unfolded': ['--exporter', 'torchscript', '--opset', '13', '--unfolded'],
  'dynamo-18': ['--exporter', 'dynamo', '--opset', '18'],
  'dynamo-20': ['--exporter', 'dynamo', '--opset', '20'],
} as const

const folder = packageFile('bench/backbones')
const options = command('backbones', 'The networks that people bring, as families.')
  .option('--work <dir>', 'folder for exports and families', '.work/backbones')
  .option('--torchscript-python <path>', 'a Python with torch, torchvision, timm, transformers', 'python3')
  .option('--dynamo-python <path>', 'the same with torch 2.5 or later and onnxscript; none: no such exports')
  .option('--no-time', 'leave the times out')
  .option('--page', 'make docs/backbones.md of the results, and nothing else', false)
  .addOption(onlyMatching('trials NETWORK/EXPORT/DESIGN'))
  .parse()
  .opts<{
    work: string
    torchscriptPython: string
    dynamoPython?: string
    time: boolean
    page: boolean
    only: RegExp
  }>()

const resultsFile = packageFile('docs/backbones.json')
const results: Results = existsSync(resultsFile)
  ? (JSON.parse(await readFile(resultsFile, 'utf8')) as Results)
  : { machine: machine(), trials: [] }
if (!options.page) await measure()
await writeFile(packageFile('docs/backbones.md'), page(results))

async function measure(): Promise<void> {
  results.machine = machine()
  for (const network of networkNames())
    for (const [id, args] of Object.entries(exports))
      for (const design of ['feature', 'default'] as const) {
        const key = `${network}/${id}/${design}`
        if (!options.only.test(key)) continue
        const python = id.startsWith('dynamo') ? options.dynamoPython : options.torchscriptPython
        if (python === undefined) continue
        const entry = await attempt(network, id, args, design, python)
        console.log(JSON.stringify(entry))
        results.trials = [...results.trials.filter((old) => keyOf(old) !== key), entry].sort((a, b) =>
          keyOf(a) < keyOf(b) ? -1 : 1,
        )
        await writeFile(resultsFile, `${JSON.stringify(results, null, 1)}\n`)
      }
}

async function attempt(
  network: string,
  id: string,
  args: readonly string[],
  design: Design | 'default',
  python: string,
): Promise<Entry> {
  const dir = join(options.work, id)
  const [file, note] = [join(dir, `${network}.onnx`), join(dir, `${network}.json`)]
  const entry = { network, export: id, design }
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
    const scratch = join(options.work, 'scratch')
    await mkdir(scratch, { recursive: true })
    const asked = design === 'default' ? undefined : design
    return { ...entry, torch: torch!, ...(await trial(network, file, asked, scratch, python, options.time)) }
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    return { ...entry, torch: torch!, failed: (stderr?.trim().split('\n').at(-1) ?? message).slice(0, 400) }
  }
}

function networkNames(): string[] {
  const code = 'import networks; print(*networks.NETWORKS)'
  const made = spawnSync(options.torchscriptPython, ['-c', code], { cwd: folder, encoding: 'utf8' })
  if (made.status !== 0)
    throw new Error(`${options.torchscriptPython} cannot list the networks: ${made.stderr}`)
  return made.stdout.trim().split(' ')
}

function keyOf({ network, export: id, design }: Entry): string {
  return `${network}/${id}/${design}`
}
