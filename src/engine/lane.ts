/**
 * A lane: what one thread of the engine needs to run batches. Two sessions of the trunk, the heads, the bank
 * and the buffers of the inputs.
 *
 * Knows neither the thread it is in nor the messages that drive it.
 */
import { free } from '../bytes/free.js'
import { FEATURES, MATRIX_ROW, PIXELS, ROW } from '../manifest/layout.js'
import { Bank } from './bank.js'
import { BatchInputs } from './batch-inputs.js'
import { type FloatHead, gatherFeatures, GRAPH_MIN_MULTIPLY_ADDS, headGraph, headLogits } from './heads.js'
import { checkSignature, mixedInputs, singleInputs, unloadable } from './trunk-inputs.js'
import type { EngineBatch, EngineResult } from './batch.js'
import type { EngineInit, SharedRow } from './messages.js'
import { paddedBatch, type Ready, warmUp } from './plan.js'
import type { Device, Runtime, Session } from './runtime/runtime.js'

/** Makes the runtime of a device. @param threads threads of one run */
export type MakeRuntime<T> = (device: Device, threads: number) => Runtime<T>

interface Sessions<T> {
  /** For batches of any domains. */
  mixed: Session<T>
  /** For batches of one domain; null where the mixed one runs those too. */
  single: Session<T> | null
  heads: Session<T>
}

export class Lane<T> {
  readonly #init: EngineInit
  readonly #runtime: Runtime<T>
  readonly #headRuntime: Runtime<T>
  readonly #sessions: Sessions<T>
  readonly #bank: Bank<T>
  readonly #inputs: BatchInputs<T>
  #runs = 0

  private constructor(init: EngineInit, runtime: Runtime<T>, headRuntime: Runtime<T>, sessions: Sessions<T>) {
    this.#init = init
    this.#runtime = runtime
    this.#headRuntime = headRuntime
    this.#sessions = sessions
    this.#bank = new Bank(init, runtime)
    this.#inputs = new BatchInputs(runtime)
  }

