/**
 * `facet pack show` describes a pack; `facet pack verify` lists everything that is wrong with one; `facet pack import`
 * (`pack-import.ts`) makes one of a LoRA, and `facet pack project` (`pack-project.ts`) one of a compressed family.
 *
 * Only files and the terminal are handled here; the checks are in `pack/read.ts`.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { naming } from '../host/file-problem.js'
import { slotParts } from '../manifest/kinds/kinds.js'
import { isAffine } from '../manifest/layout.js'
import type { Pack } from '../pack/pack.js'
import { type PackSummary, readPack, readPackInfo } from '../pack/read.js'
import { end, readNamedFamily } from './ends.js'
import { addImport } from './pack-import.js'
import { addProject } from './pack-project.js'
import { kindOf } from '../bytes/file-kind.js'
import { printable } from '../shown-text.js'

const FAMILY = 'The family (--family)'

/** The `pack` command with its sub-commands. */
export function packCommand(): Command {
  const pack = new Command('pack').description('inspect, verify, import and project packs (one domain each)')
  pack
    .command('show')
    .description('describe a pack')
    .argument('<file>', 'a pack, .safetensors')
    .option('--family <dir>', 'folder of its family: check the weights too, and say which slots it adapts')
    .action(show)
  pack
    .command('verify')
    .description('check that a family can serve a pack, or list every problem')
    .argument('<file>', 'a pack, .safetensors')
    .requiredOption('--family <dir>', 'folder of the family')
    .action(verify)
  addProject(pack, (file, command, work) => guarded(`${file} cannot be projected`, command, work))
  addImport(pack, (file, command, work) => guarded(`${file} is not a LoRA of this family`, command, work))
  return pack
}

async function show(file: string, flags: { family?: string }, command: Command): Promise<void> {
  await guarded(`${file} is not a valid pack`, command, async () => {
    const bytes = await readPackFile(file, command)
    const summary = readPackInfo(bytes)
    const family = flags.family === undefined ? undefined : await readNamedFamily(FAMILY, flags.family)
    process.stdout.write(
      describe(bytes, summary, family && { family, pack: readPack(bytes, family.manifest) }),
    )
  })
}

async function verify(file: string, flags: { family: string }, command: Command): Promise<void> {
  await guarded(`${file} is not a valid pack`, command, async () => {
    const family = await readNamedFamily(FAMILY, flags.family)
    const pack = readPack(await readPackFile(file, command), family.manifest)
    const { name } = family.manifest
    process.stdout.write(`${file}: a valid pack of family ${name}, ${adapted(pack, family)}\n`)
  })
}

/**
 * Ends the command for a bad file, with one problem a line; other errors go to `end`.
 * @param what the file, and what it is not
 */
async function guarded(what: string, command: Command, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (error instanceof FacetError) {
      const list = error.problems.map((problem) => `  - ${problem}\n`).join('')
      command.error(`error: ${what}:\n${list}`.trimEnd())
    }
    end(command, error)
  }
}

/** The bytes of a file that may be a pack. Ends the command if the file is recognised as something else. */
async function readPackFile(file: string, command: Command): Promise<Uint8Array> {
  const remedy = 'Name a pack, a .safetensors file.'
  const bytes = await naming('The pack', file, remedy, () => readFile(file))
  const { kind, name } = kindOf(bytes)
  if (kind === 'safetensors' || name === '') return bytes
  const hint = kind === 'onnx' ? ' facet family build makes a family of it.' : ''
  return command.error(`error: ${file} is not a pack: it looks like ${name}. ${remedy}${hint}`)
}

function describe(
  bytes: Uint8Array,
  summary: PackSummary,
  inFamily: { family: Family; pack: Pack } | undefined,
): string {
  const rows: [string, string | undefined][] = [
    ['name', summary.name],
    ['description', summary.description],
    ['version', createHash('sha256').update(bytes).digest('hex')],
    ['bytes', summary.bytes.toLocaleString('en')],
    ['family', inFamily ? `${inFamily.family.manifest.name} (${summary.family})` : summary.family],
    ['design', summary.design],
    ['adapts', inFamily && adapted(inFamily.pack, inFamily.family)],
    ['tensors', String(summary.tensors)],
    ['labels', summary.labels ? `${summary.classes}: ${preview(summary.labels)}` : 'none, serves embed only'],
    ['activation', summary.activation],
    ['mean, std', `${summary.mean.join(' ')}, ${summary.std.join(' ')}`],
    ['license', summary.license],
    ['created', summary.created],
    ['metrics', summary.metrics && JSON.stringify(summary.metrics)],
  ]
  return rows
    .filter(([, value]) => value !== undefined)
    .map(([field, value]) => `${field.padEnd(12)} ${printable(value!)}\n`)
    .join('')
}

/** How many of the family's slots the pack adapts, and how many with each part beside scale and bias. */
function adapted(pack: Pack, { manifest }: Family): string {
  const names = manifest.slots.flatMap(slotParts).map(({ name }) => name)
  const parts = new Set(names.filter((name) => !isAffine(name)))
  const given = [...pack.slots.values()]
  const counts = [...parts].map((part) => `${given.filter((slot) => slot[part]).length} with a ${part}`)
  return [`${given.length} of ${manifest.slots.length} slots`, ...counts].join(', ')
}

function preview(labels: string[]): string {
  return labels.length > 12 ? `${labels.slice(0, 12).join(', ')}, ...` : labels.join(', ')
}
