/**
 * The thread of a lane: the trunk's sessions, the bank and the heads behind the messages of `messages.ts`.
 *
 * The service's only importer of onnxruntime-node, because `session.run()` blocks the thread it is called on (design:
 * section 4). No policy: it does what each message says, in order, and answers.
 */
import { type MessagePort, parentPort } from 'node:worker_threads'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { AFFINE, BIAS, FEATURES, MATRIX_ROW, PIXELS, ROW, SCALE } from '../manifest/layout.js'
import { type Bank, makeBank } from './bank.js'
import { BatchInputs } from './batch-inputs.js'
import { free } from '../bytes/free.js'
import { gatherFeatures, HEAD_GEMM_FROM, headGraph, headLogits } from './heads.js'
import {
  type EngineBatch,
  type EngineInit,
  type EngineResult,
  type FromWorker,
  type HeadTensors,
  type Ready,
  type RowTensors,
  type SharedRow,
  sidesOf,
  type ToWorker,
} from './messages.js'
import { providerEntry, providerName, startFailure } from './provider.js'

/** Spinning threads burn the CPU between runs and ruin each other (design: section 4). */
const noSpinning = { session: { intra_op: { allow_spinning: '0' } } }

function sessionOptions(init: EngineInit): InferenceSession.SessionOptions {
  return {
    executionProviders: [providerEntry(init.device)],
    intraOpNumThreads: init.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    // Batch sizes vary, and a pattern would be planned anew for each.
    enableMemPattern: false,
    extra: noSpinning,
  }
}

/** Everything a lane has: it is made by `init` and gone with the thread. */
class Trunk {
  readonly #init: EngineInit
  readonly #session: InferenceSession
  /** For batches of one domain; null where those go through `#session` too. */
  readonly #sessionOfOne: InferenceSession | null
  readonly #heads: InferenceSession
  readonly #bank: Bank<Tensor>
  readonly #inputs = new BatchInputs((type, data, dims) => new Tensor(type, data, dims))
  #runs = 0
  #smallImages = false

  private constructor(
    init: EngineInit,
    session: InferenceSession,
    sessionOfOne: InferenceSession | null,
    heads: InferenceSession,
  ) {
    this.#init = init
    this.#session = session
    this.#sessionOfOne = sessionOfOne
    this.#heads = heads
    const type = init.bankDtype === 'f32' ? 'float32' : 'float16'
    this.#bank = makeBank(init.bankMode, init, (data, dims) => new Tensor(type, data, dims), free)
  }

  /** Loads the trunk's graphs, stages the base in row 0 and proves both by a forward pass. */
  static async open(init: EngineInit): Promise<Trunk> {
    const matrices = init.matrices.map(({ input }) => input)
    const session = await openTrunk(init, init.trunk, [PIXELS, ROW, MATRIX_ROW, AFFINE, ...matrices])
    const sessionOfOne =
      init.trunkOfOne === null
        ? null
        : await openTrunk(init, init.trunkOfOne, [PIXELS, SCALE, BIAS, ...matrices])
    const heads = await InferenceSession.create(headGraph, {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      extra: noSpinning,
    })
    const trunk = new Trunk(init, session, sessionOfOne, heads)
    for (const segment of init.segments) trunk.share(segment)
    trunk.stage(0, init.base)
    const black = {
      pixels: new Uint8Array(init.warmBatch * init.height * init.width * 3),
      rows: new Int32Array(init.warmBatch),
    }
    for (const one of sessionOfOne ? [true, false] : [false]) {
      const features = await trunk.#features(black, one)
      if (!features.every(Number.isFinite)) throw new Error('the forward pass on the base is not finite')
    }
    trunk.#smallImages = sessionOfOne !== null && (await trunk.#takesSmall())
    return trunk
  }

