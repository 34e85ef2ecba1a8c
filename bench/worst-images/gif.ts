/** GIFs by hand: frames of any size, of one colour or of codes that say one pixel each. */
import { type Kind, shapes, sides } from './kind.js'

export const gif: Kind = {
  format: 'gif',
  choices: {
    ...shapes,
    /** `runs`: codes that grow; `literals`: a code a pixel. */
    data: ['runs', 'literals'],
    interlaced: [false, true],
    transparent: [true, false],
    frames: [1, 2, 9000],
  },
  corners: [
    {},
    { interlaced: true },
    { aspect: 85 },
    { aspect: 0.05 },
    { data: 'literals', megapixels: 12 },
    { data: 'literals', megapixels: 12, interlaced: true },
    { megapixels: 0.1, frames: 9000 },
    { frames: 2 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters)
    const pixels = width * height
    if (parameters.data === 'literals' && pixels > 14e6) return null
    const screen = Buffer.from('GIF89a\0\0\0\0\xf0\0\0\x10\x20\x30\xf0\xe0\xd0', 'latin1')
    screen.writeUInt16LE(width, 6)
    screen.writeUInt16LE(height, 8)
    const data = parameters.data === 'runs' ? runs(pixels) : literals(pixels)
    const frame = (w: number, h: number, codes: Buffer) => {
      const head = Buffer.alloc(11)
      head[0] = 0x2c
      head.writeUInt16LE(w, 5)
      head.writeUInt16LE(h, 7)
      head[9] = parameters.interlaced ? 0x40 : 0
      head[10] = 7
      return Buffer.concat([head, codes])
    }
    // A graphic control extension that makes colour 1 transparent.
    const control = Buffer.from(parameters.transparent ? [0x21, 0xf9, 4, 1, 0, 0, 1, 0] : [])
    const more = Array<Buffer>(Number(parameters.frames) - 1).fill(frame(1, 1, literals(1)))
    return Buffer.concat([screen, control, frame(width, height, data), ...more, Buffer.from([0x3b])])
  },
}

/** Codes of 8 bits with a first code of 7: each says one pixel, and the table never grows beyond 8 bits. */
function literals(pixels: number): Buffer {
  const [CLEAR, END, BETWEEN_CLEARS] = [128, 129, 120]
  const codes = Buffer.alloc(pixels + Math.ceil(pixels / BETWEEN_CLEARS) + 1)
  let at = 0
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (pixel % BETWEEN_CLEARS === 0) codes[at++] = CLEAR
    codes[at++] = pixel & 1
  }
  codes[at++] = END
  return subBlocks(codes.subarray(0, at))
}

/** One colour: each code is one pixel longer than the one before, until the table is full and cleared. */
function runs(pixels: number): Buffer {
  const [CLEAR, END] = [128, 129]
  const out: number[] = []
  let [buffer, filled, size] = [0, 0, 8]
  const put = (code: number) => {
    buffer |= code << filled
    filled += size
    for (; filled >= 8; filled -= 8, buffer >>>= 8) out.push(buffer & 255)
  }
  for (let left = pixels; left > 0; ) {
    put(CLEAR)
    size = 8
    put(0)
    left--
    for (let code = 130; code < 4095 && left > 0; code++) {
      const length = code - 128
      // The last code is a shorter one that is known already.
      put(left >= length ? code : left === 1 ? 0 : 128 + left)
      left -= Math.min(left, length)
      if (code + 1 === 1 << size && size < 12) size++
    }
  }
  put(END)
  out.push(buffer & 255)
  return subBlocks(Buffer.from(out))
}

function subBlocks(data: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < data.length; at += 255) {
    const part = data.subarray(at, at + 255)
    parts.push(Buffer.from([part.length]), part)
  }
  return Buffer.concat([...parts, Buffer.from([0])])
}
