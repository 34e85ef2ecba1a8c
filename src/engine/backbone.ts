/** Runs a backbone once, on the thread that asks: for commands, never for the service. */
import { InferenceSession, Tensor } from 'onnxruntime-node'

/**
 * The only output of an ONNX model, flat.
 *
 * @param input name of its float32 input, of the shape `dims`
 * @throws Error of onnxruntime where it cannot load or run the model
 */
export async function runBackbone(
  model: Uint8Array,
  input: string,
  values: Float32Array,
  dims: readonly number[],
): Promise<Float32Array> {
  const session = await InferenceSession.create(model, { logSeverityLevel: 3 })
  try {
    const [output] = session.outputNames
    const outputs = await session.run({ [input]: new Tensor('float32', values, dims) })
    return outputs[output!]!.data as Float32Array
  } finally {
    await session.release()
  }
}
