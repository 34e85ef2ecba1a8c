/**
 * IEEE 754 half precision, many values at a time: packs store it, the bank may hold it, and Node 20 has no
 * `Float16Array`.
 *
 * Written here for speed: the 650,000 values of a pack are decoded in 2 to 3 ms, and by @petamoriken/float16
 * 3.9.3 in some 140 ms (its `Float16Array` is a Proxy, and its `getFloat16` is slower still).
 */

/** The largest finite half-precision value. From 65520 on, rounding to nearest gives infinity. */
export const FLOAT16_MAX = 65504

/** A value that half precision cannot hold. */
export class Float16RangeError extends RangeError {
  constructor(
    readonly index: number,
    readonly value: number,
  ) {
    super(`value ${value} at index ${index} does not fit float16 (at most ${FLOAT16_MAX} in magnitude)`)
    this.name = 'Float16RangeError'
  }
}

let table: Float32Array | undefined

/** The value of each of the 65536 bit patterns (256 KiB), made at the first use. */
function values(): Float32Array {
  if (table) return table
  table = new Float32Array(65536)
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31
    const fraction = bits & 1023
    let value: number
    if (exponent === 31) value = fraction === 0 ? Number.POSITIVE_INFINITY : Number.NaN
    else if (exponent === 0) value = fraction * 2 ** -24
    else value = (1024 + fraction) * 2 ** (exponent - 25)
    table[bits] = bits & 0x8000 ? -value : value
  }
  return table
}

/**
 * Half-precision bits to float32. Exact; infinities and NaN stay what they are.
 *
 * @param floats where the values go, as many
 * @returns the values, and whether all are finite, which the caller would need another pass over memory to
 * find
 */
export function decodeFloat16(
  bits: Uint16Array,
  floats = new Float32Array(bits.length),
): { floats: Float32Array; finite: boolean } {
  const lookup = values()
  let carries = 0
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i]!
    floats[i] = lookup[half]!
    // Infinity and NaN have an exponent of ones. Only that carries into the sign bit when one is added.
    carries |= (half & 0x7c00) + 0x400
  }
  return { floats, finite: (carries & 0x8000) === 0 }
}

/** The first index whose value is not finite, or -1. */
export function firstNonFinite32(floats: Float32Array): number {
  for (let i = 0; i < floats.length; i++) if (floats[i]! - floats[i]! !== 0) return i
  return -1
}

/**
 * Float32 to half-precision bits, rounded to nearest, ties to even.
 *
 * @throws Float16RangeError for the first value that is not finite or would overflow.
 */
export function encodeFloat16(floats: Float32Array): Uint16Array {
  const out = new Uint16Array(floats.length)
  const one = new Float32Array(1)
  const word = new Uint32Array(one.buffer)
  for (let i = 0; i < floats.length; i++) {
    one[0] = floats[i]!
    const sign = (word[0]! >>> 16) & 0x8000
    const magnitude = word[0]! & 0x7fffffff
    if (magnitude >= 0x477ff000) throw new Float16RangeError(i, floats[i]!)
    if (magnitude < 0x38800000) {
      // Subnormal: one half-precision step is 2^-24, which is float32's own step in [0.5, 1).
      one[0] = Math.abs(floats[i]!) + 0.5
      out[i] = sign | (word[0]! - 0x3f000000)
    } else {
      const even = (magnitude >>> 13) & 1
      out[i] = sign | ((magnitude - 0x38000000 + 0xfff + even) >>> 13)
    }
  }
  return out
}
