/**
 * `facet family build` makes a family's folder from a backbone; `facet family show` describes a family.
 *
 * Only files and the terminal are handled here; `compiler/build.ts` does the work.
 */
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type BuiltFamily, buildFamily } from '../compiler/build.js'
import { WEIGHTS_FILE } from '../compiler/graph-files.js'
import { planFamily } from '../compiler/plan.js'
import { type MatrixPlaces, matrixPlaces } from '../compiler/places.js'
import { isInt8File } from '../compiler/quantise.js'
import { BackboneError, type ReadExternal } from '../onnx/onnx.js'
import { type Design, designs, type FamilyManifest, type Kernel, kernels } from '../manifest/manifest.js'
import { MANIFEST_FILE } from '../family/family.js'
import { isFileError, naming } from '../host/file-problem.js'
import { VERSION } from '../host/package.js'
import { created } from './created.js'
import { readLabels } from './labels.js'
import { end, readNamedFamily } from './ends.js'
import { checkFamily } from './family-check.js'
import { buildReport, describe, planReport } from './family-report.js'
import { checkCommand } from './family-graphs.js'
import { halveCommand } from './family-halve.js'
import { quantizeCommand } from './family-quantize.js'
import { checkFamilyName } from './options.js'
import { runModel } from './run-model.js'
import { kindOf as fileKind } from '../bytes/file-kind.js'

interface BuildFlags {
  out?: string
  plan: boolean
  design?: Design
  rank?: number | 'full'
  name?: string
  open?: RegExp
  slots?: string
  features?: string
  labels?: string
  height?: number
  width?: number
  resize?: number
  kernel: Kernel
  mean?: [number, number, number]
  std?: [number, number, number]
  fp16: boolean
  license: string
  description?: string
  force: boolean
  check: boolean
}

/** The `family` command with its sub-commands. */
export function familyCommand(): Command {
  const family = new Command('family').description('build and inspect families (a trunk and its slots)')
  family
    .command('build')
    .description('build a family from an ONNX backbone')
    .argument('<backbone.onnx>', 'a plain ONNX image network, before any optimisation for a runtime')
    .option('--out <dir>', 'folder of the family, for example models/NAME (needed unless --plan is given)')
    .option('--plan', 'show what would be opened and what it costs, and write nothing', false)
    .addOption(
      new Option(
        '--design <design>',
        'what a domain may put into a slot (default: parallel, with the slots and the rank that suit the network)',
      ).choices(designs),
    )
    .option(
      '--rank <r>',
      "a slot's matrix as two factors of this rank, or full for whole matrices (default: full beside k x k convolutions, 8 at pointwise ones)",
      rank,
    )
    .option('--name <name>', "the family's name (default: the folder's)")
    .option(
      '--open <regex>',
      'open the layers and normalisations with matching slot names, and no others (default: those that suit the network)',
      pattern,
    )
    .option(
      '--slots <where>',
      'matrices at these slots only, at the others scale and bias: early, middle or late (thirds of the slots that take a matrix, in forward order; joined by +), a file with the name of a slot on each line, or a regular expression (default: at all that take one)',
    )
    .option(
      '--features <node>',
      'node or value that holds the feature vector (default: before the last linear layer)',
    )
    .option('--labels <file>', "the classifier's labels: a JSON array, or one label per line")
    .option('--height <pixels>', 'input height, where the backbone leaves it open', pixels)
    .option('--width <pixels>', 'input width, where the backbone leaves it open', pixels)
    .option(
      '--resize <pixels>',
      'shorter side of an image before the centre crop (default: the larger of height and width)',
      pixels,
    )
    .addOption(new Option('--kernel <kernel>', 'resampling kernel').choices(kernels).default('linear'))
    .option(
      '--mean <r,g,b>',
      "default mean, 0-1 scale (default: the graph's own, where it normalises its input, or 0.485,0.456,0.406)",
      channels,
    )
    .option(
      '--std <r,g,b>',
      "default standard deviation, 0-1 scale (default: the graph's own, or 0.229,0.224,0.225)",
      deviations,
    )
    .option('--fp16', 'store the weights as float16', false)
    .option('--license <text>', "the trunk's licence", 'not stated')
    .option('--description <text>', 'what the trunk is and what it was trained on')
    .option('--force', 'write into a folder that holds another family or other files', false)
    .option('--no-check', 'write the family without running it against the backbone first')
    .action(build)
  family
    .command('show')
    .description('describe a family')
    .argument('<dir>', 'folder of the family')
    .action(show)
  family.addCommand(checkCommand())
  family.addCommand(halveCommand())
  family.addCommand(quantizeCommand())
  return family
}

