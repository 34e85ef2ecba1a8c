/** What a graph in 8 bits must know of the values around its convolutions. */

/** The largest byte. */
export const BYTES = 255
/** The byte that stands for zero in the output of a convolution. */
export const OUTPUT_ZERO = 128
/** The step of a sample whose values are all zero. */
export const LEAST_STEP = 1e-12

/** A sample's values are `step * byte`, the step being as small as its largest value allows. */
export function inputStep(largest: number): number {
  return Math.max(largest / BYTES, LEAST_STEP)
}

/** The output of a convolution, in steps of its sample's input. */
export interface OutputRange {
  height: number
  width: number
  /** The largest magnitude of each channel. */
  channels: readonly number[]
}

/** By the names of the outputs of the convolutions that are to be in 8 bits. */
export type Ranges = ReadonlyMap<string, OutputRange>
