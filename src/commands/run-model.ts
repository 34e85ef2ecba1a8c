/** Runs ONNX models with onnxruntime in this thread, for building: the compiler itself knows no runtime. */
import type { OrtRuntime } from '../engine/runtime/ort.js'
import { availableCores } from '../host/cpu-quota.js'
import { FLOAT, FLOAT16, INT32, INT64, INT8, type Tensor, UINT8 } from '../onnx/onnx.js'
import type { RunModel } from '../onnx/run.js'

/** ONNX's numbers of element types, by onnxruntime's names. */
const elementTypes: Record<string, number> = {
  float32: FLOAT,
  uint8: UINT8,
  int8: INT8,
  uint16: 4,
  int16: 5,
  int32: INT32,
  int64: INT64,
  bool: 9,
  float16: FLOAT16,
  float64: 11,
  uint32: 12,
  uint64: 13,
}

/** `RunModel` on the CPU, by all cores that this process may use. */
export const runModel: RunModel = async (model, feeds) => {
  // Imported here and not with the program: the service must not load the runtime on its main thread.
  const { OrtRuntime } = await import('../engine/runtime/ort.js')
  // Every node runs: onnxruntime would leave out what it thinks it knows, and with it a node that fails.
  const runtime = new OrtRuntime({ kind: 'cpu' }, availableCores(), false)
  const session = await runtime.open(model)
  try {
    const results: Map<string, Tensor>[] = []
    for (const feed of feeds) {
      const inputs = Object.fromEntries([...feed].map(([name, tensor]) => [name, input(runtime, tensor)]))
      const outputs = await session.runRaw(inputs, session.outputNames)
      results.push(
        new Map(
          outputs.map(({ type, bytes, dims }, index): [string, Tensor] => [
            session.outputNames[index]!,
            { dims: [...dims], type: elementTypes[type]!, bytes },
          ]),
        ),
      )
    }
    return results
  } finally {
    await session.release()
  }
}

function input(runtime: OrtRuntime, { dims, type, bytes }: Tensor) {
  const { buffer } = new Uint8Array(bytes)
  if (type === FLOAT) return runtime.tensor('float32', new Float32Array(buffer), dims)
  if (type === FLOAT16) return runtime.tensor('float16', new Uint16Array(buffer), dims)
  return runtime.tensor('uint8', new Uint8Array(buffer), dims)
}
