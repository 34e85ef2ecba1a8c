/**
 * Lanes of the native runtime: threads that run one session of the trunk, over a bank in native memory.
 *
 * Nothing is sent to a thread. A run names rows, and its pixels and answers lie in arrays that this file keeps
 * until it is answered: the other half of the contract in native/src/lib.rs. A row is written once, and is then
 * what every lane reads; where the bank is on a device, a thread of the add-on brings it there when it is published.
 */
import { free } from '../bytes/free.js'
import { finish, type Steps } from '../concurrency/turns.js'
import type { NativeDeviceOptions, NativeEngine, NativeEvent, NativeRuntime } from '../native/addon.js'
import { arraysOf, bytesOf, bytesOfRow, noRoom } from './bank-spec.js'
import { type EngineBatch, type EngineResult, ownPixels, type RowTensors } from './batch.js'
import { LaneGone, type LaneGroup, type LaneMaker, RequestFailed } from './lane-group.js'
import { NativeDedicated } from './native-dedicated.js'
import { paddedBatch, type Ready, type TrunkPlan, warmUp } from './plan.js'
import { cudaFailure, cudaOptions } from './runtime/cuda.js'
import { deviceName } from './runtime/runtime.js'
import { checkSignature, mixedInputs, singleInputs, unloadable } from './trunk-inputs.js'
import { Awaited, Unanswered } from './unanswered.js'

export interface NativeLanesOptions {
  plan: TrunkPlan
  /** Lanes of a group. */
  count: number
  /** Rows of the bank. */
  rows: number
  /** How many of them may have an adapter of their own, the base's included. */
  adapters: number
  /** How many may have matrices of their own, the base's included: memory on a device is taken for all of them. */
  matrices: number
  /** Bytes of all rows and heads at most. */
  memory: number
  /** Makes the base's row. */
  base: () => RowTensors
  native: NativeRuntime
}

export class NativeLaneMaker implements LaneMaker {
  readonly #options: NativeLanesOptions

  constructor(options: NativeLanesOptions) {
    this.#options = options
  }

  /** Facet's own operator has 16 numbers where a 3x3 kernel has 9. */
  get trunks(): number {
    const { singleGraph, own } = this.#options.plan
    return singleGraph === null && !own ? 1 : 2
  }

  launch(): LaneGroup {
    return new NativeLanes(this.#options)
  }
}

/** Bytes that are copied in a step. */
const COPIED_BYTES = 1 << 19

/** What onnxruntime, CUDA and the add-on say where a device has too little memory: nothing is wrong with what is installed. */
const OUT_OF_MEMORY =
  /Available memory of|Failed to allocate memory|out of memory|has no memory for|--gpu-memory/

/** What a lane says of a run that it has done. */
type Done = Extract<NativeEvent, { type: 'done' }>
/** What is said of a row that is on the device. */
type Written = Extract<NativeEvent, { type: 'written' }>

class NativeLanes implements LaneGroup {
  readonly dedicated: NativeDedicated
  readonly #options: NativeLanesOptions
  readonly #unanswered = new Unanswered<Done | Written>()
  /** Inputs and outputs of the graphs, once they are open. */
  readonly #opened = new Awaited<[string[], string[]][]>()
  readonly #lost = new Awaited<Error>()
  readonly #ended = new Awaited<Error>()
  /** Rows that were written and cannot be run yet. */
  readonly #written = new Map<number, { classes: number }>()
  /** Classes of each row that can be run. */
  readonly #classes = new Map<number, number>()
  /** Bytes of each row that has memory, and of all of them. */
  readonly #bytes = new Map<number, number>()
  #used = 0
  #native: NativeEngine | undefined
  #ready = 0
  /** Why no lane answers any more. */
  #gone: LaneGone | undefined

