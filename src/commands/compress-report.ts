/** What `facet compress` prints: each slot's rank and kept energy, each domain's, and what became of the accuracy. */
import { join, relative } from 'node:path'
import type { Joint } from '../compiler/joint/bases.js'
import type { Family } from '../family/family.js'
import { adapterElements } from '../manifest/kinds/kinds.js'
import { BASES_FILE, type FamilyManifest } from '../manifest/manifest.js'
import { describeCheck, type GraphCheck } from './family-graphs.js'
import { table } from './table.js'

/** A domain's held-out images: how many are classified correctly before and after, and how many differ. */
export interface Accuracy {
  domain: string
  images: number
  before: number
  after: number
  differ: number
}

export interface CompressReport {
  before: Pick<Family, 'manifest'>
  after: FamilyManifest
  joint: Joint
  accuracy: readonly Accuracy[]
  checks: readonly GraphCheck[]
  /** Bytes of each domain's compressed pack. */
  bytes: ReadonlyMap<string, number>
  out: string
  packs: string
}

export function compressReport({
  before,
  after,
  joint,
  accuracy,
  checks,
  bytes,
  out,
  packs,
}: CompressReport): string {
  const { manifest } = before
  const lines = [slotTable(joint), '', domainTable(joint, accuracy, bytes), '']
  lines.push(sizeLine(manifest, after, bytes.size))
  lines.push(...checks.map(describeCheck))
  if (manifest.int8)
    lines.push('note      graphs in 8 bits did not come along: facet family quantize makes them anew')
  lines.push(
    `written   ${[...Object.keys(after.files), 'family.json'].map((file) => join(out, file)).join(' ')}`,
    `packs     ${packs}`,
    `serve it  facet serve --family ${shown(out)} --adapters ${shown(packs)}`,
    `packs of ${manifest.name} can be put into it as they are: they are projected on its bases (${BASES_FILE})`,
  )
  return `${lines.join('\n')}\n`
}

/** What the report says, as data: shares from 0 to 1, sizes in numbers and bytes. */
export function compressFigures({ before, after, joint, accuracy, bytes }: CompressReport) {
  const share = (kept: readonly { share: number }[]) => mean(kept.map((entry) => entry.share))
  return {
    family: before.manifest.name,
    name: after.name,
    fingerprint: after.fingerprint,
    networks: {
      before: networks(before.manifest, before.manifest, bytes.size),
      after: networks(before.manifest, after, bytes.size),
    },
    adapter: { before: before.manifest.parameters.adapter, after: after.parameters.adapter },
    slots: joint.slots.map(({ slot, rank, most, byImages, kept }) => ({
      name: slot.name,
      rank,
      most,
      chosenBy: byImages ? 'images' : 'matrices',
      kept: share(kept),
    })),
    domains: [...bytes].map(([domain, size]) => {
      const measured = accuracy.find((entry) => entry.domain === domain)
      return { domain, bytes: size, ...(measured && accuracyFigures(measured)) }
    }),
  }
}

function accuracyFigures({ images, before, after, differ }: Accuracy) {
  return { images, before: before / images, after: after / images, differ }
}

function shown(path: string): string {
  const near = relative(process.cwd(), path)
  return near !== '' && !near.startsWith('..') ? near : path
}

function slotTable({ slots }: Joint): string {
  const rows = slots.map(({ slot, rank, most, byImages, kept }) => {
    const worst = [...kept].sort((a, b) => a.share - b.share)[0]
    return [
      slot.name,
      `${slot.out} x ${slot.columns}`,
      `${rank} of ${most}`,
      percent(mean(kept.map(({ share }) => share))),
      worst ? `${percent(worst.share)} ${worst.domain}` : '',
      byImages ? 'images' : 'matrices',
    ]
  })
  return table([['slot', 'matrix', 'rank', 'energy kept', 'worst', 'chosen by'], ...rows])
}

function domainTable(
  { slots }: Joint,
  accuracy: readonly Accuracy[],
  bytes: ReadonlyMap<string, number>,
): string {
  const rows = [...bytes].map(([domain, size]) => {
    const kept = slots.flatMap((slot) => slot.kept.filter((entry) => entry.domain === domain))
    const found = accuracy.find((entry) => entry.domain === domain)
    return [
      domain,
      String(size),
      percent(mean(kept.map(({ share }) => share))),
      ...(found ? accuracyCells(found) : []),
    ]
  })
  const head = ['domain', 'bytes', 'energy kept']
  if (accuracy.length === 0) return table([head, ...rows])
  const shares = accuracy.map(({ images, before, after }) => [before / images, after / images] as const)
  const [before, after] = [mean(shares.map(([share]) => share)), mean(shares.map(([, share]) => share))]
  const last = ['mean', '', '', '', percent(before), percent(after), percent(before - after)]
  return table([[...head, 'images', 'before', 'after', 'lost', 'other class'], ...rows, last])
}

function accuracyCells({ images, before, after, differ }: Accuracy): string[] {
  const lost = (before - after) / images
  return [String(images), percent(before / images), percent(after / images), percent(lost), String(differ)]
}

/** Parameters as the paper counts them: heads apart, the whole as a multiple of one network. */
function sizeLine(before: FamilyManifest, after: FamilyManifest, domains: number): string {
  const times = (of: FamilyManifest) => networks(before, of, domains).toFixed(2)
  return `size      trunk and ${domains} domains are ${times(before)} networks before and ${times(after)} after (heads apart); one domain's adapter has ${before.parameters.adapter} numbers before and ${after.parameters.adapter} after`
}

/** Parameters of a family's trunk and so many domains as a multiple of one network of the family `one`: its trunk, scales and biases. */
function networks(one: FamilyManifest, { parameters }: FamilyManifest, domains: number): number {
  const network = one.parameters.trunk + adapterElements(one.slots.map((slot) => ({ ...slot, columns: 0 })))
  return (parameters.trunk + domains * parameters.adapter) / network
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 1 : values.reduce((sum, value) => sum + value, 0) / values.length
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`
}
