/**
 * The fp16 variant of a family's graphs: the same trunk, computed in half precision from the pixels to the features. It is
 * for GPUs, whose tensor cores are made for it; a CPU computes it in float32 and rounds in between. The stored weights
 * are those of the other graphs, rounded when a graph is opened, and packs stay valid.
 */
import { createHash } from 'node:crypto'
import { FamilyError } from '../manifest/family-error.js'
import { findGraph, isFp16, FP16 } from '../manifest/graphs.js'
import { FEATURES, INNER_PREFIX } from '../manifest/layout.js'
import type { FamilyManifest, GraphVariant } from '../manifest/manifest.js'
import {
  FLOAT,
  FLOAT16,
  intAttribute,
  intOf,
  loadTensor,
  type Model,
  type Node,
  type Tensor,
} from '../onnx/onnx.js'
import { halved } from '../onnx/half.js'
import { LARGE_WEIGHT_BYTES } from '../onnx/writer.js'
import { graphFiles, WEIGHTS_FILE } from './graph-files.js'
import { type ReadFile, readGraph } from './quantise.js'

/** Inputs of operators that are float32 whatever the images are. */
const STAY_FLOAT: Readonly<Record<string, readonly number[]>> = { Resize: [1, 2], Upsample: [1] }

/** Graphs in half precision, and the files that they need beside those of the family. */
export interface HalfGraphs {
  graphs: GraphVariant[]
  files: Map<string, Uint8Array>
}

/**
 * The graphs for batches of any domains in half precision, one for each type of bank.
 * @throws FamilyError, BackboneError where a value does not fit half precision
 */
export function halfGraphs(manifest: FamilyManifest, read: ReadFile): HalfGraphs {
  const graphs: GraphVariant[] = []
  const files = new Map<string, Uint8Array>()
  for (const bank of ['f32', 'f16'] as const) {
    const plain = findGraph(manifest, { serves: 'any', bank })
    if (!plain) throw new FamilyError('The family', [`it has no graph for any domains with an ${bank} bank`])
    const file = plain.file.replace(/^trunk/, 'trunk.fp16')
    const model = readGraph(plain, read)
    const made = graphFiles(
      [
        { file: plain.file, model },
        { file, model: halfGraph(model) },
      ],
      WEIGHTS_FILE,
    )
    const [weights, stored] = [made.get(WEIGHTS_FILE), manifest.files[WEIGHTS_FILE]]
    if (weights && sha256(weights) !== stored?.sha256)
      throw new FamilyError('The family', [
        'its weights lie otherwise than a build of today places them: build it again',
      ])
    files.set(file, made.get(file)!)
    graphs.push({ ...plain, weights: FP16, file })
  }
  return { graphs, files }
}

/** The manifest of a family with these graphs beside its others, instead of such that it had. */
export function withHalf(manifest: FamilyManifest, { graphs, files }: HalfGraphs): FamilyManifest {
  const others = (manifest.graphs ?? []).filter((variant) => !isFp16(variant))
  const entries = [...files].map(([name, bytes]) => {
    return [name, { sha256: sha256(bytes), bytes: bytes.byteLength }] as const
  })
  return {
    ...manifest,
    graphs: [...others, ...graphs],
    files: { ...manifest.files, ...Object.fromEntries(entries) },
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/**
 * A trunk's graph in half precision. Its inputs and its output stay what they are: what is gathered of a float32 bank is
 * cast, and so are the features at the end.
 */
export function halfGraph(model: Model): Model {
  const constants = new Map<string, Tensor>()
  const casts: Node[] = []
  const renamed = new Map<string, string>([[FEATURES, `${INNER_PREFIX}fp16/features`]])
  const kept = namesThatStay(model.nodes)
  for (const [name, tensor] of model.constants) {
    const isLarge = tensor.bytes.byteLength >= LARGE_WEIGHT_BYTES
    if (tensor.type !== FLOAT || kept.has(name)) constants.set(name, tensor)
    else if (isLarge) {
      // The file of the weights is that of all graphs, so they are cast when the graph is opened.
      constants.set(name, tensor)
      renamed.set(name, `${INNER_PREFIX}fp16/${name}`)
      casts.push(castNode(name, FLOAT16, renamed.get(name)!))
    } else constants.set(name, halved(tensor, refusal(name)))
  }
  const banks = new Set(model.inputs.filter(({ type }) => type === FLOAT).map(({ name }) => name))
  const nodes = model.nodes.flatMap((node): Node[] => {
    const half = halvedNode({
      ...node,
      inputs: node.inputs.map((name, at) =>
        STAY_FLOAT[node.op]?.includes(at) ? name : (renamed.get(name) ?? name),
      ),
      outputs: node.outputs.map((name) => renamed.get(name) ?? name),
    })
    if (!node.inputs.some((name) => banks.has(name))) return [half]
    const [output] = half.outputs
    const gathered = `${INNER_PREFIX}fp16/gathered/${output}`
    return [{ ...half, outputs: [gathered] }, castNode(gathered, FLOAT16, output!)]
  })
  return {
    ...model,
    constants,
    nodes: [...casts, ...nodes, castNode(renamed.get(FEATURES)!, FLOAT, FEATURES)],
    values: [],
  }
}

/** Constants that some operator takes as float32. */
function namesThatStay(nodes: readonly Node[]): Set<string> {
  return new Set(nodes.flatMap(({ op, inputs }) => (STAY_FLOAT[op] ?? []).map((at) => inputs[at] ?? '')))
}

function castNode(input: string, to: number, output: string): Node {
  return {
    name: `cast/${output}`,
    op: 'Cast',
    inputs: [input],
    outputs: [output],
    attributes: [intAttribute('to', to)],
  }
}

function halvedNode(node: Node): Node {
  if (node.op === 'Cast' && intOf(node, 'to', FLOAT) === FLOAT)
    return { ...node, attributes: [intAttribute('to', FLOAT16)] }
  const attributes = node.attributes.map((attribute) => {
    if (attribute.t?.dataType !== FLOAT) return attribute
    const tensor = loadTensor(attribute.t, node.name, () => undefined)
    const { dims, bytes } = halved(tensor, refusal(node.name))
    return { ...attribute, t: { dims, dataType: FLOAT16, rawData: bytes } }
  })
  return { ...node, attributes }
}

/** What is said of a constant that does not fit. */
function refusal(name: string): (reason: string) => string {
  return (reason) => `The trunk cannot be computed in half precision: ${name}: ${reason}.`
}
