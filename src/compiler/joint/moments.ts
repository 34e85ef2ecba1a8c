/**
 * What goes into each slot's matrix, and how large what comes out of the slot is, collected from runs of a family's graph
 * for one domain on images of its domains: a basis is chosen by what it loses on these.
 */
import { FLOAT, type Model, type Node } from '../../onnx/onnx.js'
import type { RunValues } from '../../onnx/run.js'
import type { Slot } from '../../manifest/manifest.js'
import { builderOf } from '../slots/builders.js'
import type { MatrixPlace } from '../slots/compress.js'

/** Vectors that are taken of one image's input of a slot, evenly spread over it. */
const VECTORS_AN_IMAGE = 64
/** Slots with more columns have no moments: their number grows with the square. */
export const MOST_COLUMNS = 1024
/** Vectors of each slot that are kept for its sketch, of all domains together. */
const SKETCH_VECTORS = 64

/** Of one slot and one domain. */
export interface DomainMoments {
  /** Vectors that were seen. */
  count: number
  /** `[columns]`, the mean input. */
  mean: Float64Array
  /** `[columns, columns]`, the mean of v vᵀ. */
  second: Float64Array
  /** Variance of the slot's output, summed over its channels. */
  output: number
  /** `[vectors][columns]`, some of the inputs. */
  samples: Float64Array[]
}

interface Place extends MatrixPlace {
  slot: Slot
}

interface Sums {
  count: number
  mean: Float64Array
  second: Float64Array
  samples: Float64Array[]
  /** Of so many vectors one is kept. */
  step: number
  outputs: { count: number; mean: Float64Array; square: number }
}

export class Moments {
  readonly #places: readonly Place[]
  readonly #domains: number
  readonly #sums = new Map<string, Map<string, Sums>>()

  /** @param domains how many of them there are to be */
  constructor(places: readonly Place[], domains: number) {
    this.#places = places
    this.#domains = domains
  }

  /** Names of the values that runs must have. */
  get values(): readonly string[] {
    return [...new Set(this.#places.flatMap(({ input, output }) => [input, output]))]
  }

  /** Adds a run on images of one domain. */
  add(run: ReadonlyMap<string, RunValues>, domain: string): void {
    for (const { slot, input, last, output } of this.#places) {
      const sums = this.#of(slot, domain)
      for (const vector of vectors(run.get(input)!, last)) {
        keep(sums, vector, Math.ceil(SKETCH_VECTORS / this.#domains))
        sums.count++
        addInput(sums, vector)
      }
      addOutput(sums, vectors(run.get(output)!, last))
    }
  }

  /** Of a slot and a domain; undefined where it was not seen. */
  of(slot: string, domain: string): DomainMoments | undefined {
    const sums = this.#sums.get(slot)?.get(domain)
    if (!sums) return undefined
    const { count, samples, outputs } = sums
    const mean = sums.mean.map((value) => value / count)
    const size = mean.length
    const second = new Float64Array(size * size)
    for (let row = 0; row < size; row++)
      for (let column = 0; column <= row; column++) {
        const value = sums.second[row * size + column]! / count
        second[row * size + column] = value
        second[column * size + row] = value
      }
    const ofMeans = outputs.mean.reduce((sum, value) => sum + (value / outputs.count) ** 2, 0)
    return { count, mean, second, samples, output: outputs.square / outputs.count - ofMeans }
  }

  #of(slot: Slot, domain: string): Sums {
    const ofSlot = this.#sums.get(slot.name) ?? new Map<string, Sums>()
    this.#sums.set(slot.name, ofSlot)
    const known = ofSlot.get(domain)
    if (known) return known
    const { columns, out } = slot
    const sums: Sums = {
      count: 0,
      mean: new Float64Array(columns),
      second: new Float64Array(columns * columns),
      samples: [],
      step: 1,
      outputs: { count: 0, mean: new Float64Array(out), square: 0 },
    }
    ofSlot.set(domain, sums)
    return sums
  }
}

/** Keeps some of the vectors, spread over all that come: twice as many as are wanted, then every second of them. */
function keep(sums: Sums, vector: Float64Array, wanted: number): void {
  if (sums.count % sums.step === 0) sums.samples.push(vector.slice())
  if (sums.samples.length < 2 * wanted) return
  sums.samples = sums.samples.filter((_, at) => at % 2 === 0)
  sums.step *= 2
}

function addInput({ mean, second }: Sums, vector: Float64Array): void {
  const size = vector.length
  for (let row = 0; row < size; row++) {
    const value = vector[row]!
    mean[row]! += value
    if (value === 0) continue
    const start = row * size
    for (let column = 0; column <= row; column++) second[start + column]! += value * vector[column]!
  }
}

function addOutput({ outputs }: Sums, found: Iterable<Float64Array>): void {
  for (const vector of found) {
    outputs.count++
    for (const [channel, value] of vector.entries()) {
      outputs.mean[channel]! += value
      outputs.square += value * value
    }
  }
}

/** Some of a value's vectors. @param last its channels are its last dimension, and not its second */
function* vectors({ values, dims }: RunValues, last: boolean): Generator<Float64Array> {
  const samples = dims[0]!
  const channels = last ? dims.at(-1)! : dims[1]!
  const each = values.length / samples
  const places = each / channels
  const step = Math.max(1, places / VECTORS_AN_IMAGE)
  const vector = new Float64Array(channels)
  for (let sample = 0; sample < samples; sample++)
    for (let at = step / 2; at < places; at += step) {
      const place = Math.floor(at)
      const start = sample * each + (last ? place * channels : place)
      const stride = last ? 1 : places
      for (let channel = 0; channel < channels; channel++) vector[channel] = values[start + channel * stride]!
      yield vector
    }
}

/**
 * A graph for one domain with the inputs of matrices and the outputs of their slots as its only outputs.
 *
 * @param slots those that take a matrix
 */
export function withMoments(
  model: Model,
  slots: readonly Slot[],
  domains: number,
): { model: Model; moments: Moments } {
  const makers = new Map<string, Node>()
  const readers = new Map<string, Node>()
  for (const node of model.nodes) {
    for (const name of node.outputs) makers.set(name, node)
    for (const name of node.inputs) readers.set(name, node)
  }
  const view = { find: (value: string) => makers.get(value), reader: (value: string) => readers.get(value) }
  const places = slots
    .filter(({ columns }) => columns > 0 && columns <= MOST_COLUMNS)
    .flatMap((slot): Place[] => {
      const place = builderOf(slot.kind).matrixPlace?.(view, slot)
      return place ? [{ slot, ...place }] : []
    })
  const moments = new Moments(places, domains)
  const outputs = moments.values.map((name) => ({ name, type: FLOAT, dims: undefined }))
  return { model: { ...model, outputs }, moments }
}
