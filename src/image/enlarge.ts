/**
 * Bilinear enlarging of a small decoded image, exactly as libvips does it, to the bit (vips_affine with its
 * bilinear interpolator, at twice the size, of which every second row and column is kept; see decode.ts).
 *
 * An operation of libvips costs half a millisecond before its first pixel, and most images of these families are
 * no larger than the trunk's input: this takes a tenth of that.
 */
import type { Crop, Size } from './geometry.js'

/** Weights have so many bits behind the point, as in libvips. */
const SHIFT = 12
const ONE = 1 << SHIFT

/** Where the outputs of one axis lie: between which two inputs, and how far from the first, in parts of `ONE`. */
interface Axis {
  first: Int32Array
  second: Int32Array
  part: Int32Array
}

/**
 * @param pixels `[height, width, 3]`
 * @param to size of the whole enlarged image, larger than `from` on both axes
 * @returns `[crop.height, crop.width, 3]`
 */
export function enlarge(pixels: Uint8Array, from: Size, to: Size, crop: Crop): Uint8Array {
  const scale = { x: doubled(from.width, to.width), y: doubled(from.height, to.height) }
  // libvips inverts the whole matrix; dividing once instead rounds otherwise.
  const inverse = 1 / (scale.x * scale.y)
  const columns = stepped(inverse * scale.y, from.width, crop.left, crop.width)
  const rows = multiplied(inverse * scale.x, from.height, crop.top, crop.height)
  const out = new Uint8Array(crop.height * crop.width * 3)
  let at = 0
  for (let y = 0; y < crop.height; y++) {
    const above = rows.first[y]! * from.width
    const below = rows.second[y]! * from.width
    const low = rows.part[y]!
    const high = ONE - low
    for (let x = 0; x < crop.width; x++) {
      const right = columns.part[x]!
      const lowRight = (low * right) >> SHIFT
      const highRight = (high * right) >> SHIFT
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
        out[at++] = (sum + ONE / 2) >> SHIFT
      }
    }
  }
  return out
}

/** The scale to twice `to`, as sharp hands it to libvips: it thinks in factors to shrink by. */
function doubled(from: number, to: number): number {
  return 1 / (from / (2 * to))
}

/** Columns: libvips goes from one to the next by adding the step. */
function stepped(step: number, size: number, start: number, count: number): Axis {
  let position = corner(step * 2 * start)
  return axis(size, count, () => {
    const odd = position + step
    position = odd + step
    return odd
  })
}

/** Rows: each by itself. */
function multiplied(step: number, size: number, start: number, count: number): Axis {
  return axis(size, count, (index) => corner(step * (2 * (start + index) + 1)))
}

/** From the middles of pixels to their corners; the margin of one pixel keeps positions positive. */
function corner(position: number): number {
  return position - 0.5 + 1
}

function axis(size: number, count: number, positionOf: (index: number) => number): Axis {
  const found: Axis = {
    first: new Int32Array(count),
    second: new Int32Array(count),
    part: new Int32Array(count),
  }
  for (let index = 0; index < count; index++) {
    const position = positionOf(index)
    const whole = Math.floor(position)
    found.first[index] = Math.min(size - 1, Math.max(0, whole - 1))
    found.second[index] = Math.min(size - 1, whole)
    found.part[index] = (position - whole) * ONE
  }
  return found
}
