/**
 * Enlarges a small decoded image with bilinear interpolation, equal to libvips to the bit: vips_affine with
 * its bilinear interpolator to twice the size, of which every second row and column is kept (pixels.ts says
 * why).
 *
 * An operation of libvips costs half a millisecond before its first pixel; this takes a tenth of that. Many
 * images are no larger than the trunk's input, so it is often needed.
 */
import type { Crop, Size } from './geometry.js'

/** Interpolation weights are fixed-point numbers with this many fractional bits, as in libvips. */
const WEIGHT_BITS = 12
/** The weight 1 in fixed point. */
const ONE = 1 << WEIGHT_BITS

/** For each output position of one axis: the two input positions around it, and the weight of the second. */
interface Axis {
  first: Int32Array
  second: Int32Array
  weight: Int32Array
}

/**
 * @param pixels `[height, width, 3]`
 * @param to size of the whole enlarged image, larger than `from` on both axes
 * @returns `[crop.height, crop.width, 3]`
 */
export function enlarge(pixels: Uint8Array, from: Size, to: Size, crop: Crop): Uint8Array {
  const scale = { x: doubled(from.width, to.width), y: doubled(from.height, to.height) }
  // libvips inverts the whole 2x2 matrix. Dividing once instead would round differently.
  const inverse = 1 / (scale.x * scale.y)
  const columns = stepped(inverse * scale.y, from.width, crop.left, crop.width)
  const rows = multiplied(inverse * scale.x, from.height, crop.top, crop.height)
  const out = new Uint8Array(crop.height * crop.width * 3)
  let at = 0
  for (let y = 0; y < crop.height; y++) {
    const above = rows.first[y]! * from.width
    const below = rows.second[y]! * from.width
    const low = rows.weight[y]!
    const high = ONE - low
    for (let x = 0; x < crop.width; x++) {
      const right = columns.weight[x]!
      const lowRight = (low * right) >> WEIGHT_BITS
      const highRight = (high * right) >> WEIGHT_BITS
      const lowLeft = low - lowRight
      const highLeft = high - highRight
      const [left, next] = [columns.first[x]!, columns.second[x]!]
      let [p1, p2, p3, p4] = [(above + left) * 3, (above + next) * 3, (below + left) * 3, (below + next) * 3]
      for (let channel = 0; channel < 3; channel++) {
        const sum =
          highLeft * pixels[p1++]! +
          highRight * pixels[p2++]! +
          lowLeft * pixels[p3++]! +
          lowRight * pixels[p4++]!
        out[at++] = (sum + ONE / 2) >> WEIGHT_BITS
      }
    }
  }
  return out
}

/**
 * The scale from `from` to twice `to`. sharp computes a factor to shrink by and inverts it, so this does too.
 */
function doubled(from: number, to: number): number {
  return 1 / (from / (2 * to))
}

/** The columns. libvips adds the step from one to the next, so rounding errors add up the same way here. */
function stepped(step: number, size: number, start: number, count: number): Axis {
  let position = corner(step * 2 * start)
  return axis(size, count, () => {
    const odd = position + step
    position = odd + step
    return odd
  })
}

/** The rows. libvips computes each from its index. */
function multiplied(step: number, size: number, start: number, count: number): Axis {
  return axis(size, count, (index) => corner(step * (2 * (start + index) + 1)))
}

/**
 * Moves a position from pixel centres to pixel corners, and by a margin of one pixel, so that it stays
 * positive.
 */
function corner(position: number): number {
  return position - 0.5 + 1
}

function axis(size: number, count: number, positionOf: (index: number) => number): Axis {
  const found: Axis = {
    first: new Int32Array(count),
    second: new Int32Array(count),
    weight: new Int32Array(count),
  }
  for (let index = 0; index < count; index++) {
    const position = positionOf(index)
    const whole = Math.floor(position)
    found.first[index] = Math.min(size - 1, Math.max(0, whole - 1))
    found.second[index] = Math.min(size - 1, whole)
    found.weight[index] = (position - whole) * ONE
  }
  return found
}