  get ready(): Ready {
    return { provider: providerName(this.#init.device), smallImages: this.#smallImages }
  }

  share(segment: SharedArrayBuffer): void {
    this.#bank.share(segment)
  }

  stage(row: number, content: RowTensors | SharedRow): void {
    this.#bank.stage(row, content)
  }

  clear(row: number): void {
    this.#bank.clear(row)
  }

  /** One `session.run` of the trunk, whatever the mix of rows; then each row's head on its samples. */
  async run(batch: EngineBatch): Promise<EngineResult> {
    const start = performance.now()
    const { rows } = batch
    const one = this.#sessionOfOne !== null && rows.every((row) => row === rows[0])
    if (batch.small && !one) throw new Error('small images are for batches of one row')
    const features = await this.#features(batch, one)
    free([batch.pixels])
    const logits = await this.#logits(features, rows)
    return { features, logits, inferenceMs: performance.now() - start, runs: this.#runs }
  }

  async close(): Promise<void> {
    await this.#session.release()
    await this.#sessionOfOne?.release()
    await this.#heads.release()
  }

  /** Whether a small image has as many features as a whole one: a backbone that flattens its last maps, or reshapes them
   * to sizes of its own, is bound to one size. */
  async #takesSmall(): Promise<boolean> {
    const { height, width } = sidesOf(this.#init, true)
    const black = { pixels: new Uint8Array(height * width * 3), rows: new Int32Array(1), small: true }
    try {
      return (await this.#features(black, true)).length === this.#init.features
    } catch {
      return false
    }
  }

  /** `[N, F]`, through the graph for batches of one domain or the one for any. */
  async #features(batch: EngineBatch, one: boolean): Promise<Float32Array> {
    const feeds = one ? this.#feedsOfOne(batch) : this.#feeds(batch)
    const session = one ? this.#sessionOfOne! : this.#session
    this.#runs += 1
    // A run that fails is told by its error; onnxruntime would also write it to stderr.
    const outputs = await session.run(feeds, [FEATURES], { logSeverityLevel: 4 })
    return (outputs[FEATURES]!.data as Float32Array).subarray(0, batch.rows.length * this.#init.features)
  }

  #feedsOfOne({ pixels, rows, small }: EngineBatch): Record<string, Tensor> {
    const { height, width } = sidesOf(this.#init, small)
    const feeds = this.#bank.feedsOfOne(rows[0]!)
    feeds[PIXELS] = this.#inputs.pixels(pixels, [rows.length, height, width, 3])
    return feeds
  }

  #feeds({ pixels, rows }: EngineBatch): Record<string, Tensor> {
    const { height, width } = this.#init
    const bank = this.#bank.feeds(rows)
    const size = this.#batchSize(rows.length)
    const feeds = bank.tensors
    const sampleRows = this.#inputs.rows(bank.rows, size)
    feeds[PIXELS] = this.#inputs.pixels(pixels, [size, height, width, 3])
    feeds[ROW] = sampleRows
    // One matrix for all samples is broadcast; the graph then copies none.
    feeds[MATRIX_ROW] = bank.uniform ? this.#inputs.firstRow() : sampleRows
    return feeds
  }

  /** Each new shape costs a search for algorithms on CUDA: the compact bank keeps to powers of two. */
  #batchSize(samples: number): number {
    return this.#init.bankMode === 'compact' ? 2 ** Math.ceil(Math.log2(samples)) : samples
  }

  /** All logits of a batch share one buffer, so that they travel as one. */
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
    head: HeadTensors,
    out: Float32Array,
  ): Promise<void> {
    const length = this.#init.features
    if (samples.length * head.weight.length < HEAD_GEMM_FROM) {
      headLogits(features, length, samples, head, out)
      return
    }
    const { y } = await this.#heads.run({
      x: new Tensor('float32', gatherFeatures(features, length, samples), [samples.length, length]),
      w: new Tensor('float32', head.weight, [head.classes, length]),
      b: new Tensor('float32', head.bias, [head.classes]),
    })
    out.set(y!.data as Float32Array)
  }
}

/** Opens a graph. One that does not belong to its manifest must not start. */
async function openTrunk(init: EngineInit, path: string, inputs: string[]): Promise<InferenceSession> {
  let session: InferenceSession
  try {
    session = await InferenceSession.create(path, sessionOptions(init))
  } catch (error) {
    throw startFailure(init.device, error)
  }
  const missing = inputs.filter((name) => !session.inputNames.includes(name))
  const unknown = session.inputNames.filter((name) => !inputs.includes(name))
  if (missing.length + unknown.length > 0)
    throw new Error(
      `the trunk does not fit its manifest: inputs missing [${missing.join(', ')}], unknown [${unknown.join(', ')}]; build the family again`,
    )
  if (!session.outputNames.includes(FEATURES)) throw new Error(`the trunk has no output '${FEATURES}'`)
  return session
}

/** Buffers that leave with a result. */
function transferOf({ features, logits }: EngineResult): ArrayBuffer[] {
  const buffers = new Set([features.buffer as ArrayBuffer])
  for (const values of logits) if (values) buffers.add(values.buffer as ArrayBuffer)
  return [...buffers]
}

function serve(port: MessagePort): void {
  let trunk: Trunk | undefined
  let tail = Promise.resolve()

  const reply = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer)

  const handle = async (message: ToWorker): Promise<void> => {
    switch (message.type) {
      case 'init':
        trunk = await Trunk.open(message.init)
        return reply({ type: 'ready', ...trunk.ready })
      case 'share':
        return trunk!.share(message.segment)
      case 'stage':
        trunk!.stage(message.row, message.content)
        return reply({ type: 'staged', id: message.id })
      case 'clear':
        return trunk!.clear(message.row)
      case 'run': {
        const result = await trunk!.run(message.batch)
        return reply({ type: 'result', id: message.id, result }, transferOf(result))
      }
      case 'stop':
        // The thread ends with its port, whatever the session says.
        try {
          await trunk?.close()
        } finally {
          port.close()
        }
    }
  }

  port.on('message', (message: ToWorker) => {
    tail = tail
      .then(() => handle(message))
      .catch((error: Error) => {
        reply({ type: 'failed', id: 'id' in message ? message.id : null, message: error.message })
        if (message.type === 'init') port.close()
      })
  })
}

serve(parentPort!)
