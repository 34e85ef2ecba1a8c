/**
 * A domain's classifier on the feature vector. Pure functions, which know neither the runtime nor the bank.
 *
 * Every domain has its own number of classes, so heads are not in the trunk's graph: each runs on the samples
 * of its domain.
 */
import type { HeadTensors } from './batch.js'

/** A head in single precision. */
export interface FloatHead extends HeadTensors {
  weight: Float32Array
}

/**
 * Multiply-adds from which a head runs as a graph and no longer as the loop below. Measured on two cores: the
 * loop takes about 1.1 ns a multiply-add, the call of a graph 40-70 µs and a tenth of that.
 */
export const GRAPH_MIN_MULTIPLY_ADDS = 64 * 1024

/**
 * The graph of all large heads: `y = x wᵀ + b`, one `Gemm` node (transB = 1), opset 17; inputs `x`
 * `[n, F]`, `w` `[K, F]`, `b` `[K]`, output `y` `[n, K]`. Serialised, 139 bytes; a test decodes it.
 */
export const headGraph = Buffer.from(
  'CAg6gAEKIQoBeAoBdwoBYhIBeSIER2VtbSoNCgZ0cmFuc0IYAaABAhIEaGVhZFoVCgF4EhAKDggBEgoKAxIBbgoDEgFmWhUK' +
    'AXcSEAoOCAESCgoDEgFrCgMSAWZaEAoBYhILCgkIARIFCgMSAWtiFQoBeRIQCg4IARIKCgMSAW4KAxIBa0IECgAQEQ==',
  'base64',
)

/**
 * Logits of one domain's samples: `weight · features[sample] + bias`.
 *
 * @param features `[N, F]`, the whole batch
 * @param length features of a sample, F
 * @param samples positions in the batch of the samples of this head
 * @param out `[samples.length, classes]`, written
 */
export function headLogits(
  features: Float32Array,
  length: number,
  samples: readonly number[],
  head: FloatHead,
  out: Float32Array,
): void {
  const { classes, weight, bias } = head
  // Doubles: V8 would convert every feature again for each class.
  const vector = new Float64Array(length)
  samples.forEach((sample, position) => {
    for (let i = 0; i < length; i++) vector[i] = features[sample * length + i]!
    const base = position * classes
    let k = 0
    for (; k + 4 <= classes; k += 4) {
      let a = bias[k]!
      let b = bias[k + 1]!
      let c = bias[k + 2]!
      let d = bias[k + 3]!
      let at = k * length
      for (let i = 0; i < length; i++, at++) {
        const x = vector[i]!
        a += weight[at]! * x
        b += weight[at + length]! * x
        c += weight[at + 2 * length]! * x
        d += weight[at + 3 * length]! * x
      }
      out[base + k] = a
      out[base + k + 1] = b
      out[base + k + 2] = c
      out[base + k + 3] = d
    }
    for (; k < classes; k++) {
      let sum = bias[k]!
      for (let i = 0; i < length; i++) sum += weight[k * length + i]! * vector[i]!
      out[base + k] = sum
    }
  })
}

/** The features of some samples of a batch, one after the other: `[samples.length, F]`. @param length F */
export function gatherFeatures(
  features: Float32Array,
  length: number,
  samples: readonly number[],
): Float32Array {
  const gathered = new Float32Array(samples.length * length)
  samples.forEach((sample, position) => {
    gathered.set(features.subarray(sample * length, (sample + 1) * length), position * length)
  })
  return gathered
}