  /**
   * Loads the graphs, has the base in row 0 and runs the base once on each graph.
   * @throws Error that says what cannot be loaded or does not fit
   */
  static async open<T>(init: EngineInit, makeRuntime: MakeRuntime<T>): Promise<Lane<T>> {
    const runtime = makeRuntime(init.device, init.threads)
    const headRuntime = makeRuntime({ kind: 'cpu' }, 1)
    const mixed = await openTrunk(runtime, init.mixedGraph, mixedInputs(init))
    const single =
      init.singleGraph === null ? null : await openTrunk(runtime, init.singleGraph, singleInputs(init))
    const heads = await headRuntime.open(headGraph)
    const lane = new Lane(init, runtime, headRuntime, { mixed, single, heads })
    for (const segment of init.segments) lane.share(segment)
    lane.setRow(0, init.base)
    await warmUp(init, async (batch, single) => [await lane.#features(batch(), single)])
    return lane
  }

  get ready(): Ready {
    return { provider: this.#runtime.provider }
  }

  /** A further segment of shared memory, in which rows may lie from now on. */
  share(segment: SharedArrayBuffer): void {
    this.#bank.share(segment)
  }

  /** Where a row lies from now on. */
  setRow(row: number, content: SharedRow): void {
    this.#bank.setRow(row, content)
  }

  clear(row: number): void {
    this.#bank.clear(row)
  }

  /**
   * One run of the trunk, whatever the mix of rows, then each row's head on its samples. Frees the pixels.
   */
  async run(batch: EngineBatch): Promise<EngineResult> {
    const start = performance.now()
    const { rows } = batch
    const single = this.#sessions.single !== null && this.#bank.hasOneAdapter(rows)
    const features = await this.#features(batch, single)
    free([batch.pixels])
    const logits = await this.#logits(features, rows)
    return { features, logits, inferenceMs: performance.now() - start, runs: this.#runs }
  }

  async close(): Promise<void> {
    await this.#sessions.mixed.release()
    await this.#sessions.single?.release()
    await this.#sessions.heads.release()
  }

  /** The features of a batch, `[N, F]`. @param single use the graph for batches of one domain */
  async #features(batch: EngineBatch, single: boolean): Promise<Float32Array> {
    const feeds = single ? this.#singleFeeds(batch) : this.#mixedFeeds(batch)
    const session = single ? this.#sessions.single! : this.#sessions.mixed
    this.#runs += 1
    const features = await session.run(feeds, FEATURES)
    return features.subarray(0, batch.rows.length * this.#init.features)
  }

  #singleFeeds({ pixels, rows }: EngineBatch): Record<string, T> {
    const { height, width } = this.#init
    const feeds = this.#bank.singleFeeds(rows[0]!)
    feeds[PIXELS] = this.#inputs.pixels(pixels, [rows.length, height, width, 3])
    return feeds
  }

  #mixedFeeds({ pixels, rows }: EngineBatch): Record<string, T> {
    const { height, width } = this.#init
    const { feeds, places, matrixPlaces } = this.#bank.mixedFeeds(rows)
    const size = this.#batchSize(rows.length)
    feeds[PIXELS] = this.#inputs.pixels(pixels, [size, height, width, 3])
    feeds[ROW] = this.#inputs.rows(places, size)
    feeds[MATRIX_ROW] = this.#inputs.matrixRows(matrixPlaces, matrixPlaces.length === 1 ? 1 : size)
    return feeds
  }

  /** Samples of a run. CUDA searches its algorithms anew for each shape, so a compact bank keeps to few sizes. */
  #batchSize(samples: number): number {
    return this.#init.bankMode === 'compact' ? paddedBatch(samples) : samples
  }

  /**
   * The logits of each sample, null without a head. All of a batch share one buffer, so that they travel as
   * one.
   */
  async #logits(features: Float32Array, rows: Int32Array): Promise<(Float32Array | null)[]> {
    const logits: (Float32Array | null)[] = new Array(rows.length).fill(null)
    const samplesOf = new Map<number, number[]>()
    let total = 0
    rows.forEach((row, sample) => {
      const classes = this.#bank.classes(row)
      if (classes === 0) return
      total += classes
      const samples = samplesOf.get(row)
      if (samples) samples.push(sample)
      else samplesOf.set(row, [sample])
    })
    const all = new Float32Array(total)
    let offset = 0
    for (const [row, samples] of samplesOf) {
      const head = this.#bank.head(row)
      const out = all.subarray(offset, offset + samples.length * head.classes)
      await this.#runHead(features, samples, head, out)
      samples.forEach((sample, position) => {
        logits[sample] = out.subarray(position * head.classes, (position + 1) * head.classes)
      })
      offset += out.length
    }
    return logits
  }

  async #runHead(
    features: Float32Array,
    samples: number[],
    head: FloatHead,
    out: Float32Array,
  ): Promise<void> {
    const length = this.#init.features
    if (samples.length * head.weight.length < GRAPH_MIN_MULTIPLY_ADDS) {
      headLogits(features, length, samples, head, out)
      return
    }
    const runtime = this.#headRuntime
    const feeds = {
      x: runtime.tensor('float32', gatherFeatures(features, length, samples), [samples.length, length]),
      w: runtime.tensor('float32', head.weight, [head.classes, length]),
      b: runtime.tensor('float32', head.bias, [head.classes]),
    }
    out.set(await this.#sessions.heads.run(feeds, 'y'))
  }
}

async function openTrunk<T>(runtime: Runtime<T>, file: string, inputs: string[]): Promise<Session<T>> {
  const session = await runtime.open(file).catch((cause: Error) => {
    throw unloadable(cause.message, cause)
  })
  checkSignature(session, inputs)
  return session
}
