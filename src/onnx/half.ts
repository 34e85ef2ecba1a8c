/** Constants in half precision. */
import { encodeFloat16, Float16RangeError } from '../bytes/float16.js'
import { BackboneError, FLOAT16, floats, type Tensor } from './onnx.js'

/**
 * A float32 constant in half precision.
 * @param refused what is said of one that has a value too large for it
 * @throws BackboneError
 */
export function halved(tensor: Tensor, refused: (reason: string) => string): Tensor {
  try {
    return { dims: tensor.dims, type: FLOAT16, bytes: new Uint8Array(encodeFloat16(floats(tensor)).buffer) }
  } catch (error) {
    if (!(error instanceof Float16RangeError)) throw error
    throw new BackboneError(refused(error.message))
  }
}
