/**
 * `facet family quantize` gives a family graphs with its frozen convolutions in 8 bits, calibrated on images of its
 * domains, and measures on held-out images what that costs.
 *
 * Only files and the terminal are handled here: the images are found by `domain-images.ts` and run by
 * `graph-runs.ts`; `compiler/int8` writes the graphs.
 */
import { constants, readFileSync } from 'node:fs'
import { access, copyFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Command } from 'commander'
import { withValues } from '../compiler/int8/calibration.js'
import {
  int8Files,
  isInt8File,
  oneDomainGraph,
  readGraph,
  withInt8,
  withoutInt8,
} from '../compiler/quantise.js'
import type { EngineOptions } from '../engine/engine.js'
import { type Family, MANIFEST_FILE } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import { availableCores } from '../host/cpu-quota.js'
import { naming } from '../host/file-problem.js'
import { packageFile, VERSION } from '../host/package.js'
import { MAX_LOSS_POINTS, worstLoss } from '../manifest/int8-loss.js'
import type { FamilyManifest, Int8Accuracy, Int8Record } from '../manifest/manifest.js'
import { BackboneError, saveModel } from '../onnx/onnx.js'
import { created } from './created.js'
import { end, readNamedFamily } from './ends.js'
import { checkGraphs, describeCheck, type GraphCheck } from './family-graphs.js'
import { checkNew, inStaging, NEW_FOLDER_REMEDY } from './new-folder.js'
import { count } from './options.js'
import { progress } from './progress.js'
import { type DomainImages, findImages, packsIn } from './domain-images.js'
import { compared, GraphRunner } from './graph-runs.js'

/** Images of each domain that calibrate, unless told otherwise. */
const CALIBRATION_IMAGES = 128

interface QuantizeFlags {
  images: string
  packs?: string
  out?: string
  limit: number
  measure: number
}

const OUT = 'The folder (--out)'

export function quantizeCommand(createWorker?: EngineOptions['createWorker']): Command {
  return new Command('quantize')
    .description('give a family graphs with its frozen convolutions in 8 bits; its packs stay what they are')
    .argument('<dir>', 'folder of the family')
    .requiredOption(
      '--images <dir>',
      'images: a folder for each domain, <domain>/<split>/<class>/<file> or in any other order; of the splits train calibrates, and test (or else val) is held out',
    )
    .option(
      '--packs <dir>',
      "the domains' packs (default: adapters/ of the package, the family folder's name)",
    )
    .option('--out <dir>', 'write the whole family into this new folder (default: into its own)')
    .option('--limit <n>', 'images of each domain that calibrate', count(1), CALIBRATION_IMAGES)
    .option(
      '--measure <n>',
      'held-out images of each domain on which fp32 and int8 are compared; 0 for none (default: all)',
      count(0),
      Number.POSITIVE_INFINITY,
    )
    .action(async (dir: string, flags: QuantizeFlags, command: Command) => {
      try {
        command.configureOutput().writeOut?.(await quantize(dir, flags, createWorker))
      } catch (error) {
        end(command, error)
      }
    })
}

/** @returns the report */
async function quantize(
  dir: string,
  flags: QuantizeFlags,
  createWorker: EngineOptions['createWorker'],
): Promise<string> {
  const out = flags.out === undefined ? null : resolve(flags.out)
  if (out !== null) await checkNew(out)
  const family = await readNamedFamily('The family', dir)
  const folder = flags.packs === undefined ? await defaultPacks(family) : resolve(flags.packs)
  const packs = folder === null ? [] : await packsIn(folder)
  const { images, limit, measure } = flags
  const { domains, without } = await findImages({ family, images: resolve(images), packs, limit, measure })
  // Imported lazily, so that the service's main thread never loads onnxruntime.
  const { OrtRuntime } = await import('../engine/runtime/ort.js')
  const runner = new GraphRunner(family, new OrtRuntime({ kind: 'cpu' }, availableCores()))
  const made = await quantised(family, runner, domains)
  return inStaging(out ?? family.dir, async (staging) => {
    await copyFloat(family, staging)
    for (const [name, bytes] of made.files) await writeFile(join(staging, name), bytes, { flush: true })
    const graphs = {
      fp32: join(family.dir, oneDomainGraph(family.manifest).file),
      int8: join(staging, made.graphs.find(({ serves, bank }) => serves === 'one' && bank === 'f32')!.file),
    }
    const exact = await runner.classify(graphs.fp32, domains, progress('measuring in fp32'))
    const coarse = await runner.classify(graphs.int8, domains, progress('measuring in int8'))
    const accuracy = domains.flatMap((of): Int8Accuracy[] => {
      const [fp32, int8] = [exact.get(of.domain), coarse.get(of.domain)]
      if (!fp32 || !int8) return []
      const { images, before, after, differ } = compared(of, fp32, int8)
      return [{ domain: of.domain, images, fp32: before, int8: after, differ }]
    })
    const record: Int8Record = {
      calibration: domains.map(({ domain, calibration }) => ({ domain, images: calibration.length })),
      accuracy,
      created: created(),
      tool: `facet ${VERSION}`,
    }
    const manifest = withInt8(family.manifest, made, record)
    await writeManifest(staging, manifest)
    const checks = await checkGraphs(await readFamily(staging), createWorker)
    if (out === null) await moveInto(family, staging, [...made.files.keys()])
    else await naming(OUT, out, NEW_FOLDER_REMEDY, () => rename(staging, out))
    const written = [...made.files].map(([name, { byteLength }]) => ({ name, bytes: byteLength }))
    return report(record, { ...made, without, checks, folder: out ?? family.dir, written })
  })
}

