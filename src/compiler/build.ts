/**
 * Builds a family from a backbone: ONNX bytes in, a manifest and files out.
 *
 * The steps: open the graph, find the features, find the slots, write the trunk's graphs, and fold the
 * backbone's own normalisations and classifier into the base domain's pack.
 */
import { createHash } from 'node:crypto'
import { fingerprint, weightsDigest } from '../manifest/fingerprint.js'
import { isOwn, ownWeights } from '../manifest/graphs.js'
import type { FamilyManifest, GraphVariant, Serves } from '../manifest/manifest.js'
import { adapterElements } from '../manifest/kinds/kinds.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import { BASE_FILE, MANIFEST_FILE } from '../family/family.js'
import { parseManifest } from '../manifest/schema.js'
import type { Pack } from '../pack/pack.js'
import { writePack } from '../pack/write.js'
import type { BackboneInterface } from './backbone.js'
import { emitTrunk } from './emit.js'
import { graphFiles, WEIGHTS_FILE } from './graph-files.js'
import type { Graph } from '../onnx/graph.js'
import type { Features } from './head.js'
import { BackboneError, type ReadExternal, type Tensor } from '../onnx/onnx.js'
import type { RunModel } from '../onnx/run.js'
import { type PlanOptions, planFamily } from './plan.js'
import { frozenWeights } from './slots/find.js'
import type { ClosedSlot, OpenSlot } from './slots/kind.js'

const utf8 = new TextEncoder()

export interface BuildOptions extends PlanOptions {
  name: string
  /** Store the weights as float16. */
  fp16: boolean
  license: string
  description?: string
  /** What the backbone is called, for the manifest's provenance. */
  source: string
  /** ISO date. */
  created: string
  /** Name and version of the builder. */
  tool: string
}

export interface BuiltFamily {
  manifest: FamilyManifest
  /** Every file of the family by name, the manifest included. */
  files: Map<string, Uint8Array>
  /** Convolutions and normalisations that stay frozen, and why. */
  closed: ClosedSlot[]
  /** What was opened and why, in words. */
  chosen: string
  /** Where the features were found, in words. */
  features: string
  /** What was done to the graph that its owner should know, a sentence each. */
  notes: string[]
  /** How to run the backbone itself for the same features (`backbone.ts`). */
  backbone: BackboneInterface
}

/**
 * Builds the family.
 *
 * @param run runs parts of the backbone
 * @param external reads the backbone's external data files
 * @throws BackboneError for a backbone that cannot be opened, or options that do not fit it
 * @throws FamilyError for a name that no family may have
 */
export async function buildFamily(
  bytes: Uint8Array,
  options: BuildOptions,
  run: RunModel,
  external?: ReadExternal,
): Promise<BuiltFamily> {
  const { opened, choice, input, found, open, slots, closed, trunk, chosen, notes } = await planFamily(
    bytes,
    options,
    run,
    external,
  )
  const { graph, shapes, features, height, width, backbone } = opened
  const { channelsLast } = backbone
  const { design } = choice
  const frozen = frozenWeights(graph, found).flatMap(identityOf)
  // Of one backbone, features at two places may have the same weights in front of them; a pack's head fits one only.
  const named = options.features === undefined ? [] : [utf8.encode(backbone.features)]
  const weights = weightsDigest([...frozen, ...named])
  const id = fingerprint({ weights, slots, design, input })

  const own = open.filter(({ emitOwn }) => emitOwn).length > OWN_SHARE * countOf(graph, 'Conv')
  const graphs = variants(options.fp16 ? 'f16' : 'f32', own)
  const emitted = graphs.map((variant) => {
    const how = { ...variant, own: isOwn(variant), height, width, channelsLast }
    return { file: variant.file, model: emitTrunk(graph, shapes, open, features, { ...options, ...how }) }
  })
  const files = graphFiles(emitted, WEIGHTS_FILE)
  const manifest: FamilyManifest = {
    format: 'facet-family/1',
    name: options.name,
    fingerprint: id,
    design,
    input,
    features: features.size,
    slots,
    parameters: {
      trunk,
      adapter: adapterElements(slots),
      head: features.head ? features.head.weight.length + features.head.bias.length : 0,
    },
    weights,
    graphs,
    files: {},
    provenance: {
      source: `${options.source} (sha256 ${sha256(bytes)})`,
      created: options.created,
      tool: options.tool,
      ...(options.description === undefined ? {} : { description: options.description }),
    },
    license: options.license,
  }
  const pack = basePack(manifest, open, features, options.labels)
  // The slots' numbers stay whole: half precision would move what every domain starts from.
  const head = options.fp16 ? 'f16' : 'f32'
  files.set(BASE_FILE, writePack(pack, manifest, { dtype: 'f32', head }))
  for (const [name, content] of files)
    manifest.files[name] = { sha256: sha256(content), bytes: content.byteLength }
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  files.set(MANIFEST_FILE, utf8.encode(text))
  return {
    manifest: parseManifest(text),
    files,
    closed,
    chosen,
    features: features.note,
    notes,
    backbone,
  }
}

/**
 * Facet's own operator is for networks of whose convolutions it computes more than this share. Others turn images
 * between it and the rest too often: a ResNet-50, 17 of 53, gains nothing
 * (docs/experiments/2026-11-27-an-operator-for-slots.md).
 */
const OWN_SHARE = 0.5

function countOf({ nodes }: Graph, op: string): number {
  return nodes.filter((node) => node.op === op).length
}

/**
 * The graphs that a build makes: for any domains and for one, with either type of bank; and for any domains with
 * Facet's own operator, which needs no other graph for one.
 */
function variants(weights: 'f32' | 'f16', own: boolean): GraphVariant[] {
  const of = (mark: string | undefined, serves: Serves, weights: string) =>
    (['f32', 'f16'] as const).map((bank): GraphVariant => {
      const marks = ['trunk', mark, bank === 'f16' ? bank : undefined, 'onnx']
      return { serves, bank, weights, file: marks.filter((mark) => mark !== undefined).join('.') }
    })
  return [
    ...of(undefined, 'any', weights),
    ...of('one', 'one', weights),
    ...(own ? of('own', 'any', ownWeights(weights)) : []),
  ]
}

/** The base domain's pack: the adapter that reproduces the backbone, and the backbone's own classifier. */
function basePack(
  manifest: FamilyManifest,
  open: readonly OpenSlot[],
  features: Features,
  labels: string[] | undefined,
): Pack {
  const { head } = features
  if (labels && !head)
    throw new BackboneError('Labels were given, but the backbone has no classifier behind its features.')
  if (labels && head && labels.length !== head.classes)
    throw new BackboneError(
      `The classifier has ${head.classes} classes, but there are ${labels.length} labels.`,
    )
  return {
    family: manifest.fingerprint,
    design: manifest.design,
    labels: head ? (labels ?? Array.from({ length: head.classes }, (_, index) => String(index))) : null,
    activation: features.activation,
    mean: manifest.input.mean,
    std: manifest.input.std,
    name: BASE_DOMAIN,
    ...(manifest.provenance.description === undefined
      ? {}
      : { description: manifest.provenance.description }),
    license: manifest.license,
    created: manifest.provenance.created,
    slots: new Map(open.map((entry) => [entry.slot.name, entry.base])),
    head,
  }
}

/** What a weight is known by: its bytes, or those that it was computed from and how. */
function identityOf({ bytes, origin }: Tensor): Uint8Array[] {
  if (!origin) return [bytes]
  return [...origin.sources.flatMap(identityOf), utf8.encode(origin.operators.join(' '))]
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
