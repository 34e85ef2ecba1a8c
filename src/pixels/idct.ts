/**
 * The inverse discrete cosine transform of one block, at full size or reduced: the integer steps of libjpeg
 * (jidctint.c, jidctred.c), so that no bit differs from what libvips decodes.
 *
 * Coefficients come dequantised, in rows of eight; samples go to `out[at + stride * y + x]`, 0 to 255.
 * The sum of a block's magnitudes must not exceed `MOST_SUM`: beyond, libjpeg's own vector code saturates.
 */

/** A legal block's coefficients seldom add up to more than 4,000. */
export const MOST_SUM = 5900

/** Constants have 13 bits behind the point; what goes from columns to rows has 2. */
const CONST = 13
const PASS = 2

export type Transform = (block: Int32Array, out: Uint8Array, at: number, stride: number) => void

/** By the side of the samples' square. */
export const transforms: Readonly<Record<number, Transform>> = { 1: toOne, 2: toTwo, 4: toFour, 8: toEight }

const work = new Int32Array(64)

function clamped(sample: number): number {
  return Math.max(0, Math.min(255, sample))
}

/** The sample of a block that has a DC coefficient only. */
export function flat(dc: number): number {
  return clamped(((dc + 4) >> 3) + 128)
}

function toOne(block: Int32Array, out: Uint8Array, at: number): void {
  out[at] = flat(block[0]!)
}

function toEight(block: Int32Array, out: Uint8Array, at: number, stride: number): void {
  for (let x = 0; x < 8; x++) {
    const c0 = block[x]!
    const c1 = block[8 + x]!
    const c2 = block[16 + x]!
    const c3 = block[24 + x]!
    const c4 = block[32 + x]!
    const c5 = block[40 + x]!
    const c6 = block[48 + x]!
    const c7 = block[56 + x]!
    if ((c1 | c2 | c3 | c4 | c5 | c6 | c7) === 0) {
      const dc = c0 << PASS
      for (let y = x; y < 64; y += 8) work[y] = dc
      continue
    }
    const even = Math.imul(c2 + c6, 4433)
    const even2 = even + Math.imul(c6, -15137)
    const even3 = even + Math.imul(c2, 6270)
    const sum = (c0 + c4) << CONST
    const difference = (c0 - c4) << CONST
    const fifth = Math.imul(c7 + c3 + c5 + c1, 9633)
    const z1 = Math.imul(c7 + c1, -7373)
    const z2 = Math.imul(c5 + c3, -20995)
    const z3 = Math.imul(c7 + c3, -16069) + fifth
    const z4 = Math.imul(c5 + c1, -3196) + fifth
    const odd0 = Math.imul(c7, 2446) + z1 + z3
    const odd1 = Math.imul(c5, 16819) + z2 + z4
    const odd2 = Math.imul(c3, 25172) + z2 + z3
    const odd3 = Math.imul(c1, 12299) + z1 + z4
    const half = 1 << (CONST - PASS - 1)
    work[x] = (sum + even3 + odd3 + half) >> (CONST - PASS)
    work[56 + x] = (sum + even3 - odd3 + half) >> (CONST - PASS)
    work[8 + x] = (difference + even2 + odd2 + half) >> (CONST - PASS)
    work[48 + x] = (difference + even2 - odd2 + half) >> (CONST - PASS)
    work[16 + x] = (difference - even2 + odd1 + half) >> (CONST - PASS)
    work[40 + x] = (difference - even2 - odd1 + half) >> (CONST - PASS)
    work[24 + x] = (sum - even3 + odd0 + half) >> (CONST - PASS)
    work[32 + x] = (sum - even3 - odd0 + half) >> (CONST - PASS)
  }
  const shift = CONST + PASS + 3
  // Rounds, and brings zero to the middle of the range.
  const middle = (1 << (shift - 1)) + (128 << shift)
  for (let row = 0; row < 64; row += 8, at += stride) {
    const c0 = work[row]!
    const c1 = work[row + 1]!
    const c2 = work[row + 2]!
    const c3 = work[row + 3]!
    const c4 = work[row + 4]!
    const c5 = work[row + 5]!
    const c6 = work[row + 6]!
    const c7 = work[row + 7]!
    const even = Math.imul(c2 + c6, 4433)
    const even2 = even + Math.imul(c6, -15137)
    const even3 = even + Math.imul(c2, 6270)
    const sum = ((c0 + c4) << CONST) + middle
    const difference = ((c0 - c4) << CONST) + middle
    const fifth = Math.imul(c7 + c3 + c5 + c1, 9633)
    const z1 = Math.imul(c7 + c1, -7373)
    const z2 = Math.imul(c5 + c3, -20995)
    const z3 = Math.imul(c7 + c3, -16069) + fifth
    const z4 = Math.imul(c5 + c1, -3196) + fifth
    const odd0 = Math.imul(c7, 2446) + z1 + z3
    const odd1 = Math.imul(c5, 16819) + z2 + z4
    const odd2 = Math.imul(c3, 25172) + z2 + z3
    const odd3 = Math.imul(c1, 12299) + z1 + z4
    out[at] = clamped((sum + even3 + odd3) >> shift)
    out[at + 7] = clamped((sum + even3 - odd3) >> shift)
    out[at + 1] = clamped((difference + even2 + odd2) >> shift)
    out[at + 6] = clamped((difference + even2 - odd2) >> shift)
    out[at + 2] = clamped((difference - even2 + odd1) >> shift)
    out[at + 5] = clamped((difference - even2 - odd1) >> shift)
    out[at + 3] = clamped((sum - even3 + odd0) >> shift)
    out[at + 4] = clamped((sum - even3 - odd0) >> shift)
  }
}