/** The graphs in 8 bits of a family, calibrated on the domains' images. */
async function quantised<T>(family: Family, runner: GraphRunner<T>, domains: readonly DomainImages[]) {
  const read = (name: string) => readFileSync(join(family.dir, name))
  const graph = withValues(readGraph(oneDomainGraph(family.manifest), read))
  const { calibration } = graph
  await runner.watch(saveModel(graph.model), calibration, domains, progress('calibrating'))
  const ranges = calibration.ranges()
  if (ranges.size === 0)
    throw new BackboneError(
      'The trunk has no frozen convolution behind a Relu: there is nothing to be had in 8 bits. Linear layers stay in float32, and so do convolutions whose input may be negative (behind SiLU, GELU or a sum).',
    )
  return {
    ...int8Files(family.manifest, read, ranges),
    left: calibration.left.length,
    depthwise: calibration.depthwise,
    taken: ranges.size,
  }
}

async function defaultPacks({ dir }: Family): Promise<string | null> {
  const folder = packageFile(`adapters/${basename(dir)}`)
  return access(folder).then(
    () => folder,
    () => null,
  )
}

/** The family's files without those in 8 bits. */
async function copyFloat(family: Family, staging: string): Promise<void> {
  for (const name of Object.keys(withoutInt8(family.manifest).files))
    await copyFile(join(family.dir, name), join(staging, name), constants.COPYFILE_FICLONE)
}

async function writeManifest(folder: string, manifest: FamilyManifest): Promise<void> {
  await writeFile(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`, { flush: true })
}

/**
 * Moves the graphs in 8 bits into the family's folder. While they are on their way the manifest there does not list
 * any, so that the folder is a whole family at every moment.
 */
async function moveInto({ dir, manifest }: Family, staging: string, names: readonly string[]): Promise<void> {
  const old = Object.keys(manifest.files).filter(isInt8File)
  if (old.length > 0) {
    const plain = await mkdtemp(join(staging, 'plain-'))
    await writeManifest(plain, withoutInt8(manifest))
    await rename(join(plain, MANIFEST_FILE), join(dir, MANIFEST_FILE))
    for (const name of old) await rm(join(dir, name), { force: true })
  }
  for (const name of names) await rename(join(staging, name), join(dir, name))
  await rename(join(staging, MANIFEST_FILE), join(dir, MANIFEST_FILE))
}

function report(
  record: Int8Record,
  {
    without,
    taken,
    left,
    depthwise,
    checks,
    folder,
    written,
  }: {
    taken: number
    left: number
    depthwise: number
    without: readonly string[]
    checks: readonly GraphCheck[]
    folder: string
    written: readonly { name: string; bytes: number }[]
  },
): string {
  const percent = (part: number, whole: number) => ((100 * part) / whole).toFixed(2).padStart(7)
  const lines = [
    `calibrated on ${record.calibration.map(({ domain, images }) => `${domain} ${images}`).join(', ')}`,
  ]
  const ofKind = depthwise > 0 ? `, and ${depthwise} depthwise ones` : ''
  lines.push(
    `in 8 bits ${taken} convolutions; ${left} stay in float32, of inputs that may be negative${ofKind}`,
  )
  if (without.length > 0) lines.push(`no images of ${without.join(', ')}`)
  if (record.accuracy.length > 0) {
    lines.push('domain            images   fp32 %   int8 %   lost  other class')
    for (const { domain, images, fp32, int8, differ } of record.accuracy)
      lines.push(
        `${domain.padEnd(16)} ${String(images).padStart(7)}  ${percent(fp32, images)}  ${percent(int8, images)} ${percent(fp32 - int8, images)} ${String(differ).padStart(11)}`,
      )
  }
  lines.push(...checks.map(describeCheck), verdict(record))
  lines.push(...written.map(({ name, bytes }) => `written   ${join(folder, name)} (${bytes} bytes)`))
  return `${lines.join('\n')}\n`
}

/** What `--precision auto` makes of it. */
function verdict(record: Int8Record): string {
  const loss = worstLoss(record)
  if (!loss)
    return 'NOT MEASURED  not every domain has held-out images: --precision auto stays with fp32, --precision int8 takes these graphs'
  const worst = `${loss.domain} loses most, ${loss.points.toFixed(2)} points`
  return loss.points <= MAX_LOSS_POINTS
    ? `measured  ${worst}: --precision auto takes these graphs`
    : `TOO COARSE  ${worst}, and ${MAX_LOSS_POINTS} is allowed: --precision auto stays with fp32`
}
