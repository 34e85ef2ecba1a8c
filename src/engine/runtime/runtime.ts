/**
 * What runs a graph: the interface between a lane and the library that computes.
 *
 * A runtime belongs to the thread that made it. Its tensors are opaque (`T`): only the runtime that made one
 * reads it.
 */

export type Device = { kind: 'cpu' } | { kind: 'cuda'; id: number }

/** `cpu`, or `cuda:0` with the device's number. */
export function deviceName(device: Device): string {
  return device.kind === 'cpu' ? 'cpu' : `cuda:${device.id}`
}

/** The array that holds the values of each type of tensor. Half-precision values are their 16 bits. */
export interface TensorArrays {
  float32: Float32Array
  float16: Uint16Array
  uint8: Uint8Array
  int64: BigInt64Array
}

export interface Runtime<T> {
  /** The device that runs the graphs, as `deviceName` names it. */
  readonly provider: string
  /**
   * Loads a graph.
   * @param graph absolute path of an ONNX file, or its bytes
   * @throws Error that says why the graph cannot be loaded, with the remedy where one is known
   */
  open(graph: string | Uint8Array): Promise<Session<T>>
  /** A tensor over `data`, which is not copied: a run sees what `data` holds when the run begins. */
  tensor<Type extends keyof TensorArrays>(type: Type, data: TensorArrays[Type], dims: readonly number[]): T
}

export interface Output {
  values: Float32Array
  dims: readonly number[]
}

/** An output of any element type. */
export interface RawOutput {
  /** The element type as onnxruntime names it: `float32`, `int64`, `bool`, ... */
  type: string
  /** The values as they lie in memory. */
  bytes: Uint8Array
  dims: readonly number[]
}

/** One loaded graph. */
export interface Session<T> {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * Runs the graph for one of its outputs.
   * @param feeds a tensor for each input
   * @returns the float32 values of `output`, flat, in a buffer that is the caller's
   * @throws Error of the library where the run fails
   */
  run(feeds: Readonly<Record<string, T>>, output: string): Promise<Float32Array>
  /** The same for several outputs, in their order, with their shapes. */
  runAll(feeds: Readonly<Record<string, T>>, outputs: readonly string[]): Promise<Output[]>
  /** The same for outputs of any type that has a size: not for strings. */
  runRaw(feeds: Readonly<Record<string, T>>, outputs: readonly string[]): Promise<RawOutput[]>
  /** Frees the graph. It must not be run again. */
  release(): Promise<void>
}