async function build(backbone: string, flags: BuildFlags, command: Command): Promise<void> {
  const { out, plan, name, labels, slots, force, check, ...options } = flags
  if (out === undefined && !plan) command.error("error: required option '--out <dir>' not specified")
  try {
    if (out !== undefined) {
      checkFamilyName(name ?? basename(resolve(out)))
      await checkTarget(resolve(out), force)
    }
    const bytes = await readBackbone(backbone)
    const external = externalData(dirname(resolve(backbone)))
    const known = {
      ...options,
      ...(slots === undefined ? {} : { slots: await readPlaces(slots) }),
      ...(labels === undefined ? {} : { labels: await readLabels(labels) }),
    }
    if (plan || out === undefined) {
      print(command, planReport(await planFamily(bytes, known, runModel, external)))
      return
    }
    const folder = resolve(out)
    const how = { name: name ?? basename(folder), source: basename(backbone), created: created() }
    const built = await buildFamily(bytes, { ...known, ...how, tool: `facet ${VERSION}` }, runModel, external)
    if (!force) await checkReplaced(folder, built.manifest)
    let difference: number | undefined
    await writeFamily(folder, built, async (staged) => {
      if (check) difference = await checkFamily(staged, { ...built.backbone, bytes, external }, options.fp16)
    })
    print(command, buildReport(built, out, difference))
  } catch (error) {
    end(command, error)
  }
}

async function show(dir: string, _flags: unknown, command: Command): Promise<void> {
  try {
    print(command, describe((await readNamedFamily('The family', dir)).manifest))
  } catch (error) {
    end(command, error)
  }
}

/** Where matrices are. A folder is no list of names: its name may be meant as a pattern. */
async function readPlaces(text: string): Promise<MatrixPlaces> {
  const isFile = await stat(text).then(
    (found) => found.isFile(),
    () => false,
  )
  const remedy = 'Name a text with the name of a slot on each line.'
  const read = () => naming('The list of slots (--slots)', text, remedy, () => readFile(text, 'utf8'))
  return matrixPlaces(text, isFile ? await read() : undefined)
}

/** @throws FileProblem, or BackboneError for a file that is plainly something else */
async function readBackbone(path: string): Promise<Uint8Array> {
  const remedy = 'Name the ONNX file of a backbone.'
  const bytes = await naming('The backbone', path, remedy, () => readFile(path))
  const { kind, name } = fileKind(bytes)
  if (kind === 'onnx' || name === '') return bytes
  throw new BackboneError(
    `The backbone ${path} is not an ONNX model: it looks like ${name}. Export the network to ONNX first (torch.onnx.export, tf2onnx).`,
  )
}

/** Reads external data files beside the backbone, each once. */
function externalData(folder: string): ReadExternal {
  const cache = new Map<string, Uint8Array>()
  return (location) => {
    const path = resolve(folder, location)
    const inside = relative(folder, path)
    if (inside === '' || inside.startsWith('..') || resolve(inside) === inside)
      throw new BackboneError(
        `External data at "${location}" is outside the model's folder. Put it beside the model.`,
      )
    const cached = cache.get(path)
    if (cached) return cached
    try {
      const bytes = readFileSync(path)
      cache.set(path, bytes)
      return bytes
    } catch (error) {
      if (isFileError(error) && error.code === 'ENOENT') return undefined
      throw error
    }
  }
}