/** The middle row and column of the coefficients do not count at this size. */
function toFour(block: Int32Array, out: Uint8Array, at: number, stride: number): void {
  for (let x = 0; x < 8; x++) {
    if (x === 4) continue
    const c0 = block[x]!
    const c1 = block[8 + x]!
    const c2 = block[16 + x]!
    const c3 = block[24 + x]!
    const c5 = block[40 + x]!
    const c6 = block[48 + x]!
    const c7 = block[56 + x]!
    if ((c1 | c2 | c3 | c5 | c6 | c7) === 0) {
      const dc = c0 << PASS
      for (let y = x; y < 32; y += 8) work[y] = dc
      continue
    }
    const shift = CONST - PASS + 1
    const first = (c0 << (CONST + 1)) + (1 << (shift - 1))
    const even = Math.imul(c2, 15137) - Math.imul(c6, 6270)
    const inner = Math.imul(c1, 8697) - Math.imul(c3, 17799) + Math.imul(c5, 11893) - Math.imul(c7, 1730)
    const outer = Math.imul(c1, 20995) + Math.imul(c3, 7373) - Math.imul(c5, 4926) - Math.imul(c7, 4176)
    work[x] = (first + even + outer) >> shift
    work[24 + x] = (first + even - outer) >> shift
    work[8 + x] = (first - even + inner) >> shift
    work[16 + x] = (first - even - inner) >> shift
  }
  const shift = CONST + PASS + 4
  const middle = (1 << (shift - 1)) + (128 << shift)
  for (let row = 0; row < 32; row += 8, at += stride) {
    const c1 = work[row + 1]!
    const c2 = work[row + 2]!
    const c3 = work[row + 3]!
    const c5 = work[row + 5]!
    const c6 = work[row + 6]!
    const c7 = work[row + 7]!
    const first = (work[row]! << (CONST + 1)) + middle
    const even = Math.imul(c2, 15137) - Math.imul(c6, 6270)
    const inner = Math.imul(c1, 8697) - Math.imul(c3, 17799) + Math.imul(c5, 11893) - Math.imul(c7, 1730)
    const outer = Math.imul(c1, 20995) + Math.imul(c3, 7373) - Math.imul(c5, 4926) - Math.imul(c7, 4176)
    out[at] = clamped((first + even + outer) >> shift)
    out[at + 3] = clamped((first + even - outer) >> shift)
    out[at + 1] = clamped((first - even + inner) >> shift)
    out[at + 2] = clamped((first - even - inner) >> shift)
  }
}

/** Of the coefficients count the first row and column and the odd ones. */
function toTwo(block: Int32Array, out: Uint8Array, at: number, stride: number): void {
  for (let x = 0; x < 8; x = x === 0 ? 1 : x + 2) {
    const c1 = block[8 + x]!
    const c3 = block[24 + x]!
    const c5 = block[40 + x]!
    const c7 = block[56 + x]!
    const shift = CONST - PASS + 2
    const first = (block[x]! << (CONST + 2)) + (1 << (shift - 1))
    const odd = Math.imul(c1, 29692) - Math.imul(c3, 10426) + Math.imul(c5, 6967) - Math.imul(c7, 5906)
    work[x] = (first + odd) >> shift
    work[8 + x] = (first - odd) >> shift
  }
  const shift = CONST + PASS + 5
  const middle = (1 << (shift - 1)) + (128 << shift)
  for (let row = 0; row < 16; row += 8, at += stride) {
    const c1 = work[row + 1]!
    const c3 = work[row + 3]!
    const c5 = work[row + 5]!
    const c7 = work[row + 7]!
    const first = (work[row]! << (CONST + 2)) + middle
    const odd = Math.imul(c1, 29692) - Math.imul(c3, 10426) + Math.imul(c5, 6967) - Math.imul(c7, 5906)
    out[at] = clamped((first + odd) >> shift)
    out[at + 1] = clamped((first - odd) >> shift)
  }
}
