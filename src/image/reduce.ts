/**
 * Bilinear reduction of a small decoded image: each output pixel is the mean of the inputs under a triangle that reaches
 * to its neighbours' centres, as in PIL's `resize(..., BILINEAR)`, rounded once and not after each axis.
 *
 * Between two neighbouring centres the weights of both are linear in the place and sum to one, so two sums there, the plain
 * one and the one weighted by place, serve both. The rows' sums are made of four bytes at a time, two to a machine word.
 * libvips would take three times as long, most of it before its first pixel (docs/LOG.md).
 */
import type { Crop, Size } from './geometry.js'

/** The largest reduction: with more inputs between two centres a weighted sum would leave its 16 bits. */
export const MOST_REDUCED = 16

/** The inputs of one axis, cut at the outputs' centres: part `k` is what lies between outputs `k - 1` and `k`. */
interface Axis {
  /** First input of each part, and the end of the last. */
  first: Int32Array
  /** Weight for output `k` of the first input of part `k`; it grows by `step` with each further one. */
  weight: Float64Array
  step: number
  /** One over the sum of an output's weights, which is smaller at the image's border. */
  norm: Float64Array
}

/** Of one part of an axis, and the output above it. */
interface Weights {
  weight: number
  step: number
  norm: number
}

/**
 * @param pixels `[from.height, from.width, 3]`
 * @param to size of the whole reduced image: neither larger than `from` on an axis nor less than a `MOST_REDUCED`th
 * @returns `[crop.height, crop.width, 3]`
 */
export function reduce(pixels: Uint8Array, from: Size, to: Size, crop: Crop): Uint8Array {
  const rows = axis(from.height, to.height, crop.top, crop.height)
  const columns = axis(from.width, to.width, crop.left, crop.width)
  const band = new Band(pixels, from.width * 3, columns.first[0]! * 3, columns.first[crop.width + 1]! * 3)
  const out = new Uint8Array(crop.height * crop.width * 3)
  for (let part = 0; part <= crop.height; part++) {
    const weights = { weight: rows.weight[part]!, step: rows.step, norm: rows.norm[part - 1] ?? 0 }
    band.next(rows.first[part]!, rows.first[part + 1]!, weights)
    if (part > 0) across(band.line, columns, out, (part - 1) * crop.width * 3)
  }
  return out
}

function axis(from: number, to: number, offset: number, count: number): Axis {
  const scale = from / to
  const centre = (output: number) => (output + offset + 0.5) * scale
  const first = new Int32Array(count + 2)
  const weight = new Float64Array(count + 1)
  const norm = new Float64Array(count)
  for (let part = 0; part <= count + 1; part++) {
    first[part] = Math.max(0, Math.min(from, Math.ceil(centre(part - 1) - 0.5)))
  }
  let rising = 0
  for (let part = 0; part <= count; part++) {
    const inputs = first[part + 1]! - first[part]!
    weight[part] = (first[part]! + 0.5 - centre(part - 1)) / scale
    const own = weight[part]! * inputs + (inputs * (inputs - 1)) / 2 / scale
    if (part > 0) norm[part - 1] = 1 / (rising + inputs - own)
    rising = own
  }
  return { first, weight, step: 1 / scale, norm }
}

/** The columns that are needed, reduced over the rows: one part after the other, from the top. */
class Band {
  /** The output row between the two latest parts, a value a byte of the row. */
  readonly line: Float64Array
  /** What the latest part gives to the output below it. */
  readonly #rising: Float64Array
  readonly #pixels: Uint8Array
  readonly #view: DataView
  readonly #stride: number
  readonly #begin: number
  /** The last word of each row in turn, where its four bytes would end behind the image. */
  readonly #edge = new DataView(new ArrayBuffer(4 * (MOST_REDUCED + 1)))

  /** @param begin first byte of a row that is needed; `end` is behind the last one */
  constructor(pixels: Uint8Array, stride: number, begin: number, end: number) {
    const words = Math.ceil((end - begin) / 4)
    this.line = new Float64Array(4 * words)
    this.#rising = new Float64Array(4 * words)
    this.#pixels = pixels
    this.#view = new DataView(pixels.buffer, pixels.byteOffset, pixels.byteLength)
    this.#stride = stride
    this.#begin = begin
  }

