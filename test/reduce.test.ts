/** The two sums of each part give what the triangle's definition gives, and no byte beyond the image is read. */
import t from 'tap'
import { geometryOf, type Geometry } from '../src/image/geometry.js'
import type { InputSpec } from '../src/manifest/manifest.js'
import { MOST_REDUCED, reduce } from '../src/image/reduce.js'
import { Random } from './random.js'

const draw = new Random(11)
const input: InputSpec = {
  height: 64,
  width: 64,
  resize: 72,
  kernel: 'linear',
  mean: [0, 0, 0],
  std: [1, 1, 1],
}

/** Weights of the inputs of one output, by definition: a triangle as wide as two outputs, its sum one. */
function weights(from: number, to: number, output: number): [input: number, weight: number][] {
  const scale = from / to
  const centre = (output + 0.5) * scale
  const all = Array.from({ length: from }, (_, input): [number, number] => {
    return [input, Math.max(0, 1 - Math.abs(input + 0.5 - centre) / scale)]
  }).filter(([, weight]) => weight > 0)
  const sum = all.reduce((total, [, weight]) => total + weight, 0)
  return all.map(([input, weight]) => [input, weight / sum])
}

function byDefinition(pixels: Uint8Array, { size, resized, crop }: Geometry): Float64Array {
  const out = new Float64Array(crop.height * crop.width * 3)
  const columns = Array.from({ length: crop.width }, (_, x) =>
    weights(size.width, resized.width, x + crop.left),
  )
  for (let y = 0; y < crop.height; y++) {
    const rows = weights(size.height, resized.height, y + crop.top)
    for (let x = 0; x < crop.width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0
        for (const [row, down] of rows) {
          for (const [column, across] of columns[x]!) {
            sum += down * across * pixels[(row * size.width + column) * 3 + channel]!
          }
        }
        out[(y * crop.width + x) * 3 + channel] = sum
      }
    }
  }
  return out
}

/** How far the furthest byte is from the exact value; half a level is rounding. */
function furthest(found: Uint8Array, exact: Float64Array): number {
  if (found.length !== exact.length) return Number.POSITIVE_INFINITY
  return exact.reduce((most, value, i) => Math.max(most, Math.abs(value - found[i]!)), 0)
}

t.test('every size, crop and kind of picture is reduced by definition', (t) => {
  const specs = [
    input,
    { ...input, resize: 64 },
    { ...input, height: 20, width: 33, resize: 40 },
    { ...input, height: 1, width: 3, resize: 3 },
  ]
  const sizes: [number, number][] = [
    [72, 72],
    [73, 72],
    [128, 128],
    [75, 131],
    [256, 255],
    [250, 72],
  ]
  while (sizes.length < 24) sizes.push([72 + draw.below(180), 72 + draw.below(180)])
  for (const [width, height] of sizes) {
    const noise = draw.bytes(width * height * 3)
    const extremes = noise.map((byte) => (byte < 128 ? 0 : 255))
    for (const pixels of [noise, extremes, new Uint8Array(noise.length).fill(255)]) {
      for (const spec of specs) {
        const geometry = geometryOf({ width, height }, spec)
        if (geometry.scale * MOST_REDUCED < 1) continue
        const found = reduce(pixels, geometry.size, geometry.resized, geometry.crop)
        const off = furthest(found, byDefinition(pixels, geometry))
        t.ok(off <= 0.5 + 1e-6, `${width}x${height} to ${spec.resize}: ${off}`)
      }
    }
  }
  t.end()
})

t.test('the largest reduction keeps within its sums', (t) => {
  const size = { width: 8 * MOST_REDUCED, height: 9 * MOST_REDUCED }
  const white = new Uint8Array(size.width * size.height * 3).fill(255)
  const out = reduce(white, size, { width: 8, height: 9 }, { left: 0, top: 0, width: 8, height: 9 })
  t.ok(out.every((byte) => byte === 255))
  t.end()
})

t.test('an image that is large enough already is only cropped', (t) => {
  const pixels = draw.bytes(80 * 72 * 3)
  const { size, resized, crop } = geometryOf({ width: 80, height: 72 }, input)
  const out = reduce(pixels, size, resized, crop)
  for (let y = 0; y < 64; y++) {
    const row = ((y + crop.top) * 80 + crop.left) * 3
    t.same(out.subarray(y * 64 * 3, (y + 1) * 64 * 3), Uint8Array.from(pixels.subarray(row, row + 64 * 3)))
  }
  t.end()
})

t.test('what lies around the pixels in their buffer does not matter', (t) => {
  const { size, resized, crop } = geometryOf({ width: 75, height: 90 }, { ...input, width: 72, height: 72 })
  const pixels = draw.bytes(75 * 90 * 3)
  const around = new Uint8Array(pixels.length + 14).fill(255)
  around.set(pixels, 7)
  const alone = reduce(pixels, size, resized, crop)
  t.same(reduce(around.subarray(7, 7 + pixels.length), size, resized, crop), alone)
  t.end()
})
