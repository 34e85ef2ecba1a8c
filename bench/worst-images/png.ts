/** PNGs by hand: all depths, colour types and interlacing, of rows that cost the inflater more or less. */
import { randomFillSync } from 'node:crypto'
import { crc32, createDeflate, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { type Kind, type Parameters, shapes, sides } from './kind.js'

const channelsOf: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }
/** Start and step of the seven passes of Adam7: x, y, dx, dy. */
const passes = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const

export const png: Kind = {
  format: 'png',
  choices: {
    ...shapes,
    colour: [6, 2, 0, 3, 4],
    bits: [16, 8, 1],
    interlaced: [false, true],
    /** The filter of every row, and the share of its bytes that are not zero. */
    filter: [0, 1, 4],
    busy: [0, 0.01, 0.04, 1],
    profile: [false, true],
    texts: [0, 8, 900],
  },
  corners: [
    {},
    { interlaced: true },
    { interlaced: true, bits: 8 },
    { aspect: 85 },
    { aspect: 85, interlaced: true, megapixels: 12 },
    { colour: 2, bits: 8, profile: true },
    { colour: 2, bits: 8, filter: 4, busy: 0.04 },
    { filter: 4, busy: 0.01, megapixels: 36 },
    { colour: 3, bits: 1 },
    { colour: 2, bits: 8, busy: 1, megapixels: 4, filter: 4 },
    { colour: 2, bits: 8, texts: 900, megapixels: 0.1 },
    { profile: true, megapixels: 24 },
  ],
  async make(parameters) {
    const { colour, bits, interlaced, profile, texts } = parameters
    const depth = Number(bits)
    if ((depth === 1 && colour !== 0 && colour !== 3) || (depth === 16 && colour === 3)) return null
    const { width, height } = sides(parameters)
    const header = Buffer.alloc(13)
    header.writeUInt32BE(width, 0)
    header.writeUInt32BE(height, 4)
    header.set([depth, Number(colour), 0, 0, interlaced ? 1 : 0], 8)
    const text = Buffer.concat([Buffer.from('Comment\0\0'), deflateSync(Buffer.alloc(7_990_000))])
    return Buffer.concat([
      Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
      chunk('IHDR', header),
      profile ? await profileChunk() : Buffer.alloc(0),
      colour === 3
        ? chunk('PLTE', randomFillSync(Buffer.alloc(768 >> (depth === 1 ? 7 : 0))))
        : Buffer.alloc(0),
      ...Array.from({ length: Number(texts) }, () => chunk('zTXt', text)),
      chunk('IDAT', await rows(parameters, width, height)),
      chunk('IEND', Buffer.alloc(0)),
    ])
  },
}

/** The image's rows, deflated. */
async function rows({ colour, bits, interlaced, filter, busy }: Parameters, width: number, height: number) {
  const bitsOfPixel = channelsOf[Number(colour)]! * Number(bits)
  const deflate = createDeflate({ level: 1 })
  const out: Buffer[] = []
  deflate.on('data', (part: Buffer) => out.push(part))
  const end = new Promise((resolve) => deflate.once('end', resolve))
  for (const [x, y, dx, dy] of interlaced ? passes : [[0, 0, 1, 1] as const]) {
    const [across, down] = [Math.ceil((width - x) / dx), Math.ceil((height - y) / dy)]
    if (across < 1 || down < 1) continue
    const stride = 1 + Math.ceil((across * bitsOfPixel) / 8)
    const step = Math.max(1, Math.floor(2 ** 20 / stride))
    for (let row = 0; row < down; row += step) {
      const part = filled(stride * Math.min(step, down - row), Number(busy))
      for (let at = 0; at < part.length; at += stride) part[at] = Number(filter)
      if (!deflate.write(part)) await new Promise((resolve) => deflate.once('drain', resolve))
    }
  }
  deflate.end()
  await end
  return Buffer.concat(out)
}

/** Zeros with so large a share of random bytes among them. */
function filled(length: number, busy: number): Buffer {
  const bytes = Buffer.alloc(length)
  if (busy === 1) return randomFillSync(bytes)
  for (let i = 0; i < length * busy; i++) bytes[Math.floor(Math.random() * length)] = Math.random() * 256
  return bytes
}

/** The iCCP chunk that sharp writes for a wide colour space. */
async function profileChunk(): Promise<Buffer> {
  const image = sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
  const file = await image.withIccProfile('p3').png().toBuffer()
  for (let at = 8; ; at += 12 + file.readUInt32BE(at))
    if (file.toString('latin1', at + 4, at + 8) === 'iCCP')
      return file.subarray(at, at + 12 + file.readUInt32BE(at))
}

function chunk(name: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data])
  const frame = Buffer.alloc(8)
  frame.writeUInt32BE(data.length, 0)
  frame.writeUInt32BE(crc32(body), 4)
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)])
}
