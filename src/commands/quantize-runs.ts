/** Runs a family's graphs on images for `facet family quantize`: to see what values there are, and what 8 bits cost. */
import { readFile } from 'node:fs/promises'
import type { Calibration } from '../compiler/int8/calibration.js'
import { headLogits } from '../engine/heads.js'
import { packRow } from '../engine/row.js'
import type { Runtime, Session } from '../engine/runtime/runtime.js'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { decodeImage } from '../image/decode.js'
import { FEATURES, PIXELS } from '../manifest/layout.js'
import type { Int8Accuracy } from '../manifest/manifest.js'
import type { Pack } from '../pack/pack.js'
import { ImagesError } from './images-error.js'
import type { DomainImages } from './quantize-images.js'

/** Images of one run. */
const BATCH = 8
/** As `facet serve` has it unless told otherwise. */
const MAX_PIXELS = 50_000_000

/** Hears how many images of a domain are done. */
export type Progress = (domain: string, done: number, of: number) => void

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
   * Calibrates on the domains' images.
   * @param graph with the values of the calibration as its outputs
   */
  async calibrate(
    graph: Uint8Array,
    calibration: Calibration,
    domains: readonly DomainImages[],
    progress: Progress,
  ): Promise<void> {
    const { values } = calibration
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
          calibration.add(await run(row, batch))
          done += batch.samples
          progress(domain, done, files.length)
        }
      }
    } finally {
      await session.release()
    }
  }

  /** How many held-out images each of two graphs classifies correctly, for the domains that have such images. */
  async compare(
    graphs: { fp32: Uint8Array | string; int8: Uint8Array | string },
    domains: readonly DomainImages[],
    progress: Progress,
  ): Promise<Int8Accuracy[]> {
    const fp32 = await this.#runtime.open(graphs.fp32)
    const int8 = await this.#runtime.open(graphs.int8)
    const found: Int8Accuracy[] = []
    try {
      for (const { domain, pack, heldOut } of domains) {
        if (heldOut.length === 0) continue
        const row = this.#row(pack)
        const counts = { domain, images: heldOut.length, fp32: 0, int8: 0, differ: 0 }
        let done = 0
        for await (const { pixels, samples } of this.#batches(heldOut.map(({ file }) => file))) {
          const feeds = this.#feeds(row, pixels, samples)
          const [exact, coarse] = [
            await this.#classes(fp32, feeds, pack),
            await this.#classes(int8, feeds, pack),
          ]
          for (let sample = 0; sample < samples; sample++) {
            const { label } = heldOut[done + sample]!
            if (exact[sample] === label) counts.fp32++
            if (coarse[sample] === label) counts.int8++
            if (exact[sample] !== coarse[sample]) counts.differ++
          }
          done += samples
          progress(domain, done, heldOut.length)
        }
        found.push(counts)
      }
    } finally {
      await fp32.release()
      await int8.release()
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

function largest(values: Float32Array): number {
  let best = 0
  values.forEach((value, index) => {
    if (value > values[best]!) best = index
  })
  return best
}
