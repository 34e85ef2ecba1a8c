/** Runs a family's graphs on images of its domains: to see what values there are, and which classes come out. */
import { readFile } from 'node:fs/promises'
import { headLogits } from '../engine/heads.js'
import { packRow } from '../engine/row.js'
import type { Runtime, Session } from '../engine/runtime/runtime.js'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { decodeImage } from '../image/decode.js'
import { FEATURES, PIXELS } from '../manifest/layout.js'
import type { RunValues } from '../onnx/run.js'
import type { Pack } from '../pack/pack.js'
import { ImagesError } from './images-error.js'
import type { DomainImages } from './domain-images.js'

/** Images of one run. */
const BATCH = 8
/** As `facet serve` has it unless told otherwise. */
const MAX_PIXELS = 50_000_000

/** Hears how many images of a domain are done. */
export type Progress = (domain: string, done: number, of: number) => void

/** What is told of the values of runs. */
export interface Watcher {
  /** Names of the values. */
  values: readonly string[]
  add(run: ReadonlyMap<string, RunValues>, domain: string): void
}

interface Batch {
  pixels: Uint8Array
  samples: number
}

/** Runs graphs for batches of one domain. */
export class GraphRunner<T> {
  readonly #family: Family
  readonly #runtime: Runtime<T>

  constructor(family: Family, runtime: Runtime<T>) {
    this.#family = family
    this.#runtime = runtime
  }

  /**
   * Shows a watcher the values of the domains' images.
   * @param graph with these values as its outputs
   */
  async watch(
    graph: Uint8Array,
    watcher: Watcher,
    domains: readonly DomainImages[],
    progress: Progress,
  ): Promise<void> {
    const { values } = watcher
    const session = await this.#runtime.open(graph)
    const run = async (row: Record<string, T>, { pixels, samples }: Batch) => {
      const found = await session.runAll(this.#feeds(row, pixels, samples), values)
      return new Map(values.map((name, index) => [name, found[index]!]))
    }
    try {
      for (const { domain, pack, calibration: files } of domains) {
        const row = this.#row(pack)
        let done = 0
        for await (const batch of this.#batches(files)) {
          watcher.add(await run(row, batch), domain)
          done += batch.samples
          progress(domain, done, files.length)
        }
      }
    } finally {
      await session.release()
    }
  }

  /** The class that a graph gives to each held-out image, for the domains that have such images. */
  async classify(
    graph: Uint8Array | string,
    domains: readonly DomainImages[],
    progress: Progress,
  ): Promise<Map<string, number[]>> {
    const session = await this.#runtime.open(graph)
    const found = new Map<string, number[]>()
    try {
      for (const { domain, pack, heldOut } of domains) {
        if (heldOut.length === 0) continue
        const row = this.#row(pack)
        const classes: number[] = []
        for await (const { pixels, samples } of this.#batches(heldOut.map(({ file }) => file))) {
          classes.push(...(await this.#classes(session, this.#feeds(row, pixels, samples), pack)))
          progress(domain, classes.length, heldOut.length)
        }
        found.set(domain, classes)
      }
    } finally {
      await session.release()
    }
    return found
  }

  /** The most likely class of each sample. */
  async #classes(session: Session<T>, feeds: Record<string, T>, { head }: Pack): Promise<number[]> {
    const length = this.#family.manifest.features
    const features = await session.run(feeds, FEATURES)
    const samples = Array.from({ length: features.length / length }, (_, sample) => sample)
    const logits = new Float32Array(samples.length * head!.classes)
    headLogits(features, length, samples, head!, logits)
    return samples.map((sample) =>
      largest(logits.subarray(sample * head!.classes, (sample + 1) * head!.classes)),
    )
  }

  #feeds(row: Record<string, T>, pixels: Uint8Array, samples: number): Record<string, T> {
    const { height, width } = this.#family.manifest.input
    return { ...row, [PIXELS]: this.#runtime.tensor('uint8', pixels, [samples, height, width, 3]) }
  }

  /** A pack as the inputs of the graph for one domain. */
  #row(pack: Pack): Record<string, T> {
    const { base, manifest, layout } = this.#family
    const { tensors } = packRow(pack, base, manifest, layout, 'f32')
    const feeds: Record<string, T> = {}
    layout.tensors.forEach(({ single }, index) => {
      const values = tensors[index] as Float32Array
      for (const { name, dims, offset, elements } of single)
        feeds[name] = this.#runtime.tensor('float32', values.subarray(offset, offset + elements), dims)
    })
    return feeds
  }

  /** Decoded images in batches; while one runs, the next is decoded. */
  async *#batches(files: readonly string[]): AsyncGenerator<Batch> {
    const decode = (start: number) => {
      const batch = Promise.all(files.slice(start, start + BATCH).map((file) => this.#decode(file)))
      // It is awaited later, and may fail before.
      batch.catch(() => {})
      return batch
    }
    let next = decode(0)
    for (let start = 0; start < files.length; start += BATCH) {
      const images = await next
      next = decode(start + BATCH)
      yield { pixels: Buffer.concat(images), samples: images.length }
    }
  }

  async #decode(file: string): Promise<Uint8Array> {
    try {
      return await decodeImage(await readFile(file), this.#family.manifest.input, { maxPixels: MAX_PIXELS })
    } catch (error) {
      if (!(error instanceof FacetError)) throw error
      throw new ImagesError(`The image ${file} cannot be used: ${error.message} Take it out of the folder.`, {
        cause: error,
      })
    }
  }
}

/** Of images that were classified twice: how many were right, and how many are of another class now. */
export function compared(
  { heldOut }: Pick<DomainImages, 'heldOut'>,
  before: readonly number[],
  after: readonly number[],
): { images: number; before: number; after: number; differ: number } {
  const right = (classes: readonly number[]) =>
    heldOut.filter(({ label }, at) => classes[at] === label).length
  const differ = before.filter((found, at) => found !== after[at]).length
  return { images: heldOut.length, before: right(before), after: right(after), differ }
}

function largest(values: Float32Array): number {
  let best = 0
  values.forEach((value, index) => {
    if (value > values[best]!) best = index
  })
  return best
}
