/** The backbone itself with its feature vector as the output, to compare a built family with. */
import { FLOAT, loadModel, type ReadExternal, saveModel } from '../onnx/onnx.js'

/** How a backbone is run for the features of the family built from it. */
export interface BackboneInterface {
  /** The value that holds the features, by the backbone's own name. */
  features: string
  /** It takes `[N, H, W, 3]`. */
  channelsLast: boolean
}

export interface BackboneModel {
  /** An ONNX file with all weights inside. */
  bytes: Uint8Array
  /** Name of the image input, float32. */
  input: string
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
    bytes: saveModel({ ...model, outputs: [{ name: features, type: FLOAT, dims: undefined }] }),
    input: input!.name,
    batch: typeof batch === 'number' ? batch : null,
  }
}
