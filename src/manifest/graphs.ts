/**
 * The graph files of a family: the same trunk in several variants, listed in the manifest as `graphs`.
 *
 * A reader takes the first variant that serves its need and whose weights it knows, and leaves others alone, so that
 * a family may gain some and stay readable.
 */
import { type Problems, quote } from '../strict/problems.js'
import type { FamilyManifest, GraphVariant } from './manifest.js'

/** What the trunk's frozen convolutions compute with. */
export type Precision = 'fp32' | 'fp16' | 'int8'

/** What a caller needs of a graph. */
export interface GraphNeed extends Pick<GraphVariant, 'serves' | 'bank'> {
  /** `fp32` unless given. */
  precision?: Precision
  /** The caller has Facet's own operator, and wants the graph that is made of it. */
  own?: boolean
}

/** Weights of the variants that this version runs in float32; other variants are in 8 bits, or for later versions. */
const FLOAT_WEIGHTS: ReadonlySet<string | undefined> = new Set([undefined, 'f32', 'f16'])
/** Weights of those in 8 bits. */
const INT8 = 'int8'
/** Of those that are computed in half precision throughout. */
export const FP16 = 'f16-compute'

/** Behind the type of a variant's weights, where slots are nodes of Facet's own operator: the native runtime has it. */
const OWN = '-own'

/** What `weights` of such a variant says. */
export function ownWeights(weights: 'f32' | 'f16' | 'int8'): string {
  return weights + OWN
}

/** The type of a variant's weights, whether its slots are nodes of the own operator or not. */
function typeOf({ weights }: GraphVariant): string | undefined {
  return weights?.endsWith(OWN) ? weights.slice(0, -OWN.length) : weights
}

/** Whether a variant, which this version knows, is made of Facet's own operator. */
export function isOwn(variant: GraphVariant): boolean {
  const isKnown = isInt8(variant) || FLOAT_WEIGHTS.has(typeOf(variant))
  return (variant.weights?.endsWith(OWN) ?? false) && isKnown
}

/** Whether a variant computes its frozen convolutions in 8 bits. */
export function isInt8(variant: GraphVariant): boolean {
  return typeOf(variant) === INT8
}

/** Whether a variant is computed in half precision. */
export function isFp16({ weights }: GraphVariant): boolean {
  return weights === FP16
}

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
  { serves, bank, precision = 'fp32', own = false }: GraphNeed,
): GraphVariant | undefined {
  const runs = (variant: GraphVariant) => {
    if (precision === 'fp16') return isFp16(variant)
    const isKnown = precision === 'int8' ? isInt8(variant) : FLOAT_WEIGHTS.has(typeOf(variant))
    return isKnown && isOwn(variant) === own
  }
  return graphVariants(manifest).find(
    (variant) => variant.serves === serves && variant.bank === bank && runs(variant),
  )
}

/** A variant in words. */
export function describeGraph({ serves, bank, weights }: Omit<GraphVariant, 'file'>): string {
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
