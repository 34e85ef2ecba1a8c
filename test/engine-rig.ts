/**
 * An engine on the shipped family for tests, and random adapters to put into it. The worker is the real one,
 * wrapped so that a test sees and disturbs its runs (`faulty-worker.ts`).
 */
import { Worker } from 'node:worker_threads'
import { pino } from 'pino'
import type { Test } from 'tap'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine, type EngineOptions } from '../src/engine/engine.js'
import { rowBytes } from '../src/engine/bank-spec.js'
import type { EngineResult, RowTensors } from '../src/engine/batch.js'
import type { BankDtype } from '../src/engine/plan.js'
import { readFamily } from '../src/family/folder.js'
import type { Head, Pack, SlotWeights } from '../src/pack/pack.js'
import { packRow } from '../src/engine/row.js'
import { loadNative, type NativeAddon } from '../src/native/addon.js'
import { packageFile } from '../src/host/package.js'
import {
  type Fault,
  IN_RUN,
  LENGTH,
  NEXT_RUN,
  NEXT_UPLOAD,
  RELEASE,
  RUNS,
  SESSIONS,
} from './faulty-worker-control.mjs'
import { Random } from './random.js'
import { until } from './until.js'

export const family = await readFamily('models/resnet26-half')
const { height, width } = family.manifest.input
export const imageBytes = height * width * 3

/**
 * The runtime under test: `FACET_RUNTIME=native` has the tests of the engine and the service run on the native one,
 * with faults (`npm run native:build -- --faults`).
 */
export const runtime = process.env.FACET_RUNTIME === 'native' ? 'native' : 'stock'

/**
 * Sessions that one start of so many lanes makes: each worker has two graphs and the heads; native lanes share two, or
 * one of Facet's own operator.
 */
export function sessionsOf(lanes: number): number {
  if (runtime === 'stock') return 3 * lanes
  return loadNative(nativeWithFaults).hasOwnOperator ? 1 : 2
}

/** The native runtime with faults. */
export const nativeWithFaults = packageFile(
  `native/build/facet-${process.platform}-${process.arch}-faults.node`,
)

/** Counts the runs and sessions of the workers that a test has started, and puts faults into them. */
export class Control {
  /** While this is set, new workers die as they start. */
  dieAtStart = false
  readonly #shared = new Int32Array(new SharedArrayBuffer(LENGTH * Int32Array.BYTES_PER_ELEMENT))

  /** Shared with the lanes; `faulty-worker-control.mjs` says what is where. */
  get array(): Int32Array {
    return this.#shared
  }

