/** TIFFs by hand: strips and tiles of any size, which may all name the same bytes; and from sharp's encoder. */
import { deflateSync } from 'node:zlib'
import { type Content, contents, picture } from './content.js'
import { type Kind, type Parameters, shapes, sides } from './kind.js'

export const tiff: Kind = {
  format: 'tiff',
  choices: {
    ...shapes,
    bits: [8, 16],
    samples: [3, 4, 1],
    planar: [false, true],
    tile: [0, 64, 256, 4096],
    rows: [1, 16, 1024, 65_535],
    compression: ['deflate', 'packbits', 'none'],
    predictor: [1, 2],
    cmyk: [false, true],
    pages: [1, 900],
  },
  corners: [
    {},
    { rows: 65_535 },
    { rows: 65_535, bits: 16, samples: 4 },
    { planar: true, bits: 16, samples: 4 },
    { tile: 4096, bits: 16, samples: 4 },
    { tile: 4096, planar: true },
    { tile: 64 },
    { tile: 256, aspect: 85, bits: 16, samples: 4 },
    { samples: 4, cmyk: true, megapixels: 24 },
    { predictor: 2, bits: 16 },
    { compression: 'packbits' },
    { rows: 1, aspect: 0.05 },
    { megapixels: 0.1, pages: 900, rows: 65_535 },
    { planar: true, rows: 65_535 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters)
    const samples = Number(parameters.samples)
    if (parameters.cmyk && samples !== 4) return null
    const tile = Number(parameters.tile)
    const block =
      tile > 0 ? { width: tile, height: tile } : { width, height: Math.min(height, Number(parameters.rows)) }
    const bytesOfPixel = (parameters.planar ? 1 : samples) * (Number(parameters.bits) / 8)
    const raw = block.width * block.height * bytesOfPixel
    const data = compressed(raw, String(parameters.compression))
    const count =
      Math.ceil(width / block.width) * Math.ceil(height / block.height) * (parameters.planar ? samples : 1)
    if (count > 200_000 || raw > 1e9) return null
    return written(width, height, { ...block, count, data }, parameters)
  },
}

export const encodedTiff: Kind = {
  format: 'tiff',
  choices: {
    ...shapes,
    megapixels: [50, 24, 12, 4],
    content: contents,
    compression: ['lzw', 'jpeg', 'deflate', 'ccittfax4', 'zstd', 'webp'],
    tiled: [false, true],
    bits: [8, 1],
  },
  corners: [
    {},
    { compression: 'jpeg' },
    { compression: 'jpeg', content: 'noise', megapixels: 12 },
    { compression: 'ccittfax4', bits: 1 },
    { compression: 'ccittfax4', bits: 1, content: 'noise', megapixels: 24 },
    { content: 'noise', megapixels: 4 },
    { compression: 'zstd' },
    { compression: 'webp', megapixels: 12 },
    { compression: 'lzw', tiled: true, content: 'soft', megapixels: 4 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters)
    const image = await picture(parameters.content as Content, width, height)
    const drawn = parameters.bits === 1 ? image.threshold(110).toColourspace('b-w') : image
    try {
      return await drawn
        .tiff({
          compression: parameters.compression as 'lzw',
          tile: parameters.tiled === true,
          ...(parameters.bits === 1 && { bitdepth: 1 }),
        })
        .toBuffer()
    } catch {
      // This libtiff has no such compression.
      return null
    }
  },
}

/** A block of so many zeros. */
function compressed(raw: number, how: string): Buffer {
  if (how === 'deflate') return deflateSync(Buffer.alloc(raw))
  if (how === 'none') return Buffer.alloc(raw)
  const runs = Buffer.alloc(2 * Math.ceil(raw / 128))
  for (let at = 0; at < runs.length; at += 2) runs[at] = 0x81
  const rest = raw % 128
  if (rest > 0) runs[runs.length - 2] = (257 - rest) & 255
  return runs
}

const compressions: Readonly<Record<string, number>> = { none: 1, deflate: 8, packbits: 32_773 }

function written(
  width: number,
  height: number,
  block: { width: number; height: number; count: number; data: Buffer },
  { bits, samples, planar, tile, compression, predictor, cmyk, pages }: Parameters,
): Buffer {
  const bands = Number(samples)
  const start = 8
  const lists = start + block.data.length + (block.data.length & 1)
  const [SHORT, LONG] = [3, 4]
  const page = lists + 8 * block.count + 2 * bands
  const list = (at: number, value: number) => (block.count === 1 ? value : at)
  const offsets = list(lists, start)
  const lengths = list(lists + 4 * block.count, block.data.length)
  const all: [tag: number, type: number, count: number, value: number, wanted?: boolean][] = [
    [256, LONG, 1, width],
    [257, LONG, 1, height],
    [258, SHORT, bands, bands === 1 ? Number(bits) : lists + 8 * block.count],
    [259, SHORT, 1, compressions[String(compression)]!],
    [262, SHORT, 1, cmyk ? 5 : bands === 1 ? 1 : 2],
    [273, LONG, block.count, offsets, tile === 0],
    [277, SHORT, 1, bands],
    [278, LONG, 1, block.height, tile === 0],
    [279, LONG, block.count, lengths, tile === 0],
    [284, SHORT, 1, planar ? 2 : 1],
    [317, SHORT, 1, Number(predictor), compression === 'deflate'],
    [322, LONG, 1, block.width, tile !== 0],
    [323, LONG, 1, block.height, tile !== 0],
    [324, LONG, block.count, offsets, tile !== 0],
    [325, LONG, block.count, lengths, tile !== 0],
    [338, SHORT, 1, 2, bands === 4 && !cmyk],
  ]
  const tags = all.filter(([, , , , wanted]) => wanted !== false)
  const size = 2 + 12 * tags.length + 4
  const count = Number(pages)
  const out = Buffer.alloc(page + size * count)
  out.write('II*\0', 'latin1')
  out.writeUInt32LE(page, 4)
  block.data.copy(out, start)
  for (let i = 0; i < block.count; i++) {
    out.writeUInt32LE(start, lists + 4 * i)
    out.writeUInt32LE(block.data.length, lists + 4 * (block.count + i))
  }
  for (let band = 0; band < bands; band++) out.writeUInt16LE(Number(bits), lists + 8 * block.count + 2 * band)
  // All pages are the same.
  for (let at = page; at < out.length; at += size) {
    out.writeUInt16LE(tags.length, at)
    for (const [i, [tag, type, values, value]] of tags.entries()) {
      const entry = at + 2 + 12 * i
      out.writeUInt16LE(tag, entry)
      out.writeUInt16LE(type, entry + 2)
      out.writeUInt32LE(values, entry + 4)
      // A short value stands in the first bytes of its field.
      out.writeUInt32LE(value, entry + 8)
    }
    if (at + size < out.length) out.writeUInt32LE(at + size, at + size - 4)
  }
  return out
}
