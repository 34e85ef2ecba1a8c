/**
 * Facet's side of a comparison, without HTTP and decoding: engine and scheduler, composed as in the service.
 */
import { pino } from 'pino'
import { BatchSizer, largestBatch } from '../../src/scheduler/batch-size.js'
import { systemClock } from '../../src/concurrency/clock.js'
import { Engine, type EngineOptions } from '../../src/engine/engine.js'
import type { EngineResult } from '../../src/engine/batch.js'
import type { BankDtype } from '../../src/engine/plan.js'
import type { Family } from '../../src/family/family.js'
import type { Pack } from '../../src/pack/pack.js'
import { packRow } from '../../src/engine/row.js'
import { batchRunner, type Sample, type SampleResult } from '../../src/predict/batch-runner.js'
import { Scheduler } from '../../src/scheduler/scheduler.js'
import { measuredNative } from './runtime.js'

export class BankSide {
  readonly engine: Engine
  readonly family: Family
  readonly #scheduler: Scheduler<Sample, SampleResult>
  /** Most images of a batch; null leaves the choice to the service's learner of batch sizes. */
  maxBatch: number | null = null
  readonly #sizer: BatchSizer
  readonly #bankDtype: BankDtype

  private constructor(engine: Engine, family: Family, lanes: number, largest: number, bankDtype: BankDtype) {
    this.#bankDtype = bankDtype
    this.engine = engine
    this.family = family
    this.#sizer = new BatchSizer({ max: largest })
    const { input, features } = family.manifest
    const sizes = { pixels: input.height * input.width * 3, features }
    this.#scheduler = new Scheduler<Sample, SampleResult>({
      run: batchRunner(engine, systemClock, sizes, ({ size, ms }) => {
        if (this.maxBatch === null) this.#sizer.record(size, ms)
      }),
      clock: systemClock,
      lanes: () => lanes,
      maxBatch: () => this.maxBatch ?? this.#sizer.size,
      runMs: (size) => this.#sizer.runMs(size),
    })
  }

  /**
   * Starts engine and scheduler, and writes `packs[d]` into row `d + 1`.
   * @param options `rows` includes the base's
   */
  static async start(
    family: Family,
    packs: Iterable<Pack>,
    options: Pick<EngineOptions, 'rows' | 'lanes' | 'threads'> & Partial<EngineOptions>,
  ): Promise<BankSide> {
    const { kind } = options.device ?? { kind: 'cpu' }
    const native = kind === 'cpu' ? measuredNative() : undefined
    const engine = new Engine({
      family,
      bankDtype: 'f32',
      bankMode: 'shared',
      device: { kind: 'cpu' },
      logger: pino({ level: 'silent' }),
      clock: systemClock,
      warmBatch: kind === 'cpu' ? largestBatch.cpu : 1,
      ...(native && { native }),
      ...options,
    })
    await engine.start()
    await engine.allLanesReady()
    const side = new BankSide(engine, family, options.lanes, largestBatch[kind], options.bankDtype ?? 'f32')
    let row = 1
    for (const pack of packs) await side.write(row++, pack)
    return side
  }

  /** The batch size that the learner has chosen so far. */
  get chosenBatch(): number {
    return this.#sizer.size
  }

  async write(row: number, pack: Pack): Promise<void> {
    const { base, manifest, layout } = this.family
    await this.engine.writeRow(row, packRow(pack, base, manifest, layout, this.#bankDtype))
  }

  /** Queues one image for the domain in `row`. */
  async predict(row: number, pixels: Uint8Array): Promise<SampleResult> {
    const domain = String(row)
    const item = { domain, version: domain, pixels, row, generation: this.engine.generation }
    return (await this.#scheduler.submit(domain, item)).value
  }

  /** One run of exactly these rows, without the queue. Images are reused in turn if there are fewer. */
  run(rows: readonly number[], images: readonly Uint8Array[]): Promise<EngineResult> {
    const length = images[0]!.length
    const pixels = new Uint8Array(rows.length * length)
    rows.forEach((_, index) => {
      pixels.set(images[index % images.length]!, index * length)
    })
    return this.engine.run({ pixels, rows: Int32Array.from(rows) }, this.engine.generation)
  }

  async close(): Promise<void> {
    await this.#scheduler.drain()
    await this.engine.stop()
  }
}

/** The largest difference, relative to the largest expected value; NaN if a difference is NaN. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    const apart = Math.abs(found[i]! - expected[i]!)
    if (!(apart <= difference)) difference = apart
    largest = Math.max(largest, Math.abs(expected[i]!))
  }
  return difference / largest
}
