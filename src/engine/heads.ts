/**
 * A domain's classifier on the feature vector. Pure functions.
 *
 * Heads are ragged (every domain has its own number of classes), so they stay out of the trunk: each runs
 * on the samples of its domain only. Knows neither the session nor the bank.
 */
import type { HeadTensors } from './messages.js'

/**
 * Multiply-adds above which a matrix product is worth a call into ONNX Runtime. Measured on two cores: the
 * loop below takes about 1.1 ns a multiply-add, the call 40-70 µs plus a tenth of that.
 */
export const HEAD_GEMM_FROM = 64 * 1024

/**
 * The shared graph of large heads: `y = x wᵀ + b`, one `Gemm` node (transB = 1), opset 17; inputs `x`
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
 * @param features `[N, length]`, the whole batch
 * @param samples positions in the batch that belong to this head
 * @param out `[samples.length, classes]`, written
 */
export function headLogits(
  features: Float32Array,
  length: number,
  samples: readonly number[],
  head: HeadTensors,
  out: Float32Array,
): void {
  const { classes, weight, bias } = head
  // Doubles, because V8 otherwise converts every feature anew for each class.
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

/** The features of some samples of a batch, side by side: `[samples.length, length]`. */
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
