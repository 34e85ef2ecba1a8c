/** What `facet family build`, `build --plan` and `show` print: slots, what they cost, and what stays frozen. */
import { join } from 'node:path'
import type { BuiltFamily } from '../compiler/build.js'
import type { FamilyPlan } from '../compiler/plan.js'
import { describeGraph, graphVariants } from '../manifest/graphs.js'
import { adapterElements, kindOf, slotParts } from '../manifest/kinds/kinds.js'
import { table } from './table.js'
import type { Design, FamilyManifest, InputSpec, Slot } from '../manifest/manifest.js'

/** Shares of the trunk, in percent, outside which an adapter is hardly worth its place, or hardly smaller than a network. */
const SHARE = { least: 0.5, most: 30 }

/**
 * What a build has made.
 *
 * @param difference of the check, relative to the largest feature; undefined without one
 */
export function buildReport(built: BuiltFamily, out: string, difference: number | undefined): string {
  const { manifest, chosen, features, notes, closed, files } = built
  const lines = [`opened    ${chosen}`, describe(manifest).trimEnd(), `features  ${features}`]
  lines.push(
    ...remarks(notes, closed),
    ...warnings(manifest.slots, manifest.parameters.trunk, manifest.design),
  )
  lines.push(
    difference === undefined
      ? 'NOT CHECKED  the family was not run against its backbone (--no-check)'
      : `checked: features equal the backbone's within ${difference.toExponential(1)} of the largest feature`,
  )
  lines.push(`written   ${[...files.keys()].map((name) => join(out, name)).join(' ')}`)
  return `${lines.join('\n')}\n`
}

/** What a build would make. */
export function planReport({
  opened,
  choice,
  input,
  slots,
  closed,
  trunk,
  chosen,
  notes,
}: FamilyPlan): string {
  const lines = [
    `would open  ${chosen}`,
    inputLine(input),
    sizeLine(slots, trunk, opened.features.head ? opened.features.head.bias.length : 0, opened.features.size),
    '',
    slotTable(slots, trunk),
    '',
    `features  ${opened.features.note}`,
    ...remarks(notes, closed),
    ...warnings(slots, trunk, choice.design),
    'nothing was written (--plan)',
  ]
  return `${lines.join('\n')}\n`
}

/** A family for people. */
export function describe(manifest: FamilyManifest): string {
  const { input, parameters, slots } = manifest
  const graphs = graphVariants(manifest).map((variant) => `${variant.file}: ${describeGraph(variant)}`)
  return [
    `family    ${manifest.name} (${manifest.design}), fingerprint ${manifest.fingerprint}`,
    inputLine(input),
    sizeLine(slots, parameters.trunk, parameters.head / (manifest.features + 1), manifest.features),
    `licence   ${manifest.license}`,
    `graphs    ${graphs.join('\n          ')}`,
    '',
    slotTable(slots, parameters.trunk),
    '',
  ].join('\n')
}

function inputLine({ height, width, resize, kernel, mean, std }: InputSpec): string {
  return `input     ${height}x${width} from a shorter side of ${resize} (${kernel}), mean ${mean.join(' ')}, std ${std.join(' ')}`
}

function sizeLine(slots: readonly Slot[], trunk: number, classes: number, features: number): string {
  const adapter = adapterElements(slots)
  const head = classes * (features + 1)
  return `size      trunk ${trunk} parameters, adapter ${adapter} (${percent(adapter, trunk)}), base head ${head}; ${features} features`
}

/** Each slot with what it takes of a domain: numbers, and their share of the trunk's. */
function slotTable(slots: readonly Slot[], trunk: number): string {
  const rows = slots.map((slot) => {
    const matrices = slotParts(slot).filter(({ dims }) => dims.length > 1)
    const elements = adapterElements([slot])
    return [
      slot.name,
      slot.relative ? `${slot.kind}, relative` : slot.kind,
      `${slot.in} -> ${slot.out}`,
      kindOf(slot).window(slot) || '-',
      matrices.map(({ dims }) => dims.join('x')).join(' ') || '-',
      String(elements),
      percent(elements, trunk),
    ]
  })
  const all = adapterElements(slots)
  const sum = ['all slots', '', '', '', '', String(all), percent(all, trunk)]
  return table([
    ['slot', 'kind', 'channels', 'kernel/stride', 'matrix', 'parameters', 'of trunk'],
    ...rows,
    sum,
  ])
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(part / whole < 0.001 ? 3 : 1)}%`
}

function remarks(notes: readonly string[], closed: BuiltFamily['closed']): string[] {
  const refused = closed.filter((entry) => entry.refused)
  const frozen = closed.filter((entry) => !entry.refused)
  return [
    ...notes.map((note) => `note      ${note}`),
    ...refused.map((entry) => `NOT OPENED  ${entry.name} (${entry.node}): ${entry.reason}`),
    ...frozen.map((entry) => `frozen    ${entry.name}: ${entry.reason}`),
  ]
}

/** What its owner should think about, where an adapter is very small or very large beside the trunk. */
function warnings(slots: readonly Slot[], trunk: number, design: Design): string[] {
  if (design === 'feature') return []
  const adapter = adapterElements(slots)
  const share = (100 * adapter) / trunk
  const found = `WARNING   the slots hold ${percent(adapter, trunk)} of the network`
  if (share < SHARE.least)
    return [
      `${found}: a domain can adapt little with so few numbers. Open more with --open, with matrices at more slots (--slots), a higher --rank or another --design`,
    ]
  if (share > SHARE.most)
    return [
      `${found}: a domain costs almost as much as a network of its own. Open less with --open, have matrices at fewer slots (--slots early+late), or lower --rank`,
    ]
  return []
}
