/**
 * Opens a backbone for building: any plain ONNX image network becomes a float32 graph for any number of images, with its
 * constants computed, its normalisation taken over, its shapes known, and its features found.
 */
import { isReservedName, PIXELS } from '../manifest/layout.js'
import { foldConstants, random } from '../onnx/fold.js'
import { freeBatch } from '../onnx/free-batch.js'
import { type Graph, openGraph } from '../onnx/graph.js'
import { BackboneError, intOf, loadModel, type Model, type ReadExternal } from '../onnx/onnx.js'
import type { RunModel } from '../onnx/run.js'
import { keepPadsApart } from '../onnx/pads.js'
import { measureShapes, type Shapes } from '../onnx/shapes.js'
import { upcast } from '../onnx/upcast.js'
import type { BackboneInterface } from './backbone.js'
import { type Features, findFeatures } from './head.js'
import { type Normalisation, takeNormalisation } from './normalisation.js'

export interface OpenOptions extends Partial<Normalisation> {
  /** Input pixels; needed where the backbone leaves them open. */
  height?: number
  width?: number
  /** Node or value that holds the feature vector. */
  features?: string
  /** One per class of the backbone's classifier. */
  labels?: string[]
}

export interface OpenBackbone extends Normalisation {
  /** Up to the features, and no further. */
  graph: Graph
  shapes: Shapes
  features: Features
  height: number
  width: number
  /** How to run the file itself for the same features. */
  backbone: BackboneInterface
  /** What was done to the graph that its owner should know, a sentence each. */
  notes: string[]
}

/**
 * Opens a backbone.
 *
 * @param run runs parts of the graph
 * @throws BackboneError for a model that is no backbone, or options that do not fit it
 */
export async function openBackbone(
  bytes: Uint8Array,
  options: OpenOptions,
  run: RunModel,
  external?: ReadExternal,
): Promise<OpenBackbone> {
  const loaded = loadModel(bytes, external)
  refuseTrunk(loaded)
  const raised = upcast(loaded)
  const graph = openGraph(raised ?? loaded, isReservedName)
  const { channelsLast, height, width } = inputSize(graph, options)
  await foldConstants(graph, run)
  refuseTraining(graph)
  const { note, file, ...normalisation } = takeNormalisation(graph, channelsLast, options)
  freeBatch(graph)
  const shapes = await measureShapes(graph, channelsLast ? [height, width, 3] : [3, height, width], run)
  keepPadsApart(graph)
  const features = findFeatures(graph, shapes, options)
  graph.prune([features.value])
  refuseRandom(graph)
  const half = 'The model is in half precision; the family computes in float32 with the same weights'
  return {
    ...normalisation,
    graph,
    shapes,
    features,
    height,
    width,
    backbone: {
      features: graph.originalName(features.value),
      channelsLast,
      normalisation: file,
      half: raised !== null,
    },
    notes: [...(raised ? [half] : []), ...(note === undefined ? [] : [note])],
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

/** A BatchNorm in training mode that standardises weights is a constant by now. */
function refuseTraining({ nodes }: Graph): void {
  const norm = nodes.find(
    (node) =>
      node.op === 'BatchNormalization' &&
      (intOf(node, 'training_mode', 0) === 1 || node.outputs.filter(Boolean).length > 1),
  )
  if (norm)
    throw new BackboneError(
      `${norm.name} (BatchNormalization) is in training mode. Export the network in evaluation mode.`,
    )
}

function refuseRandom({ nodes }: Graph): void {
  const node = nodes.find(({ op }) => random.has(op))
  if (node)
    throw new BackboneError(
      `${node.name} (${node.op}) draws random numbers, so that an image has another answer each time. Export the network in evaluation mode.`,
    )
}

/** Layout and sizes of the backbone's input: the graph's where it fixes them, otherwise those of the options. */
function inputSize(
  graph: Graph,
  options: OpenOptions,
): { channelsLast: boolean; height: number; width: number } {
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
  return { channelsLast, height, width }
}
