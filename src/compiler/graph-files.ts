/** Graphs as files: each its own, and one with the large weights that they have in common. */
import { FLOAT16, type Model, type Place, saveModel, type Tensor } from '../onnx/onnx.js'
import { LARGE_WEIGHT_BYTES } from '../onnx/writer.js'

/** The large weights, external data of all float graphs. Absent where no weight is large. */
export const WEIGHTS_FILE = 'trunk.weights'
/** The same of the graphs in 8 bits. */
export const INT8_WEIGHTS_FILE = 'trunk.int8.weights'

/**
 * The files of graphs that have the same weights.
 *
 * @param weights name of the file with the large weights; there is none where no weight is large
 */
export function graphFiles(
  graphs: readonly { file: string; model: Model }[],
  weights: string,
): Map<string, Uint8Array> {
  const { places, bytes } = placeWeights(graphs[0]!.model.constants, weights)
  const files = new Map(graphs.map(({ file, model }) => [file, saveModel(model, places)]))
  if (bytes.byteLength > 0) files.set(weights, bytes)
  return files
}

/**
 * Places large constants one after the other, each at the start of a page so that it can be mapped into
 * memory.
 */
function placeWeights(
  constants: ReadonlyMap<string, Tensor>,
  location: string,
): { places: Map<string, Place>; bytes: Uint8Array } {
  const pageBytes = 4096
  const places = new Map<string, Place>()
  let end = 0
  const large = [...constants].filter(
    ([, tensor]) => tensor.type === FLOAT16 || tensor.bytes.byteLength >= LARGE_WEIGHT_BYTES,
  )
  for (const [name, tensor] of large) {
    const offset = Math.ceil(end / pageBytes) * pageBytes
    places.set(name, { location, offset })
    end = offset + tensor.bytes.byteLength
  }
  const bytes = new Uint8Array(end)
  for (const [name, tensor] of large) bytes.set(tensor.bytes, places.get(name)!.offset)
  return { places, bytes }
}