  /** What an engine or a service needs for this to control it. */
  get parts(): { native: NativeAddon } | { createWorker: () => Worker } {
    if (runtime === 'stock') return { createWorker: () => this.createWorker() }
    const native = loadNative(nativeWithFaults, this.#shared)
    return {
      native: {
        ...native,
        open: (options, onEvent) => {
          if (this.dieAtStart) throw new Error('no lane can be opened')
          return native.open(options, onEvent)
        },
      },
    }
  }

  createWorker(): Worker {
    if (this.dieAtStart) return new Worker('process.exit(3)', { eval: true, execArgv: [] })
    return new Worker(new URL('./faulty-worker.js', import.meta.url), {
      workerData: this.#shared,
    })
  }

  /** Calls of `session.run` on a trunk, in all workers. */
  get runs(): number {
    return Atomics.load(this.#shared, RUNS)
  }

  /** Sessions made so far, in all workers. */
  get sessions(): number {
    return Atomics.load(this.#shared, SESSIONS)
  }

  /** Puts a fault into the next run of the trunk. */
  nextRun(fault: Fault): void {
    Atomics.store(this.#shared, IN_RUN, 0)
    Atomics.store(this.#shared, RELEASE, 0)
    this.addFault(fault)
  }

  /** Puts a fault into the next run while another run is held. */
  addFault(fault: Fault): void {
    Atomics.store(this.#shared, NEXT_RUN, fault)
  }

  /** Puts a fault into the next row's way to a device. */
  nextUpload(fault: Fault): void {
    Atomics.store(this.#shared, NEXT_UPLOAD, fault)
  }

  /** Resolves once a run with a fault has begun. */
  inRun(): Promise<void> {
    return until(() => Atomics.load(this.#shared, IN_RUN) !== 0)
  }

  /** Lets a held run go on. */
  release(): void {
    Atomics.store(this.#shared, RELEASE, 1)
    Atomics.notify(this.#shared, RELEASE)
  }
}

/** Makes an engine without starting it. It is stopped when the test ends. */
export function makeEngine(
  t: Test,
  options: Partial<EngineOptions> = {},
): { engine: Engine; control: Control } {
  const control = new Control()
  const engine = new Engine({
    family,
    rows: 12,
    bankDtype: 'f32',
    bankMode: 'shared',
    device: { kind: 'cpu' },
    lanes: 1,
    threads: 1,
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    ...(options.native === undefined && options.createWorker === undefined && control.parts),
    ...options,
  })
  t.teardown(() => engine.stop())
  return { engine, control }
}

export async function startEngine(
  t: Test,
  options: Partial<EngineOptions> = {},
): Promise<{ engine: Engine; control: Control }> {
  const made = makeEngine(t, options)
  await made.engine.start()
  await made.engine.allLanesReady()
  return made
}

/** Uniform numbers in [0, 1), the same for a seed. */
export function random(seed: number): () => number {
  const numbers = new Random(seed)
  return () => numbers.next()
}

export function randomPixels(images: number, seed: number): Uint8Array {
  const next = random(seed)
  return Uint8Array.from({ length: images * imageBytes }, () => next() * 256)
}

/** Bytes of a whole row in single precision, with a head of so many classes. */
export function wholeRowBytes(classes: number): number {
  const sizes = { layout: family.layout, dtype: 'f32' as const, features: family.manifest.features }
  return rowBytes(sizes, { adapter: 'whole', classes, halfHead: false })
}

export function randomHead(classes: number, seed: number): Head {
  const next = random(seed)
  const values = (length: number) => Float32Array.from({ length }, () => next() - 0.5)
  return { classes, weight: values(classes * family.manifest.features), bias: values(classes) }
}

/** A domain that differs from the base in every slot, by far more than trained domains do. */
export function randomPack(seed: number, classes: number): Pack {
  const { base, manifest } = family
  const next = random(seed)
  const around = (values: Float32Array, by: number) =>
    values.map((value) => value * (1 + by * (next() - 0.5)) + 0.1 * by * (next() - 0.5))
  const slots = new Map<string, SlotWeights>()
  for (const [name, { scale, bias }] of base.slots) {
    const slot = manifest.slots.find((slot) => slot.name === name)!
    const size = 0.5 / Math.sqrt(slot.columns || 1)
    const matrix = Float32Array.from({ length: slot.out * slot.columns }, () => size * (next() - 0.5))
    slots.set(name, {
      scale: around(scale, 0.5),
      bias: around(bias, 0.5),
      ...(slot.columns > 0 && { matrix }),
    })
  }
  const head = classes > 0 ? randomHead(classes, seed + 1) : null
  return { ...base, mean: [0.4 + 0.1 * next(), 0.5, 0.45], slots, head }
}

/** A `randomPack` as a bank row, in new buffers. */
export function randomRow(seed: number, classes: number, dtype: BankDtype = 'f32'): RowTensors {
  return packRow(randomPack(seed, classes), family.base, family.manifest, family.layout, dtype)
}

/** A result as the features and logits of each image. */
export function split(result: EngineResult): { features: Float32Array; logits: Float32Array | null }[] {
  const length = family.manifest.features
  return result.logits.map((logits, index) => ({
    features: result.features.subarray(index * length, (index + 1) * length),
    logits,
  }))
}

/** The largest difference, relative to the largest expected value. */
export function relativeError(found: Float32Array | null, expected: Float32Array | null): number {
  if (found === null || expected === null) return found === expected ? 0 : Number.POSITIVE_INFINITY
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    // Written so that a NaN counts.
    if (!(Math.abs(found[i]! - expected[i]!) <= difference)) difference = Math.abs(found[i]! - expected[i]!)
    largest = Math.max(largest, Math.abs(expected[i]!))
  }
  return difference / largest
}