  constructor(options: NativeLanesOptions) {
    this.#options = options
    this.dedicated = new NativeDedicated(() => this.#native, options.plan.features)
  }

  get lost(): Promise<Error> {
    return this.#lost.answer
  }

  get gone(): Promise<unknown> {
    return this.#ended.answer
  }

  get ready(): number {
    return this.#ready
  }

  async start(): Promise<Ready> {
    const { plan, count, base } = this.#options
    if (this.#gone) throw this.#gone
    try {
      this.#open()
      const graphs = await this.#opened.answer
      const expected = [mixedInputs(plan), singleInputs(plan)]
      for (const [index, [inputNames, outputNames]] of graphs.entries())
        checkSignature({ inputNames, outputNames }, expected[index]!)
      finish(this.write(0, base()))
      await this.publish(0)
      await warmUp(plan, async (batch, single) => {
        const lanes = Array.from({ length: count }, (_, lane) => this.#send(batch(), { lane, single }))
        return (await Promise.all(lanes)).map(({ features }) => features)
      })
    } catch (error) {
      this.finish()
      throw error instanceof LaneGone ? error : new RequestFailed((error as Error).message, { cause: error })
    }
    if (this.#gone) throw this.#gone
    this.#ready = count
    return { provider: deviceName(plan.device) }
  }

  /** They are ready together. */
  async allReady(): Promise<void> {
    if (this.#gone) throw this.#gone
  }

  *write(row: number, content: RowTensors): Steps<void> {
    this.free(row)
    this.#classes.delete(row)
    this.dedicated.forget(row)
    const native = this.#alive()
    const { tensors, head } = content
    const classes = head?.classes ?? 0
    const { memory } = this.#options
    const bytes = bytesOfRow(content)
    if (this.#used + bytes > memory) {
      native.clearRow(row)
      throw noRoom(memory)
    }
    native.beginRow(row, tensors.length, classes, head?.weight instanceof Uint16Array)
    this.#bytes.set(row, bytes)
    this.#used += bytes
    for (const [index, tensor] of tensors.entries())
      yield* inPieces(bytesOf(tensor), (piece, at) => native.writeRow(row, index, at, piece))
    if (head) {
      native.writeHead(row, 0, bytesOf(head.bias))
      const start = head.bias.byteLength
      yield* inPieces(bytesOf(head.weight), (piece, at) => native.writeHead(row, start + at, piece))
    }
    free([...tensors, ...arraysOf(head)])
    this.#written.set(row, { classes })
  }

  async publish(row: number): Promise<void> {
    const native = this.#alive()
    const written = this.#written.get(row)
    const { id, answer } = this.#unanswered.add()
    try {
      if (native.commitRow(row, id)) await answer
    } finally {
      this.#unanswered.take(id)
    }
    // It may have been cleared on its way to the device.
    if (written === undefined || this.#written.get(row) !== written) return
    this.#classes.set(row, written.classes)
    this.#written.delete(row)
  }

  clear(row: number): void {
    this.#classes.delete(row)
    this.#written.delete(row)
    this.dedicated.forget(row)
    this.#native?.clearRow(row)
  }

  free(row: number): void {
    this.#used -= this.#bytes.get(row) ?? 0
    this.#bytes.delete(row)
  }

  run(batch: EngineBatch, signal?: AbortSignal): Promise<EngineResult> {
    return this.#send(batch, { signal })
  }

  runInEach(batch: () => EngineBatch): Promise<EngineResult[]> {
    return Promise.all(Array.from({ length: this.#ready }, (_, lane) => this.#send(batch(), { lane })))
  }

  finish(): void {
    this.#ready = 0
    if (this.#native) this.#native.finish()
    else this.#close(new LaneGone('the native lanes were not started'))
  }

  #open(): void {
    const { plan, native, rows, adapters, count } = this.#options
    const { mixedGraph, singleGraph, bankDtype, tensors, height, width, features, threads } = plan
    const options = {
      mixedGraph,
      ...(singleGraph !== null && { singleGraph }),
      half: bankDtype === 'f16',
      rows,
      adapters,
      tensors,
      height,
      width,
      features,
      lanes: count,
      threads,
      ...(plan.bankMode === 'device' && { device: this.#device() }),
    }
    this.#native = native.open(options, (event) => this.#receive(event))
  }

  #device(): NativeDeviceOptions {
    const { plan, matrices } = this.#options
    const { device, deviceOptions } = plan
    const { memory, provider } = deviceOptions
    const shared = { matrices, ...(memory !== undefined && { memory }) }
    if (device.kind === 'cpu') return { ...shared, provider: [] }
    return { ...shared, cuda: device.id, provider: cudaOptions(device.id, deviceOptions, provider) }
  }

  /** @throws LaneGone */
  #alive(): NativeEngine {
    if (this.#gone || !this.#native) throw this.#gone ?? new LaneGone('the native lanes were not started')
    return this.#native
  }

  /** @param how `lane`: the only one that may run it; `single`: use the graph for batches of one domain */
  async #send(
    batch: EngineBatch,
    how: { signal?: AbortSignal | undefined; lane?: number; single?: boolean },
  ): Promise<EngineResult> {
    const native = this.#alive()
    const { rows } = batch
    const classes = Array.from(rows, (row) => {
      const known = this.#classes.get(row)
      if (known === undefined) throw new RequestFailed(`bank row ${row} is empty`)
      return known
    })
    if (how.signal?.aborted) throw new RequestFailed('the run was given up before it began')
    const pixels = takenOver(batch.pixels)
    const features = new Float32Array(rows.length * this.#options.plan.features)
    const logits = new Float32Array(classes.reduce((sum, count) => sum + count, 0))
    const single = how.single ?? true
    const size = this.#options.plan.bankMode === 'device' ? paddedBatch(rows.length) : rows.length
    // The add-on decides by the same: what the row has now.
    const dedicated = single && this.dedicated.rows.has(rows[0]!) && rows.every((row) => row === rows[0])
    const { id, answer } = this.#unanswered.add()
    const cancel = () => native.cancel(id)
    how.signal?.addEventListener('abort', cancel, { once: true })
    try {
      const queued = native.run(id, rows, pixels, features, logits, single, how.lane, size)
      // A lane may have ended, and its event be on the way.
      if (!queued) throw new LaneGone('the native lanes are ending')
      const { ms, runs } = (await answer) as Done
      return { features, logits: split(logits, classes), inferenceMs: ms, runs, dedicated }
    } catch (error) {
      throw error instanceof LaneGone ? error : new RequestFailed((error as Error).message, { cause: error })
    } finally {
      // Where it was not queued, nobody answers it.
      this.#unanswered.take(id)
      how.signal?.removeEventListener('abort', cancel)
      free([pixels])
    }
  }

  #receive(event: NativeEvent): void {
    switch (event.type) {
      case 'opened':
        this.#opened.resolve(event.signatures)
        break
      case 'unopened':
        this.#opened.reject(this.#unopened(event.message))
        break
      case 'done':
      case 'written':
        this.#unanswered.take(event.id)?.resolve(event)
        break
      case 'failed':
        this.#unanswered.take(event.id)?.reject(new RequestFailed(event.message))
        break
      case 'dedicated':
      case 'undedicated':
        this.dedicated.receive(event)
        break
      case 'lost': {
        const reason = new LaneGone(`a native lane ended: ${event.message}`)
        this.#opened.reject(reason)
        if (event.id !== undefined) this.#unanswered.take(event.id)?.reject(reason)
        this.finish()
        this.#lost.resolve(reason)
        break
      }
      case 'ended':
        this.#close(new LaneGone('the native lanes have ended'))
    }
  }

  #unopened(reason: string): Error {
    const { device } = this.#options.plan
    if (OUT_OF_MEMORY.test(reason))
      return unloadable(`${reason.trim()}. Give it more (--gpu-memory), or lower --bank-memory`)
    return device.kind === 'cuda' ? cudaFailure(device.id, reason) : unloadable(reason)
  }

  #close(reason: LaneGone): void {
    if (this.#gone) return
    this.#gone = reason
    this.#ready = 0
    this.#native?.release()
    this.#native = undefined
    this.#opened.reject(reason)
    this.#unanswered.fail(reason)
    this.dedicated.close(reason)
    this.#lost.resolve(reason)
    this.#ended.resolve(reason)
  }
}

/** @param write copies a piece to byte `at` */
function* inPieces(bytes: Uint8Array, write: (piece: Uint8Array, at: number) => void): Steps<void> {
  for (let at = 0; at < bytes.length; at += COPIED_BYTES) {
    write(bytes.subarray(at, at + COPIED_BYTES), at)
    yield
  }
}

/** The logits of each sample, which lie one after the other. */
function split(logits: Float32Array, classes: readonly number[]): (Float32Array | null)[] {
  let end = 0
  return classes.map((count) => {
    if (count === 0) return null
    end += count
    return logits.subarray(end - count, end)
  })
}

/** The pixels in a buffer that nobody else has. The given array is empty then, unless it is a part of a larger buffer. */
function takenOver(pixels: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = ownPixels(pixels)
  return new Uint8Array(structuredClone(buffer, { transfer: [buffer] }))
}
