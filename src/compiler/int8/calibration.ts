/** Collects what the values around a graph's frozen convolutions are, from runs of the graph in float32. */
import { FLOAT, type Model } from '../../onnx/onnx.js'
import type { RunValues } from '../../onnx/run.js'
import { type FrozenConvolution, frozenConvolutions } from './convolutions.js'
import { Histogram } from './histogram.js'
import { inputStep, type OutputRange, type Ranges } from './ranges.js'

/**
 * An output's range is told in steps of its sample's input, so that it holds for domains of which no images were there:
 * whatever an adapter makes of values, it makes of both.
 *
 * Convolutions with an input that may be negative are left in float32. They are few: the first ones, in front of the
 * first Relu. There one domain has values a hundred times larger than another, beside inputs of the same size
 * (docs/experiments/2026-11-27-the-trunk-in-8-bits.md).
 *
 * Depthwise convolutions are left too: a sum of nine products does not even out what bytes round away, and few of a
 * network's products are theirs. In EfficientNet-Lite0 they made features differ by 0.54 of their size (docs/int8.md).
 */
export class Calibration {
  readonly #convolutions: readonly FrozenConvolution[]
  readonly #outputs = new Map<string, { height: number; width: number; channels: Histogram[] }>()
  /** Inputs that were seen to be negative. */
  readonly #negative = new Set<string>()
  /** Convolutions that are left for what they are. */
  readonly depthwise: number

  constructor(convolutions: readonly FrozenConvolution[]) {
    this.#convolutions = convolutions.filter(({ depthwise }) => !depthwise)
    this.depthwise = convolutions.length - this.#convolutions.length
  }

  /** Names of the values that runs must have. */
  get values(): readonly string[] {
    return [...new Set(this.#convolutions.flatMap(({ input, output }) => [input, output]))]
  }

  /** Outputs of convolutions that stay in float32 for their inputs. */
  get left(): readonly string[] {
    return this.#convolutions.filter(({ input }) => this.#negative.has(input)).map(({ output }) => output)
  }

  add(run: ReadonlyMap<string, RunValues>): void {
    for (const { input, output } of this.#convolutions)
      this.#add(input, run.get(input)!, output, run.get(output)!)
  }

  #add(input: string, x: RunValues, output: string, z: RunValues): void {
    if (this.#negative.has(input)) return
    const [samples, count, height, width] = z.dims as [number, number, number, number]
    const known = this.#outputs.get(output)
    const channels = known?.channels ?? Array.from({ length: count }, () => new Histogram())
    if (!known) this.#outputs.set(output, { height, width, channels })
    const area = height * width
    const length = x.values.length / samples
    for (let sample = 0; sample < samples; sample++) {
      let largest = 0
      for (let at = sample * length; at < (sample + 1) * length; at++) {
        const value = x.values[at]!
        if (value > largest) largest = value
        else if (value < 0) {
          this.#negative.add(input)
          return
        }
      }
      for (let channel = 0; channel < count; channel++) {
        const from = (sample * count + channel) * area
        channels[channel]!.add(z.values, from, from + area, 1 / inputStep(largest))
      }
    }
  }

  ranges(): Ranges {
    const left = new Set(this.left)
    const found = new Map<string, OutputRange>()
    for (const [name, { channels, ...size }] of this.#outputs)
      if (!left.has(name)) found.set(name, { ...size, channels: channels.map((channel) => channel.best()) })
    return found
  }
}

/** The graph with the values around its frozen convolutions as its only outputs, and what is to be told of them. */
export function withValues(model: Model): { model: Model; calibration: Calibration } {
  const calibration = new Calibration(frozenConvolutions(model))
  const outputs = calibration.values.map((name) => ({ name, type: FLOAT, dims: undefined }))
  return { model: { ...model, outputs }, calibration }
}
