/**
 * `facet compress` makes a family in which the domains of another share a basis for each slot's matrices, and their packs
 * for it (joint compression: Rebuffi, Bilen and Vedaldi, CVPR 2018, section 3.3).
 *
 * Only files and the terminal are handled here: `compiler/joint` chooses the bases, `compiler/compress.ts` writes the
 * family.
 */
import { readFileSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { compressFamily } from '../compiler/compress.js'
import { chooseBases, type Joint, type JointDomain } from '../compiler/joint/bases.js'
import { type Moments, withMoments } from '../compiler/joint/moments.js'
import type { Want } from '../compiler/joint/ranks.js'
import { oneDomainGraph, readGraph } from '../compiler/quantise.js'
import type { EngineOptions } from '../engine/engine.js'
import type { Family } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import { availableCores } from '../host/cpu-quota.js'
import { naming } from '../host/file-problem.js'
import { VERSION } from '../host/package.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import { BackboneError, saveModel } from '../onnx/onnx.js'
import type { Pack } from '../pack/pack.js'
import { fitsHalf } from '../pack/projection.js'
import { readPack } from '../pack/read.js'
import { writePack } from '../pack/write.js'
import { type Accuracy, compressFigures, compressReport } from './compress-report.js'
import { created } from './created.js'
import { type DomainImages, findImages, type PackFile, packFile, readDomainPack } from './domain-images.js'
import { end, readNamedFamily } from './ends.js'
import { checkGraphs } from './family-graphs.js'
import { compared, GraphRunner } from './graph-runs.js'
import { checkApart, checkNew, inStaging, NEW_FOLDER_REMEDY } from './new-folder.js'
import { checkFamilyName, count } from './options.js'
import { progress } from './progress.js'
import { ReportFile } from './report-file.js'

/** Images of each domain by which bases are chosen, unless told otherwise. */
const IMAGES = 96
/** The share of the rank where nothing is asked for. */
const DEFAULT_SHARE = 0.5

interface CompressFlags {
  family: string
  out: string
  packs?: string
  name?: string
  rank?: number
  energy?: number
  bytes?: number
  uniform: boolean
  images?: string
  limit?: number
  measure?: number
  report?: string
}

export function compressCommand(createWorker?: EngineOptions['createWorker']): Command {
  return new Command('compress')
    .description(
      "make a family in which domains share a basis for each slot's matrices, and their packs for it",
    )
    .argument('<packs...>', 'packs of the family; each is compressed, and together they choose the bases')
    .requiredOption('--family <dir>', 'folder of the family')
    .requiredOption('--out <dir>', 'new folder of the compressed family, for example models/NAME-half')
    .option(
      '--packs <dir>',
      'new folder of the compressed packs (default: adapters/ beside the folder that holds --out)',
    )
    .option('--name <name>', "the compressed family's name (default: the folder's)")
    .option(
      '--rank <share>',
      `as many parameters as this share of every slot's rank would take, allotted to the slots by what they save (default: ${DEFAULT_SHARE})`,
      share,
    )
    .option(
      '--energy <share>',
      "for each slot the least rank that keeps this share of its matrices' energy",
      share,
    )
    .option('--bytes <n>', "allot ranks until one domain's factors have so many bytes in float32", count(1))
    .option('--uniform', 'with --rank: the same share of the rank at every slot', false)
    .option(
      '--images <dir>',
      'choose the bases by what they lose on images, and measure on held-out ones: a folder for each domain, <domain>/<split>/<class>/<file>; of the splits train is looked at, and test (or else val) is held out',
    )
    .option(
      '--limit <n>',
      `images of each domain by which bases are chosen; 0: the matrices alone decide, and images measure (default: ${IMAGES})`,
      count(0),
    )
    .option('--measure <n>', 'held-out images of each domain; 0 for none (default: all)', count(0))
    .option('--report <file>', 'write the figures that are shown as JSON too')
    .action(async (packs: string[], flags: CompressFlags, command: Command) => {
      try {
        command.configureOutput().writeOut?.(await compress(packs, flags, createWorker))
      } catch (error) {
        end(command, error)
      }
    })
}

/** @returns the report */
async function compress(
  files: readonly string[],
  flags: CompressFlags,
  createWorker: EngineOptions['createWorker'],
): Promise<string> {
  const out = resolve(flags.out)
  const name = flags.name ?? basename(out)
  const packs = resolve(flags.packs ?? join(dirname(dirname(out)), 'adapters', basename(out)))
  const want = wantOf(flags)
  const images = imagesOf(flags)
  checkFamilyName(name)
  await checkNew(out)
  await checkNew(packs, '--packs')
  const report = flags.report === undefined ? undefined : resolve(flags.report)
  await checkApart({ '--packs': packs, '--out': out, ...(report !== undefined && { '--report': report }) })
  const family = await readNamedFamily('The family (--family)', flags.family)
  checkFamily(family)
  const named = files.map(packFile)
  const domains = await readPacks(family, named)
  // Opened before the work, which may take long.
  const file = report === undefined ? undefined : await ReportFile.open(report)
  try {
    const seen = images ? await see(family, named, images) : null
    return await make({ family, domains, seen, images, want, name, out, packs, file, createWorker })
  } finally {
    await file?.discard()
  }
}

interface Work {
  family: Family
  domains: readonly JointDomain[]
  seen: Seen | null
  images: Images | null
  want: Want
  /** The compressed family's. */
  name: string
  /** The folders that are made. */
  out: string
  packs: string
  file: ReportFile | undefined
  createWorker: EngineOptions['createWorker']
}

/** Chooses the bases and writes everything; what is written is put in its place last. @returns the report */
async function make({ family, domains, seen, images, want, ...work }: Work): Promise<string> {
  const { name, out, packs, file } = work
  const bar = progress('decomposing', 'slots')
  const slots = family.manifest.slots.filter(({ columns }) => columns > 0)
  const joint = chooseBases(slots, domains, seen?.moments ?? null, want, (done, of) => bar('slots', done, of))
  if (joint.bases.size === 0)
    throw new BackboneError(
      'None of the packs has a matrix: there is nothing to compress. Their design is bn or feature.',
    )
  const read = (file: string) => readFileSync(join(family.dir, file))
  const record = { packs: domains.map(({ domain }) => domain), images: images?.limit ?? 0 }
  const made = compressFamily({ ...family, read }, joint.bases, {
    name,
    record: { ...record, created: created(), tool: `facet ${VERSION}` },
  })
  return inStaging(out, (stagedFamily) =>
    inStaging(packs, async (stagedPacks) => {
      for (const [file, bytes] of made.files)
        await writeFile(join(stagedFamily, file), bytes, { flush: true })
      const compressed = await readFamily(stagedFamily)
      const checks = await checkGraphs(compressed, work.createWorker)
      const own = ownPacks(compressed, domains, joint)
      for (const [domain, { bytes }] of own)
        await writeFile(join(stagedPacks, `${domain}.safetensors`), bytes, { flush: true })
      const accuracy = seen ? await seen.compare(compressed, own) : []
      const bytes = new Map([...own].map(([domain, pack]) => [domain, pack.bytes.byteLength]))
      const report = {
        before: family,
        after: compressed.manifest,
        joint,
        accuracy,
        checks,
        bytes,
        out,
        packs,
      }
      await file?.write({ want, images: record.images, ...compressFigures(report) })
      for (const [staged, folder] of [
        [stagedFamily, out],
        [stagedPacks, packs],
      ] as const) {
        await mkdir(dirname(folder), { recursive: true })
        await naming('The folder', folder, NEW_FOLDER_REMEDY, () => rename(staged, folder))
      }
      await file?.place()
      return compressReport(report)
    }),
  )
}

function wantOf({ rank, energy, bytes, uniform }: CompressFlags): Want {
  const given = Object.entries({ rank, energy, bytes }).filter(([, value]) => value !== undefined)
  if (given.length > 1)
    throw new BackboneError(
      `${given.map(([name]) => `--${name}`).join(' and ')} say the same in two ways: give one of them.`,
    )
  if (uniform && rank === undefined && given.length > 0)
    throw new BackboneError(`--uniform goes with --rank, not with --${given[0]![0]}.`)
  if (energy !== undefined) return { kind: 'energy', kept: energy }
  if (bytes !== undefined) return { kind: 'bytes', bytes }
  return { kind: uniform ? 'uniform' : 'allotted', share: rank ?? DEFAULT_SHARE }
}

interface Images {
  /** Folder of all. */
  images: string
  /** Most images of each domain: to choose bases, and to measure. */
  limit: number
  measure: number
}

/** @throws BackboneError for options that would be without effect */
function imagesOf({ images, limit, measure }: CompressFlags): Images | null {
  if (images === undefined) {
    const idle = Object.entries({ limit, measure }).find(([, value]) => value !== undefined)
    if (idle)
      throw new BackboneError(
        `--${idle[0]} is about images, and there are none. Name their folder with --images, or leave --${idle[0]} out.`,
      )
    return null
  }
  if (limit === 0 && measure === 0)
    throw new BackboneError(
      'With --limit 0 and --measure 0 the images neither choose bases nor measure. Raise one of them, or leave --images out.',
    )
  return { images, limit: limit ?? IMAGES, measure: measure ?? Number.POSITIVE_INFINITY }
}

function checkFamily({ manifest }: Family): void {
  const { name, compressed, slots } = manifest
  if (compressed)
    throw new BackboneError(
      `The family ${name} is compressed already. Compress ${compressed.family}, of which it was made, with its packs.`,
    )
  if (!slots.some(({ columns }) => columns > 0))
    throw new BackboneError(`The family ${name} has no matrices: there is nothing to compress.`)
}

async function readPacks(family: Family, files: readonly PackFile[]): Promise<JointDomain[]> {
  const domains: JointDomain[] = []
  for (const file of files) {
    if (file.domain === BASE_DOMAIN)
      throw new BackboneError(
        `The pack ${file.file} is named as the base is. Give it the name of its domain.`,
      )
    if (domains.some(({ domain }) => domain === file.domain))
      throw new BackboneError(
        `Two packs are named ${file.domain}. The compressed ones are written by these names: rename one.`,
      )
    domains.push({ domain: file.domain, pack: await readDomainPack(family, file) })
  }
  return domains
}

/** What was seen of the domains' images, and what compares the families on held-out ones. */
interface Seen {
  /** Null where images only measure. */
  moments: Moments | null
  compare(compressed: Family, own: ReadonlyMap<string, OwnPack>): Promise<Accuracy[]>
}

async function see(
  family: Family,
  packs: readonly PackFile[],
  { images, limit, measure }: Images,
): Promise<Seen> {
  const found = await findImages({ family, images: resolve(images), packs, limit, measure })
  if (found.without.length > 0)
    throw new BackboneError(
      `There are no images of ${found.without.join(', ')} in ${resolve(images)}. Every pack's domain needs some (<domain>/<split>/<class>/<file>), or leave --images out.`,
    )
  const domains = found.domains.filter(({ domain }) => domain !== BASE_DOMAIN)
  // Imported lazily, so that the service's main thread never loads onnxruntime.
  const { OrtRuntime } = await import('../engine/runtime/ort.js')
  const runner = (of: Family) => new GraphRunner(of, new OrtRuntime({ kind: 'cpu' }, availableCores()))
  const look = async () => {
    const variant = oneDomainGraph(family.manifest)
    const graph = readGraph(variant, (file) => readFileSync(join(family.dir, file)))
    const { model, moments } = withMoments(graph, family.manifest.slots, domains.length)
    await runner(family).watch(saveModel(model), moments, domains, progress('looking at'))
    return moments
  }
  const moments = limit > 0 ? await look() : null
  const classify = (of: Family, what: string, those: readonly DomainImages[]) =>
    runner(of).classify(join(of.dir, oneDomainGraph(of.manifest).file), those, progress(what))
  return {
    moments,
    async compare(compressed, own) {
      const before = await classify(family, 'measuring before', domains)
      const theirs = domains.map((of) => ({ ...of, pack: own.get(of.domain)!.pack }))
      const after = await classify(compressed, 'measuring after', theirs)
      return domains.flatMap((of): Accuracy[] => {
        const [first, second] = [before.get(of.domain), after.get(of.domain)]
        return first && second ? [{ domain: of.domain, ...compared(of, first, second) }] : []
      })
    },
  }
}

interface OwnPack {
  pack: Pack
  bytes: Uint8Array
}

/** Each domain's pack for the compressed family, as it is written: in half precision where its head is and its numbers fit. */
function ownPacks(
  { manifest }: Family,
  domains: readonly JointDomain[],
  { adapters }: Joint,
): Map<string, OwnPack> {
  return new Map(
    domains.map(({ domain, pack }) => {
      const own = { ...pack, family: manifest.fingerprint, slots: adapters.get(domain)! }
      const half = pack.head?.half !== undefined
      const bytes = writePack(own, manifest, {
        dtype: half && fitsHalf(own.slots) ? 'f16' : 'f32',
        head: half ? 'f16' : 'f32',
      })
      return [domain, { pack: readPack(bytes, manifest), bytes }]
    }),
  )
}

function share(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value <= 1))
    throw new InvalidArgumentError('Not a share: a number above 0, and 1 at most.')
  return value
}