const OUT = 'The folder (--out)'
const OUT_REMEDY = 'Name a folder that is there and yours, or one that can be made.'

/** Refuses a folder that holds files and no family. */
async function checkTarget(folder: string, force: boolean): Promise<void> {
  const entries = await naming(OUT, folder, OUT_REMEDY, () => readdir(folder)).catch(
    (error: Error): string[] => {
      if (isFileError(error.cause) && error.cause.code === 'ENOENT') return []
      throw error
    },
  )
  if (entries.length > 0 && !entries.includes(MANIFEST_FILE) && !force)
    throw new BackboneError(
      `${folder} holds files, but no family. Choose another folder, or write into it with --force.`,
    )
}

/** Refuses a folder that holds another family: its packs would not fit the new one. */
async function checkReplaced(folder: string, { fingerprint }: FamilyManifest): Promise<void> {
  const text = await readFile(join(folder, MANIFEST_FILE), 'utf8').catch((error: unknown) => {
    if (isFileError(error) && error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return
  let found: Partial<FamilyManifest> = {}
  try {
    found = JSON.parse(text) as FamilyManifest
  } catch {
    // A manifest that cannot be read is of no family that is known to be this one.
  }
  if (found.fingerprint === fingerprint) return
  const what =
    found.fingerprint === undefined ? 'a family that cannot be read' : `another family, ${found.name}`
  throw new BackboneError(
    `${folder} holds ${what}, and packs made for it do not fit the new one. Choose another folder (--out), or replace it with --force.`,
  )
}

/**
 * Writes the family into a folder beside its own first, then moves it into place file by file, the manifest
 * last.
 *
 * @param accept is given the folder of the staged family; if it throws, the staged family is removed
 */
async function writeFamily(
  folder: string,
  built: BuiltFamily,
  accept: (staged: string) => Promise<void>,
): Promise<void> {
  const parent = dirname(folder)
  const staging = await naming(OUT, folder, OUT_REMEDY, async () => {
    await mkdir(parent, { recursive: true })
    return mkdtemp(join(parent, `.${basename(folder)}-`))
  })
  try {
    for (const [name, bytes] of built.files) await writeFile(join(staging, name), bytes, { flush: true })
    await accept(staging)
    await mkdir(folder, { recursive: true })
    for (const name of built.files.keys())
      if (name !== MANIFEST_FILE) await rename(join(staging, name), join(folder, name))
    await rename(join(staging, MANIFEST_FILE), join(folder, MANIFEST_FILE))
    if (!built.files.has(WEIGHTS_FILE)) await rm(join(folder, WEIGHTS_FILE), { force: true })
    // Graphs in 8 bits are of the family that was here before.
    for (const name of await readdir(folder)) if (isInt8File(name)) await rm(join(folder, name))
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

function rank(text: string): number | 'full' {
  if (text === 'full') return text
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 4096)
    throw new InvalidArgumentError('Not a whole number from 1 to 4096, nor full.')
  return value
}

function pixels(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 4096)
    throw new InvalidArgumentError('Not a whole number of pixels from 1 to 4096.')
  return value
}

function channels(text: string): [number, number, number] {
  const values = text.split(/[\s,]+/).map(Number)
  if (values.length !== 3 || !values.every((value) => Number.isFinite(value)))
    throw new InvalidArgumentError('Not three numbers, for example 0.485,0.456,0.406.')
  return values as [number, number, number]
}

function deviations(text: string): [number, number, number] {
  const values = channels(text)
  if (!values.every((value) => value > 0)) throw new InvalidArgumentError('Deviations must be larger than 0.')
  return values
}

function print(command: Command, text: string): void {
  command.configureOutput().writeOut?.(text)
}
