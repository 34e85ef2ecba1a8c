/**
 * Huffman-coded JPEG blocks (ITU-T T.81, annexes C and F). Strict: what libjpeg would only warn of, or take in
 * silence, is refused here with `false`.
 */
import { MOST_SUM } from './idct.js'

/** Codes of up to so many bits are looked up in one step. */
const QUICK = 9

export interface HuffmanTable {
  /** By the next `QUICK` bits: the code's length times 256, plus its symbol; 0 for longer codes. */
  quick: Uint16Array
  /**
   * By the next `QUICK` bits, where they hold a coefficient of the AC codes whole: its value times 256, the run of zeros
   * before it times 16, and the length of it all; 0 elsewhere.
   */
  whole: Int32Array
  /** By length: codes from here on are longer, left-aligned to 16 bits. */
  limits: Int32Array
  /** By length: what added to a code gives the position of its symbol. */
  offsets: Int32Array
  symbols: Uint8Array
}

/** @param counts codes of each length, 1 to 16. Null where there are more codes than bits allow. */
export function huffmanTable(counts: Uint8Array, symbols: Uint8Array): HuffmanTable | null {
  const quick = new Uint16Array(1 << QUICK)
  const limits = new Int32Array(17)
  const offsets = new Int32Array(17)
  let [code, position] = [0, 0]
  for (let length = 1; length <= 16; length++) {
    offsets[length] = position - code
    for (let i = 0; i < counts[length - 1]!; i++, code++, position++) {
      if (length > QUICK) continue
      const first = code << (QUICK - length)
      quick.fill((length << 8) | symbols[position]!, first, first + (1 << (QUICK - length)))
    }
    // The code of nothing but ones is reserved.
    if (code >= 1 << length) return null
    limits[length] = code << (16 - length)
    code <<= 1
  }
  return { quick, whole: wholeCodes(quick), limits, offsets, symbols }
}

function wholeCodes(quick: Uint16Array): Int32Array {
  const whole = new Int32Array(quick.length)
  for (let index = 0; index < quick.length; index++) {
    const entry = quick[index]!
    const [length, run, size] = [entry >> 8, (entry >> 4) & 15, entry & 15]
    if (size === 0 || length + size > QUICK) continue
    whole[index] = (extended(index << (32 - QUICK + length), size) << 8) | (run << 4) | (length + size)
  }
  return whole
}

/** Places in zigzag order, and as many more as a run may lead beyond the last: to where it does no harm. */
export const PLACES = 80
/** Position of each coefficient of the zigzag order. */
const natural = zigzag()

function zigzag(): Uint8Array {
  const order = new Uint8Array(PLACES)
  let [x, y] = [0, 0]
  for (let i = 0; i < 64; i++) {
    order[i] = y * 8 + x
    const up = (x + y) % 2 === 0
    if (up && x === 7) y++
    else if (!up && y === 7) x++
    else if (up && y === 0) x++
    else if (!up && x === 0) y++
    else {
      x += up ? 1 : -1
      y += up ? -1 : 1
    }
  }
  return order
}

/** What the blocks of one component share. */
export interface Coding {
  dc: HuffmanTable
  ac: HuffmanTable
  /** Quantisation steps in zigzag order, `PLACES` of them. */
  steps: Uint16Array
  /** DC of the last block, in steps. */
  last: number
}

/** Bytes behind the code that a block may be read from when it is broken: 64 codes of 16 bits with 11 more each. */
export const SLACK = 256

/** Reads blocks from entropy-coded bytes, of which stuffing has been taken out. */
export class BlockReader {
  /** The block read last: dequantised, in rows of eight. */
  readonly block = new Int32Array(64)
  /** Whether that block has coefficients besides the first. */
  detailed = false
  readonly #view: DataView
  /** In bits. */
  #at = 0
  readonly #last: number

  /** @param bytes with `SLACK` more behind the end of the code, whatever they hold */
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#last = (bytes.length - SLACK) * 8
  }

  /** Bytes that have been read from, the last one perhaps in part. */
  get read(): number {
    return (this.#at + 7) >> 3
  }

  /** Reads the next block of a component; false where the code is broken or ends. */
  next(coding: Coding): boolean {
    const { block } = this
    const view = this.#view
    const { steps } = coding
    let at = this.#at
    // A block has 64 codes at most, and the slack is as long as the longest of them.
    if (at > this.#last) return false
    if (this.detailed) block.fill(0)

    let bits = view.getInt32(at >> 3) << (at & 7)
    let entry = coding.dc.quick[bits >>> (32 - QUICK)]! || longCode(bits, coding.dc)
    let size = entry & 255
    if (entry === 0 || size > 11) return false
    at += entry >> 8
    if (size > 0) {
      coding.last += extended(view.getInt32(at >> 3) << (at & 7), size)
      at += size
    }
    const first = Math.imul(coding.last, steps[0]!)
    let sum = first < 0 ? -first : first
    block[0] = first

    const { quick, whole } = coding.ac
    let place = 1
    while (place < 64) {
      bits = view.getInt32(at >> 3) << (at & 7)
      let value = whole[bits >>> (32 - QUICK)]!
      if (value !== 0) {
        at += value & 15
        place += (value >> 4) & 15
        value >>= 8
      } else {
        entry = quick[bits >>> (32 - QUICK)]! || longCode(bits, coding.ac)
        if (entry === 0) return false
        at += entry >> 8
        size = entry & 15
        if (size === 0) {
          const run = entry & 0xf0
          if (run === 0) break
          if (run !== 0xf0) return false
          place += 16
          continue
        }
        if (size > 10) return false
        place += (entry >> 4) & 15
        value = extended(view.getInt32(at >> 3) << (at & 7), size)
        at += size
      }
      value = Math.imul(value, steps[place]!)
      sum += value ^ (value >> 31)
      block[natural[place]!] = value
      place++
    }
    this.#at = at
    this.detailed = place > 1
    return place <= 64 && sum <= MOST_SUM
  }
}

/** A code of more than `QUICK` bits: as in `quick`, or 0 where there is none such. */
function longCode(bits: number, { limits, offsets, symbols }: HuffmanTable): number {
  const code = bits >>> 16
  for (let length = QUICK + 1; length <= 16; length++) {
    if (code < limits[length]!) return (length << 8) | symbols[(code >> (16 - length)) + offsets[length]!]!
  }
  return 0
}

/** The leading `size` bits, those of a negative number one less (T.81, F.2.2.1). */
function extended(bits: number, size: number): number {
  const value = bits >>> (32 - size)
  return bits < 0 ? value : value - (1 << size) + 1
}
