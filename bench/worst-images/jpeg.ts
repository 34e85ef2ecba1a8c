/** JPEGs: from sharp's encoder, and by hand with as many scans as are wanted. */
import { type Content, contents, picture } from './content.js'
import { type Kind, shapes, sides } from './kind.js'

export const encodedJpeg: Kind = {
  format: 'jpeg',
  choices: {
    ...shapes,
    content: contents,
    quality: [50, 10, 90, 100],
    progressive: [true, false],
    sampling: ['4:2:0', '4:4:4'],
    space: ['srgb', 'cmyk', 'b-w'],
  },
  corners: [
    {},
    { content: 'soft', quality: 90, sampling: '4:4:4' },
    { content: 'noise', quality: 50 },
    { content: 'noise', quality: 50, progressive: false },
    { space: 'cmyk', sampling: '4:4:4' },
    { space: 'cmyk', sampling: '4:4:4', progressive: false, aspect: 85 },
    { sampling: '4:4:4', aspect: 85, content: 'soft' },
    { content: 'noise', quality: 100, megapixels: 8, sampling: '4:4:4' },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters, 65_500)
    const image = await picture(parameters.content as Content, width, height)
    const [quality, progressive] = [Number(parameters.quality), parameters.progressive === true]
    return image
      .toColourspace(parameters.space as string)
      .jpeg({ quality, progressive, chromaSubsampling: parameters.sampling as string })
      .toBuffer()
  },
}

/** What the add-on decodes where it is built; of a damaged one, which it finds at its end, libvips tries again. */
export const smallJpeg: Kind = {
  format: 'jpeg',
  choices: {
    megapixels: [0.499, 0.25, 0.1, 0.02],
    aspect: shapes.aspect,
    content: contents,
    quality: [100, 90, 50],
    sampling: ['4:4:4', '4:2:0'],
    space: ['srgb', 'b-w'],
    damaged: [true, false],
  },
  corners: [
    { content: 'noise' },
    { content: 'noise', sampling: '4:2:0' },
    { content: 'soft', damaged: false },
    { content: 'noise', aspect: 900 },
    { content: 'noise', aspect: 0.05, damaged: false },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters)
    const image = await picture(parameters.content as Content, width, height)
    const quality = Number(parameters.quality)
    const file = await image
      .toColourspace(parameters.space as string)
      .jpeg({ quality, chromaSubsampling: parameters.sampling as string })
      .toBuffer()
    return parameters.damaged ? Buffer.concat([file.subarray(0, -20), file.subarray(-2)]) : file
  },
}

/** A grey or coloured image without detail, in as many scans as a valid file may have. */
export const scannedJpeg: Kind = {
  format: 'jpeg',
  choices: {
    ...shapes,
    components: [1, 3, 4],
    subsampled: [false, true],
    scans: [1, 4, 10, 30, 100, 300, 900],
    /** Coefficients that each scan covers: one, or all but the first. */
    band: ['all', 'one'],
  },
  corners: [
    { scans: 100 },
    { scans: 30, components: 3 },
    { scans: 10, components: 4 },
    { scans: 10, components: 4, aspect: 85 },
    { scans: 30, components: 3, subsampled: true, band: 'one' },
    { scans: 900, megapixels: 4 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters)
    return drawScans(width, height, Number(parameters.components), {
      scans: Number(parameters.scans),
      factor: parameters.subsampled ? 2 : 1,
      full: parameters.band === 'all',
    })
  },
}

/** One scan of DC coefficients, then scans of AC ones that are all zero, in orders that are allowed. */
function drawScans(
  width: number,
  height: number,
  components: number,
  { scans, factor, full }: { scans: number; factor: number; full: boolean },
): Buffer {
  const parts = [Buffer.from([0xff, 0xd8]), segment(0xdb, [0, ...Array<number>(64).fill(8)])]
  const sampling = (component: number) => (component === 0 || component === 3 ? factor : 1)
  const list = Array.from({ length: components }, (_, i) => [i + 1, sampling(i) * 17, 0]).flat()
  parts.push(segment(0xc2, [8, height >> 8, height & 255, width >> 8, width & 255, components, ...list]))
  // One code for DC: a difference of none. Fifteen of four bits for AC: the end of a run of blocks.
  parts.push(segment(0xc4, [0, 1, ...Array<number>(15).fill(0), 0]))
  const runs = Array.from({ length: 15 }, (_, i) => i << 4)
  parts.push(segment(0xc4, [0x10, 0, 0, 0, 15, ...Array<number>(12).fill(0), ...runs]))
  const unit = 8 * factor
  const units = Math.ceil(width / unit) * Math.ceil(height / unit)
  const blocksOfUnit = Array.from({ length: components }, (_, i) => sampling(i) ** 2)
  const dc = units * (components === 1 ? 1 : blocksOfUnit.reduce((a, b) => a + b, 0))
  const all = Array.from({ length: components }, (_, i) => [i + 1, 0]).flat()
  parts.push(segment(0xda, [components, ...all, 0, 0, 0]), Buffer.alloc(Math.floor(dc / 8)), lastBits(dc % 8))
  let count = 1
  const bands = full ? [[1, 63]] : Array.from({ length: 63 }, (_, i) => [i + 1, i + 1])
  for (let bit = 13; bit >= 0; bit--)
    for (const [from, to] of bands)
      for (let component = 0; component < components; component++) {
        if (count++ >= scans) continue
        const high = bit === 13 ? 0 : bit + 1
        const shrunk = factor / sampling(component)
        const side = (pixels: number) => Math.ceil(Math.ceil(pixels / (components === 1 ? 1 : shrunk)) / 8)
        parts.push(segment(0xda, [1, component + 1, 0, from!, to!, (high << 4) | bit]))
        parts.push(runsOf(side(width) * side(height)))
      }
  parts.push(Buffer.from([0xff, 0xd9]))
  return Buffer.concat(parts)
}

/** A scan of so many blocks without a coefficient. */
function runsOf(blocks: number): Buffer {
  let bits = ''
  for (let left = blocks; left > 0; ) {
    const size = Math.min(14, Math.floor(Math.log2(left)))
    const run = Math.min(left, 2 ** (size + 1) - 1)
    bits += size.toString(2).padStart(4, '0')
    if (size > 0) bits += (run - 2 ** size).toString(2).padStart(size, '0')
    left -= run
  }
  bits += '1'.repeat((8 - (bits.length % 8)) % 8)
  const bytes = bits.match(/.{8}/g)!.map((byte) => Number.parseInt(byte, 2))
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [0xff, 0] : [byte])))
}

function lastBits(count: number): Buffer {
  return count === 0 ? Buffer.alloc(0) : Buffer.from([0xff >> count])
}

function segment(marker: number, content: readonly number[]): Buffer {
  const length = content.length + 2
  return Buffer.from([0xff, marker, length >> 8, length & 255, ...content])
}
