/** Weights of a convolution as signed bytes, with a step for each output channel. */

/**
 * The largest magnitude of a weight. x86 CPUs without VNNI add the products of two neighbouring pairs of bytes in 16
 * bits, and what is beyond saturates: 2 * 255 * 64 fits and 2 * 255 * 127 does not. So answers are the same on every CPU.
 */
export const MAX_WEIGHT = 64

export interface Int8Weights {
  values: Int8Array
  /** `weight = step * value`, per output channel. */
  steps: Float32Array
}

/** @param weights `[channels, ...]` */
export function quantiseWeights(weights: Float32Array, channels: number): Int8Weights {
  const length = weights.length / channels
  const values = new Int8Array(weights.length)
  const steps = new Float32Array(channels)
  for (let channel = 0; channel < channels; channel++) {
    const row = weights.subarray(channel * length, (channel + 1) * length)
    const step = bestStep(row)
    steps[channel] = step
    for (let at = 0; at < length; at++) values[channel * length + at] = level(row[at]!, step)
  }
  return { values, steps }
}

/** Of some steps, the one with the smallest squared error: the largest weight may be cut a little. */
function bestStep(weights: Float32Array): number {
  const largest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0)
  // Frozen weights that are all zero.
  if (largest === 0) return 1
  let best = { step: 0, error: Number.POSITIVE_INFINITY }
  for (let share = 1; share >= 0.6; share -= 0.02) {
    const step = Math.fround((share * largest) / MAX_WEIGHT)
    let error = 0
    for (const weight of weights) error += (weight - step * level(weight, step)) ** 2
    if (error < best.error) best = { step, error }
  }
  return best.step
}

function level(weight: number, step: number): number {
  return Math.max(-MAX_WEIGHT, Math.min(MAX_WEIGHT, Math.round(weight / step)))
}
