/** What lanes run, and how, whatever they are made of. */
import type { BankTensor } from '../manifest/layout.js'
import type { EngineBatch } from './batch.js'
import type { Device } from './runtime/runtime.js'

export type BankDtype = 'f32' | 'f16'
/**
 * Where rows are, and how a run is fed. `shared`: in the process's memory; a run gets the rows of its batch's domains,
 * batches of one domain have a graph of their own, and batches have the size they have. `compact`: the same for a device
 * that copies its inputs and prepares for each new shape: one graph runs all batches, and they are padded to few sizes.
 * `device`: rows are in the device's own memory, where the graph finds them by their numbers, and batches are padded; the
 * native runtime alone can do that.
 */
export type BankMode = 'shared' | 'compact' | 'device'

/** What is asked of the device that has the bank. */
export interface DeviceOptions {
  /** Bytes that trunk, rows and runs may take there; unbounded unless given. */
  memory?: number
  /** A GPU may round the factors of its products to 10 bits (TF32), which is several times as fast. */
  tf32?: boolean
  /** Further options of ONNX Runtime's CUDA provider, by name. */
  provider?: Readonly<Record<string, string>>
}

/**
 * Images of a run that has so many, for a device that prepares for each new size: 1, 2, 4, 8, 16, 24, 32, 48, 64 and so
 * on, powers of two and from 16 on what lies in the middle between two. At most a third of a large run is padding.
 */
export function paddedBatch(samples: number): number {
  const power = 2 ** Math.ceil(Math.log2(samples))
  const middle = 0.75 * power
  return power > 16 && samples <= middle ? middle : power
}

export interface TrunkPlan {
  /** Absolute path of the trunk's graph for batches of any domains. */
  mixedGraph: string
  /** The same for batches of one domain; null where the mixed graph runs those too. */
  singleGraph: string | null
  /** The mixed graph is made of Facet's own operator. */
  own: boolean
  bankDtype: BankDtype
  bankMode: BankMode
  device: Device
  /** Of the device that has the bank. */
  deviceOptions: DeviceOptions
  /** Threads of one run in one lane. */
  threads: number
  /** The tensors of a bank row. */
  tensors: readonly Omit<BankTensor, 'parts'>[]
  /** The trunk's input and output sizes. */
  height: number
  width: number
  features: number
  /** Images of the run of the base at the start, so that memory for batches of so many is taken then. */
  warmBatch: number
}

/** What a lane says of itself when it has run the base. */
export interface Ready {
  /** `cpu`, or `cuda:0` with the device's number. */
  provider: string
}

/**
 * Runs the base on each graph: proves them, and takes the memory of the largest usual batch now.
 *
 * @param run gives the features of a batch, of each lane that runs it. `single`: on the graph for batches of one domain
 * @throws Error where they are not finite; what `run` throws
 */
export async function warmUp(
  { singleGraph, warmBatch, height, width }: TrunkPlan,
  run: (batch: () => EngineBatch, single: boolean) => Promise<readonly Float32Array[]>,
): Promise<void> {
  const black = () => ({
    pixels: new Uint8Array(warmBatch * height * width * 3),
    rows: new Int32Array(warmBatch),
  })
  for (const single of singleGraph === null ? [false] : [true, false])
    for (const features of await run(black, single))
      if (!features.every(Number.isFinite)) throw new Error('the forward pass on the base is not finite')
}
