/**
 * The runtime on onnxruntime-node, and the only file that imports it.
 *
 * `session.run()` blocks the thread that calls it, so the service makes this runtime in worker threads only
 * (docs/decisions/0001-onnxruntime-in-worker-threads.md). A session cannot be used from another thread.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { cudaFailure } from './cuda.js'
import {
  type Device,
  deviceName,
  type Output,
  type RawOutput,
  type Runtime,
  type Session,
  type TensorArrays,
} from './runtime.js'

export class OrtRuntime implements Runtime<Tensor> {
  readonly provider: string
  readonly #device: Device
  readonly #options: InferenceSession.SessionOptions

  /**
   * @param threads threads of one run
   * @param optimise rewrites graphs when they are opened; without, each node runs as it stands
   */
  constructor(device: Device, threads: number, optimise = true) {
    this.provider = deviceName(device)
    this.#device = device
    this.#options = {
      executionProviders: [device.kind === 'cpu' ? { name: 'cpu' } : { name: 'cuda', deviceId: device.id }],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: optimise ? 'all' : 'disabled',
      // Batch sizes vary, and a memory pattern would be planned anew for each.
      enableMemPattern: false,
      // Threads that spin between runs cost CPU, and several spinning sessions in one process slow each other
      // down.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
      // Errors. Warnings are about how a graph was made.
      logSeverityLevel: 3,
    }
  }

  async open(graph: string | Uint8Array): Promise<Session<Tensor>> {
    try {
      // Its overloads take a path or bytes, and no union of them.
      return new OrtSession(await InferenceSession.create(graph as string, this.#options))
    } catch (error) {
      throw this.#device.kind === 'cuda' ? cudaFailure(this.#device.id, textOf(error), error) : error
    }
  }

  tensor<Type extends keyof TensorArrays>(
    type: Type,
    data: TensorArrays[Type],
    dims: readonly number[],
  ): Tensor {
    const tensor = new Tensor(type, data, dims)
    // Where `Float16Array` exists (Node 23 and later) the tensor turns the bits into one, and the native side
    // of 1.30 takes its length for 0 (github.com/microsoft/onnxruntime/pull/32323). It reads `data`, and
    // accepts the bits there.
    if (type === 'float16') Object.defineProperty(tensor, 'data', { value: data })
    return tensor
  }
}

class OrtSession implements Session<Tensor> {
  readonly #session: InferenceSession

  constructor(session: InferenceSession) {
    this.#session = session
  }

  get inputNames(): readonly string[] {
    return this.#session.inputNames
  }

  get outputNames(): readonly string[] {
    return this.#session.outputNames
  }

  async run(feeds: Readonly<Record<string, Tensor>>, output: string): Promise<Float32Array> {
    const [found] = await this.runAll(feeds, [output])
    return found!.values
  }

  async runAll(feeds: Readonly<Record<string, Tensor>>, outputs: readonly string[]): Promise<Output[]> {
    const found = await this.#run(feeds, outputs)
    return found.map(({ data, dims }) => ({ values: data as Float32Array, dims }))
  }

  async runRaw(feeds: Readonly<Record<string, Tensor>>, outputs: readonly string[]): Promise<RawOutput[]> {
    const found = await this.#run(feeds, outputs)
    return found.map(({ type, data, dims }) => {
      if (!ArrayBuffer.isView(data)) throw new TypeError(`no numbers, but ${type}`)
      return { type, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength), dims }
    })
  }

  async #run(feeds: Readonly<Record<string, Tensor>>, outputs: readonly string[]): Promise<Tensor[]> {
    // Nothing is logged: onnxruntime would write a failure to stderr as well as throw it.
    const found = await this.#session.run(feeds, outputs, { logSeverityLevel: 4 })
    return outputs.map((name) => found[name]!)
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
