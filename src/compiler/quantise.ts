/**
 * The int8 variant of a family's graphs: the same trunk with its frozen convolutions in 8 bits (`int8/`). The family
 * stays what it is: the fingerprint does not cover its graphs, so packs stay valid.
 */
import { createHash } from 'node:crypto'
import { FamilyError } from '../manifest/family-error.js'
import { findGraph, isFp16, isInt8, isOwn, ownWeights } from '../manifest/graphs.js'
import type { FamilyManifest, GraphVariant, Int8Record } from '../manifest/manifest.js'
import { BackboneError, loadModel, type Model } from '../onnx/onnx.js'
import { graphFiles, INT8_WEIGHTS_FILE } from './graph-files.js'
import { int8Graph } from './int8/int8-graph.js'
import { int8OwnGraph } from './int8/own-graph.js'
import type { Ranges } from './int8/ranges.js'
import { OWN_DOMAIN } from './slots/names.js'

/** Reads a file of the family by its name. */
export type ReadFile = (name: string) => Uint8Array

/** The graphs of a family in plain ONNX and float. @throws FamilyError where its manifest does not list them */
export function floatGraphs(manifest: FamilyManifest): GraphVariant[] {
  return listed(manifest).filter((variant) => !isInt8(variant) && !isOwn(variant) && !isFp16(variant))
}

/** The graph for batches of one domain in float32, in which values are looked at. @throws BackboneError without one */
export function oneDomainGraph(manifest: FamilyManifest): GraphVariant {
  const found = floatGraphs(manifest).find(({ serves, bank }) => serves === 'one' && bank === 'f32')
  if (found) return found
  throw new BackboneError(
    'The family has no graph for batches of one domain with an f32 bank. Build it again from its backbone (facet family build).',
  )
}

function listed({ graphs }: FamilyManifest): GraphVariant[] {
  if (!graphs)
    throw new FamilyError('The family', [
      'its manifest does not list its graphs, as those of today do: build it again from its backbone (facet family build)',
    ])
  return graphs
}

/** A graph of the family. What a calibration runs is as all others in plain ONNX where convolutions are concerned. */
export function readGraph({ file }: GraphVariant, read: ReadFile): Model {
  return loadModel(read(file), read, OWN_DOMAIN)
}

/**
 * The graphs in 8 bits, and the manifest of the family without them: a folder that lost them on the way is whole with
 * it.
 *
 * @throws FamilyError, BackboneError where the graphs are not ones that can be had in 8 bits
 */
export function int8Files(
  manifest: FamilyManifest,
  read: ReadFile,
  ranges: Ranges,
): { graphs: GraphVariant[]; files: Map<string, Uint8Array> } {
  const quantised = (variant: GraphVariant, weights: string, model: Model) => {
    const file = variant.file.replace(/^trunk/, 'trunk.int8')
    return { variant: { ...variant, weights, file }, file, model }
  }
  const made = floatGraphs(manifest).map((variant) =>
    quantised(variant, 'int8', int8Graph(readGraph(variant, read), ranges)),
  )
  for (const variant of listed(manifest).filter((each) => isOwn(each) && !isInt8(each))) {
    const plain = findGraph(manifest, { serves: variant.serves, bank: variant.bank })
    if (!plain) continue
    const model = int8OwnGraph(readGraph(variant, read), readGraph(plain, read), ranges)
    made.push(quantised(variant, ownWeights('int8'), model))
  }
  return { graphs: made.map(({ variant }) => variant), files: graphFiles(made, INT8_WEIGHTS_FILE) }
}

/** Begins the names of all files of the graphs in 8 bits. */
const INT8_PREFIX = 'trunk.int8.'

export function isInt8File(name: string): boolean {
  return name.startsWith(INT8_PREFIX)
}

/** The manifest of a family without graphs in 8 bits. */
export function withoutInt8(manifest: FamilyManifest): FamilyManifest {
  const { int8: _, ...rest } = manifest
  const graphs = listed(manifest).filter((variant) => !isInt8(variant))
  const files = Object.entries(manifest.files).filter(([name]) => !isInt8File(name))
  return { ...rest, graphs, files: Object.fromEntries(files) }
}

/** The manifest of a family with these graphs in 8 bits beside its others. */
export function withInt8(
  manifest: FamilyManifest,
  { graphs, files }: { graphs: readonly GraphVariant[]; files: ReadonlyMap<string, Uint8Array> },
  record: Int8Record,
): FamilyManifest {
  const plain = withoutInt8(manifest)
  const entries = [...files].map(([name, bytes]) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return [name, { sha256, bytes: bytes.byteLength }] as const
  })
  return {
    ...plain,
    graphs: [...plain.graphs!, ...graphs],
    files: { ...plain.files, ...Object.fromEntries(entries) },
    int8: record,
  }
}
