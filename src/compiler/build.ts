/**
 * Builds a family from a backbone: ONNX bytes in, a manifest and files out.
 *
 * The steps: open the graph, find the features, find the slots, write the trunk's graphs, and fold the
 * backbone's own normalisations and classifier into the base domain's pack.
 */
import { createHash } from 'node:crypto'
import { fingerprint, weightsDigest } from '../manifest/fingerprint.js'
import { isOwn, ownWeights } from '../manifest/graphs.js'
import type { FamilyManifest, GraphVariant, InputSpec, Kernel, Serves } from '../manifest/manifest.js'
import { adapterElements, elementsOf } from '../manifest/kinds/kinds.js'
import { isReservedName, PIXELS } from '../manifest/layout.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import { BASE_FILE, MANIFEST_FILE } from '../family/family.js'
import { parseManifest } from '../manifest/schema.js'
import type { Pack } from '../pack/pack.js'
import { writePack } from '../pack/write.js'
import type { BackboneInterface } from './backbone.js'
import { choose, type Wishes } from './choose.js'
import { emitTrunk } from './emit.js'
import { graphFiles, WEIGHTS_FILE } from './graph-files.js'
import { type Graph, openGraph } from '../onnx/graph.js'
import { type Features, findFeatures } from './head.js'
import { BackboneError, type Dim, loadModel, type Model, type ReadExternal } from '../onnx/onnx.js'
import { inferShapes } from '../onnx/shapes.js'
import { checkRank } from './slots/choice.js'
import { findSlots, frozenWeights } from './slots/find.js'
import type { ClosedSlot, OpenSlot } from './slots/kind.js'

export interface BuildOptions extends Wishes {
  name: string
  /** Input pixels; needed where the backbone leaves them open. */
  height?: number
  width?: number
  /** Shorter side before the centre crop; the larger of height and width if not given. */
  resize?: number
  kernel: Kernel
  mean: [number, number, number]
  std: [number, number, number]
  /** Node or value that holds the feature vector. */
  features?: string
  /** One per class of the backbone's classifier. */
  labels?: string[]
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
  /** How to run the backbone itself for the same features (`backbone.ts`). */
  backbone: BackboneInterface
}

/**
 * Builds the family.
 *
 * @param external reads the backbone's external data files
 * @throws BackboneError for a backbone that cannot be opened, or options that do not fit it
 * @throws FamilyError for a name that no family may have
 */
export function buildFamily(bytes: Uint8Array, options: BuildOptions, external?: ReadExternal): BuiltFamily {
  const model = loadModel(bytes, external)
  refuseTrunk(model)
  const graph = openGraph(model, isReservedName)
  const { shape, channelsLast, height, width } = inputShape(graph, options)
  const input = inputSpec(options, height, width)
  const shapes = inferShapes(graph, shape)
  const features = findFeatures(graph, shapes, options.features)
  graph.prune([features.value])
  const { choice, why } = choose(graph, options)
  const { design } = choice
  const { open: found, closed } = findSlots({ graph, shapes, choice })
  if (found.length === 0 && design !== 'feature') throw noSlots(graph, closed)

  const weights = weightsDigest(frozenWeights(graph, found).map((tensor) => tensor.bytes))
  // A family of frozen features opens nothing: its domains differ in their heads only.
  const open = design === 'feature' ? [] : found
  const slots = open.map((entry) => entry.slot)
  checkRank(choice, slots)
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
      trunk: frozenWeights(graph, open).reduce((sum, { dims }) => sum + elementsOf(dims), 0),
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
  files.set(BASE_FILE, writePack(pack, manifest, { dtype: 'f32' }))
  for (const [name, content] of files)
    manifest.files[name] = { sha256: sha256(content), bytes: content.byteLength }
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  files.set(MANIFEST_FILE, new TextEncoder().encode(text))
  return {
    manifest: parseManifest(text),
    files,
    closed,
    chosen: why,
    features: features.note,
    backbone: { features: graph.originalName(features.value), channelsLast },
  }
}

/** @throws BackboneError for a graph that a build has made: it has the bank's inputs beside the pixels */
function refuseTrunk({ inputs }: Model): void {
  const names = inputs.map(({ name }) => name)
  if (names.length > 1 && names.includes(PIXELS) && names.every(isReservedName))
    throw new BackboneError(
      'The model is the trunk of a family that is built already. Build from the backbone it was made of; facet family show describes the family.',
    )
}

/**
 * Shape and sizes of the backbone's input: the graph's where it fixes them, otherwise those of the options.
 */
function inputShape(
  graph: Graph,
  options: BuildOptions,
): { shape: Dim[]; channelsLast: boolean; height: number; width: number } {
  const dims = graph.input.dims ?? [null, null, null, null]
  const channelsLast = dims[1] !== 3 && dims[3] === 3
  const [channels, ...sizes] = channelsLast ? [dims[3], dims[1], dims[2]] : [dims[1], dims[2], dims[3]]
  if (typeof channels === 'number' && channels !== 3)
    throw new BackboneError(
      `The model's input ${graph.input.name} has ${channels} channels. A family takes RGB images: three channels.`,
    )
  const [height, width] = (['height', 'width'] as const).map((name, axis) => {
    const fixed = sizes[axis]
    const asked = options[name]
    if (typeof fixed === 'number' && asked !== undefined && asked !== fixed)
      throw new BackboneError(
        `The model's input has a fixed ${name} of ${fixed}, not ${asked}. Leave --${name} out, or export the model with a free ${name}.`,
      )
    const size = typeof fixed === 'number' ? fixed : asked
    if (size === undefined)
      throw new BackboneError(`The model leaves its input's ${name} open. Give it with --${name}.`)
    return size
  }) as [number, number]
  return {
    shape: channelsLast ? [null, height, width, 3] : [null, 3, height, width],
    channelsLast,
    height,
    width,
  }
}

function inputSpec(options: BuildOptions, height: number, width: number): InputSpec {
  const resize = options.resize ?? Math.max(height, width)
  if (resize < Math.max(height, width))
    throw new BackboneError(
      `A shorter side of ${resize} pixels is too small for a crop of ${height}x${width}. Raise --resize.`,
    )
  return { height, width, resize, kernel: options.kernel, mean: options.mean, std: options.std }
}

function noSlots(graph: Graph, closed: ClosedSlot[]): BackboneError {
  if (closed.length === 0)
    return new BackboneError(
      graph.nodes.length === 0
        ? 'Nothing is left of the graph before its features. Name another place with --features.'
        : 'The backbone has no convolution and no BatchNorm before its features: there is nothing to adapt.',
    )
  const refusedFirst = [...closed].sort((a, b) => Number(b.refused) - Number(a.refused))
  const some = refusedFirst.slice(0, 6).map((entry) => `${entry.name} (${entry.reason})`)
  const more = closed.length > 6 ? `, and ${closed.length - 6} more` : ''
  return new BackboneError(
    `No slot can be opened: ${some.join(', ')}${more}. Choose among these names with --slots.`,
  )
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

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
