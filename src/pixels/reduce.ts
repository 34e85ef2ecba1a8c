/**
 * Reducing a small decoded image with the triangle kernel, exactly as libvips 8.18 does it, to the bit
 * (vips_reducev, then vips_reduceh; weights of 12 bits, for 64 positions between two pixels).
 *
 * As in `enlarge.ts` the reason is libvips' price of an operation, and that the pixels are at hand already.
 */
import type { Crop, Size } from './enlarge.js'
import { Scratch } from './scratch.js'

/** What the rows come to, before the columns. */
const scratch = new Scratch()

/** Weights have so many bits behind the point. */
const SHIFT = 12
const ONE = 1 << SHIFT
/** Positions between two pixels that weights are kept for. */
const STEPS = 64
/** From here on libvips averages whole pixels first. */
const MOST_REDUCED = 4

/** Where the outputs of one axis begin to read, and with which weights: `taps` for each. */
interface Axis {
  taps: number
  /** Input of each output and tap; beyond the edge it is the edge's. */
  inputs: Int32Array
  weights: Int32Array
}

/** A reduction: what it makes of which pixels. */
export interface Reduction {
  rows: Axis
  columns: Axis
  /** The inputs it reads; no others are needed. */
  window: Crop
}

/**
 * @param to size of the whole reduced image, smaller than `from` on both axes
 * @param crop the part of it that is wanted
 * @returns null for a reduction that libvips does otherwise
 */
export function reduction(from: Size, to: Size, crop: Crop): Reduction | null {
  const fits = (one: number, other: number) => one > other && one < MOST_REDUCED * other
  if (!fits(from.width, to.width) || !fits(from.height, to.height)) return null
  const rows = axis(from.height, to.height, crop.top, crop.height)
  const columns = axis(from.width, to.width, crop.left, crop.width)
  const [left, top] = [columns.inputs[0]!, rows.inputs[0]!]
  const window = {
    left,
    top,
    width: columns.inputs.at(-1)! + 1 - left,
    height: rows.inputs.at(-1)! + 1 - top,
  }
  return { rows, columns, window }
}

/**
 * @param pixels `[window.height, window.width, 3]`
 * @returns `[crop.height, crop.width, 3]`
 */
export function reduce(pixels: Uint8Array, { rows, columns, window }: Reduction): Uint8Array {
  const height = rows.inputs.length / rows.taps
  return sumColumns(sumRows(pixels, rows, window), columns, window, height)
}

/** @returns `[rows, window.width, 3]` */
function sumRows(pixels: Uint8Array, { taps, inputs, weights }: Axis, window: Crop): Uint8Array {
  const stride = window.width * 3
  const height = inputs.length / taps
  const out = scratch.take(height * stride)
  const sums = new Int32Array(stride)
  for (let y = 0; y < height; y++) {
    sums.fill(ONE / 2)
    const end = (y + 1) * taps
    // Three lines at a time, so that sums are fetched and put back less often.
    for (let tap = y * taps; tap < end; tap += 3) {
      const last = end - tap - 1
      const w0 = weights[tap]!
      const w1 = last < 1 ? 0 : weights[tap + 1]!
      const w2 = last < 2 ? 0 : weights[tap + 2]!
      const a = (inputs[tap]! - window.top) * stride
      const b = last < 1 ? a : (inputs[tap + 1]! - window.top) * stride
      const c = last < 2 ? a : (inputs[tap + 2]! - window.top) * stride
      for (let x = 0; x < stride; x++)
        sums[x] = sums[x]! + w0 * pixels[a + x]! + w1 * pixels[b + x]! + w2 * pixels[c + x]!
    }
    // The weights of an output add up to one at most: no sum leaves the range of a byte.
    for (let x = 0, to = y * stride; x < stride; x++) out[to++] = sums[x]! >> SHIFT
  }
  return out
}

/** @returns `[rows, columns, 3]` */
function sumColumns(
  lines: Uint8Array,
  { taps, inputs, weights }: Axis,
  window: Crop,
  height: number,
): Uint8Array {
  const width = inputs.length / taps
  const starts = inputs.map((input) => (input - window.left) * 3)
  const out = new Uint8Array(height * width * 3)
  let to = 0
  for (let y = 0; y < height; y++) {
    const line = y * window.width * 3
    let at = 0
    for (let x = 0; x < width; x++) {
      let red = ONE / 2
      let green = ONE / 2
      let blue = ONE / 2
      for (let tap = 0; tap < taps; tap++, at++) {
        const weight = weights[at]!
        const from = line + starts[at]!
        red += weight * lines[from]!
        green += weight * lines[from + 1]!
        blue += weight * lines[from + 2]!
      }
      out[to++] = red >> SHIFT
      out[to++] = green >> SHIFT
      out[to++] = blue >> SHIFT
    }
  }
  return out
}

function axis(from: number, to: number, start: number, count: number): Axis {
  // As sharp hands the scale to libvips, and libvips the factor to its operation.
  const factor = 1 / (1 / (from / to))
  const taps = 2 * nearestEven(factor) + 1
  const before = Math.ceil(taps / 2) - 1
  const offset = (1 + (to * factor - from)) / 2 - 1
  const inputs = new Int32Array(count * taps)
  const weights = new Int32Array(count * taps)
  for (let index = 0, at = 0; index < count; index++) {
    const position = (start + index + 0.5) * factor - 0.5 - offset
    const first = Math.trunc(position) - before
    const step = ((Math.trunc(position * STEPS * 2) & (STEPS * 2 - 1)) + 1) >> 1
    const half = step / STEPS + taps / 2 - 1
    let sum = 0
    for (let tap = 0; tap < taps; tap++) sum += triangle((tap - half) / factor)
    for (let tap = 0; tap < taps; tap++, at++) {
      inputs[at] = Math.min(from - 1, Math.max(0, first + tap))
      weights[at] = (triangle((tap - half) / factor) / sum) * ONE
    }
  }
  return { taps, inputs, weights }
}

function triangle(distance: number): number {
  return Math.max(0, 1 - Math.abs(distance))
}

/** C's `rint`: halves go to the even neighbour. */
function nearestEven(value: number): number {
  const below = Math.floor(value)
  if (value - below !== 0.5) return Math.round(value)
  return below % 2 === 0 ? below : below + 1
}
