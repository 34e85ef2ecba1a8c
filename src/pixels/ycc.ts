/** Planes of a JPEG to RGB, as libjpeg does it: chroma spread by triangles (jdsample.c), then converted (jdcolor.c). */
import type { Crop, Size } from './enlarge.js'
import type { Plane } from './jpeg.js'
import { Scratch } from './scratch.js'

const scratch = new Scratch()

/** By chroma sample: what it adds to red and blue, and its part of green, with 16 bits behind the point. */
const redOf = new Int16Array(256)
const blueOf = new Int16Array(256)
const greenOfRed = new Int32Array(256)
const greenOfBlue = new Int32Array(256)
const fixed = (value: number) => Math.floor(value * 65536 + 0.5)
const half = 1 << 15
for (let sample = 0; sample < 256; sample++) {
  const value = sample - 128
  redOf[sample] = (fixed(1.402) * value + half) >> 16
  blueOf[sample] = (fixed(1.772) * value + half) >> 16
  greenOfRed[sample] = -fixed(0.71414) * value
  greenOfBlue[sample] = -fixed(0.34414) * value + half
}

/** @returns `[window.height, window.width, 3]`; null where a plane is too narrow to be spread */
export function rgbOf(planes: readonly Plane[], window: Crop): Uint8Array | null {
  const [luma, blue, red] = planes
  const out = scratch.take(window.height * window.width * 3)
  if (!blue || !red) {
    for (let y = 0, to = 0; y < window.height; y++) {
      const from = (window.top + y) * luma!.stride + window.left
      for (let x = 0; x < window.width; x++) {
        const light = luma!.samples[from + x]!
        out[to++] = light
        out[to++] = light
        out[to++] = light
      }
    }
    return out
  }
  const scale = { width: ratio(luma!.width, blue.width), height: ratio(luma!.height, blue.height) }
  if (scale.width > 1 && blue.width <= 2) return null
  const lines = [new Uint8Array(window.width), new Uint8Array(window.width)] as const
  for (let y = 0; y < window.height; y++) {
    spread(blue, scale, window, y, lines[0])
    spread(red, scale, window, y, lines[1])
    convert(luma!, lines, window, y, out)
  }
  return out
}

/** 1 or 2. */
function ratio(full: number, part: number): number {
  return part < full ? 2 : 1
}

function convert(
  luma: Plane,
  [blue, red]: readonly [Uint8Array, Uint8Array],
  window: Crop,
  y: number,
  out: Uint8Array,
) {
  const { samples } = luma
  let from = (window.top + y) * luma.stride + window.left
  let to = y * window.width * 3
  for (let x = 0; x < window.width; x++) {
    const light = samples[from++]!
    const b = blue[x]!
    const r = red[x]!
    out[to++] = clamped(light + redOf[r]!)
    out[to++] = clamped(light + ((greenOfBlue[b]! + greenOfRed[r]!) >> 16))
    out[to++] = clamped(light + blueOf[b]!)
  }
}

function clamped(sample: number): number {
  return Math.max(0, Math.min(255, sample))
}

/** One line of a window of a chroma plane, at luma's size. */
function spread(
  { samples, stride, width, height }: Plane,
  scale: Size,
  window: Crop,
  line: number,
  out: Uint8Array,
) {
  const y = window.top + line
  if (scale.width === 1) {
    const from = y * stride + window.left
    out.set(samples.subarray(from, from + window.width))
    return
  }
  // Of the two nearest lines the nearer one counts three times, and so with columns.
  const tall = scale.height === 2
  const near = tall ? y >> 1 : y
  const other = tall ? Math.min(height - 1, Math.max(0, near + (y % 2 === 0 ? -1 : 1))) : near
  const [a, b] = [near * stride, other * stride]
  const from = window.left >> 1
  const to = (window.left + window.width - 1) >> 1
  // Rounding goes up and down in turn; sums have four bits behind the point.
  const [even, odd] = tall ? [8, 7] : [4, 8]
  let left = sum(Math.max(0, from - 1))
  let middle = sum(from)
  for (let x = from; x <= to; x++) {
    const right = sum(Math.min(width - 1, x + 1))
    const at = 2 * x - window.left
    if (at >= 0) out[at] = (3 * middle + left + even) >> 4
    if (at + 1 < window.width) out[at + 1] = (3 * middle + right + odd) >> 4
    left = middle
    middle = right
  }

  function sum(x: number): number {
    return 3 * samples[a + x]! + samples[b + x]!
  }
}
