/** The backbone itself with its feature vector as the output, to compare a built family with. */
import { loadModel, type ReadExternal, saveModel } from '../onnx/onnx.js'
import type { Normalisation } from './normalisation.js'

/** How a backbone is run for the features of the family built from it. */
export interface BackboneInterface {
  /** The value that holds the features, by the backbone's own name. */
  features: string
  /** It takes `[N, H, W, 3]`. */
  channelsLast: boolean
  /** What makes pixels into its input. */
  normalisation: Normalisation
  /** It computes in half precision. */
  half: boolean
}

export interface BackboneModel {
  /** An ONNX file with all weights inside. */
  bytes: Uint8Array
  /** Name of the image input, and its element type. */
  input: string
  type: number
  /** Images it takes at once; null for any number. */
  batch: number | null
}

/**
 * The same graph with `features` as its only output; no node is edited.
 *
 * @throws BackboneError as `loadModel`
 */
export function backboneModel(bytes: Uint8Array, features: string, external?: ReadExternal): BackboneModel {
  const model = loadModel(bytes, external)
  const [input] = model.inputs
  const batch = input!.dims?.[0]
  return {
    bytes: saveModel({ ...model, outputs: [{ name: features, type: 0, dims: undefined }] }),
    input: input!.name,
    type: input!.type,
    batch: typeof batch === 'number' ? batch : null,
  }
}