  /** Rows `from` to `to` are the next part; afterwards `line` is complete. */
  next(from: number, to: number, weights: Weights): void {
    const start = from * this.#stride + this.#begin
    const end = this.line.length
    const behind = (to - 1) * this.#stride + this.#begin + end - this.#pixels.length
    if (behind <= 0) {
      this.#add(this.#view, start, this.#stride, to - from, 0, end, weights)
      return
    }
    const last = end - 4
    for (let row = 0; row < to - from; row++) {
      const at = start + row * this.#stride + last
      for (let byte = 0; byte < 4; byte++) this.#edge.setUint8(4 * row + byte, this.#pixels[at + byte] ?? 0)
    }
    this.#add(this.#view, start, this.#stride, to - from, 0, last, weights)
    this.#add(this.#edge, 0, 4, to - from, last, end, weights)
  }

  /** Of `rows` rows, a `stride` apart, the words from `start` on: values `first` to `end` of `line`. */
  #add(
    bytes: DataView,
    start: number,
    stride: number,
    rows: number,
    first: number,
    end: number,
    { weight, step, norm }: Weights,
  ): void {
    const line = this.line
    const rising = this.#rising
    for (let i = first; i < end; i += 4, start += 4) {
      // Bytes 0 and 2, bytes 1 and 3: sixteen bits each, plain and times the row's place.
      let even = 0
      let odd = 0
      let evenPlaced = 0
      let oddPlaced = 0
      for (let place = 0, at = start; place < rows; place++, at += stride) {
        const four = bytes.getUint32(at, true)
        const two = four & 0xff00ff
        const other = (four >>> 8) & 0xff00ff
        even = (even + two) | 0
        odd = (odd + other) | 0
        evenPlaced = (evenPlaced + Math.imul(two, place)) | 0
        oddPlaced = (oddPlaced + Math.imul(other, place)) | 0
      }
      let sum = even & 0xffff
      let own = weight * sum + step * (evenPlaced & 0xffff)
      line[i] = norm * (rising[i]! + sum - own)
      rising[i] = own
      sum = odd & 0xffff
      own = weight * sum + step * (oddPlaced & 0xffff)
      line[i + 1] = norm * (rising[i + 1]! + sum - own)
      rising[i + 1] = own
      sum = even >>> 16
      own = weight * sum + step * (evenPlaced >>> 16)
      line[i + 2] = norm * (rising[i + 2]! + sum - own)
      rising[i + 2] = own
      sum = odd >>> 16
      own = weight * sum + step * (oddPlaced >>> 16)
      line[i + 3] = norm * (rising[i + 3]! + sum - own)
      rising[i + 3] = own
    }
  }
}

/** Reduces one row over its columns, to bytes of `out` from `to` on. */
function across(line: Float64Array, { first, weight, step, norm }: Axis, out: Uint8Array, to: number): void {
  let red = 0
  let green = 0
  let blue = 0
  let at = 0
  for (let part = 0; part < weight.length; part++) {
    let r = 0
    let g = 0
    let b = 0
    let rPlaced = 0
    let gPlaced = 0
    let bPlaced = 0
    const columns = first[part + 1]! - first[part]!
    for (let place = 0; place < columns; place++, at += 3) {
      r += line[at]!
      g += line[at + 1]!
      b += line[at + 2]!
      rPlaced += line[at]! * place
      gPlaced += line[at + 1]! * place
      bPlaced += line[at + 2]! * place
    }
    const own = weight[part]!
    rPlaced = own * r + step * rPlaced
    gPlaced = own * g + step * gPlaced
    bPlaced = own * b + step * bPlaced
    if (part > 0) {
      const scale = norm[part - 1]!
      out[to++] = scale * (red + r - rPlaced) + 0.5
      out[to++] = scale * (green + g - gPlaced) + 0.5
      out[to++] = scale * (blue + b - bPlaced) + 0.5
    }
    red = rPlaced
    green = gPlaced
    blue = bPlaced
  }
}
