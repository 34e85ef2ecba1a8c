/**
 * The graph files of a family: the same trunk in several variants, listed in the manifest as `graphs`.
 *
 * A reader takes the first variant that serves its need and whose weights it knows, and leaves others alone, so that
 * a family may gain some (a trunk in int8, say) and stay readable.
 */
import { type Problems, quote } from '../strict/problems.js'
import type { FamilyManifest, GraphVariant } from './manifest.js'

/** What a caller needs of a graph. */
export type GraphNeed = Pick<GraphVariant, 'serves' | 'bank'>

/** Weights of the variants that this version runs; those of other variants are for later ones. */
const KNOWN_WEIGHTS: ReadonlySet<string | undefined> = new Set([undefined, 'f32', 'f16'])

/** The files of a family whose manifest was written before it listed them. */
const UNLISTED: readonly GraphVariant[] = [
  { serves: 'any', bank: 'f32', file: 'trunk.onnx' },
  { serves: 'any', bank: 'f16', file: 'trunk.f16.onnx' },
  { serves: 'one', bank: 'f32', file: 'trunk.one.onnx' },
  { serves: 'one', bank: 'f16', file: 'trunk.one.f16.onnx' },
]

/** The variants of a family, those preferred first. */
export function graphVariants({ graphs }: Pick<FamilyManifest, 'graphs'>): readonly GraphVariant[] {
  return graphs ?? UNLISTED
}

/** The variant that serves a need; undefined where the family has none. */
export function findGraph(
  manifest: Pick<FamilyManifest, 'graphs'>,
  { serves, bank }: GraphNeed,
): GraphVariant | undefined {
  return graphVariants(manifest).find(
    (variant) => variant.serves === serves && variant.bank === bank && KNOWN_WEIGHTS.has(variant.weights),
  )
}

/** A variant, or the need of one, in words. */
export function describeGraph({ serves, bank, weights }: GraphNeed & Pick<GraphVariant, 'weights'>): string {
  const batches = serves === 'any' ? 'batches of any domains' : 'batches of one domain'
  return `${batches}, ${bank} bank${weights === undefined ? '' : `, ${weights} weights`}`
}

/** Every variant must be a file of the family, and no two the same. */
export function checkGraphs(manifest: FamilyManifest, problems: Problems): void {
  if (!manifest.graphs) {
    for (const { file } of UNLISTED) if (!manifest.files[file]) problems.add(`files lacks ${quote(file)}`)
    return
  }
  const seen = new Map<string, number>()
  for (const [index, variant] of manifest.graphs.entries()) {
    if (!Object.hasOwn(manifest.files, variant.file))
      problems.add(`graphs.${index}.file is ${quote(variant.file)}, which is not one of files`)
    const what = describeGraph(variant)
    const first = seen.get(what)
    if (first === undefined) seen.set(what, index)
    else problems.add(`graphs.${index} is for ${what}, as graphs.${first} is`)
  }
}
