/** AVIFs from sharp's encoder, and by hand grids of one of its images, and images that repeat their frames. */
import { u16, u32 } from './big-endian.js'
import { type Content, contents, picture } from './content.js'
import { type Kind, shapes, sides } from './kind.js'

/** libheif reads no more of them. */
const MAX_TILES = 256
/** Kinds of units of AV1 data. */
const [SEQUENCE_HEADER, TEMPORAL_DELIMITER] = [1, 2]

export const avif: Kind = {
  format: 'avif',
  choices: {
    ...shapes,
    megapixels: [24, 50, 16, 12, 8, 4, 2, 1],
    content: contents,
    sampling: ['4:4:4', '4:2:0'],
    bits: [8, 10, 12],
    alpha: [false, true],
    quality: [50, 10, 80, 100],
    effort: [0, 2],
  },
  corners: [
    {},
    { sampling: '4:2:0', megapixels: 24 },
    { bits: 10, megapixels: 12 },
    { bits: 12, megapixels: 8, alpha: true },
    { alpha: true, megapixels: 12 },
    { alpha: true, megapixels: 12, sampling: '4:2:0' },
    { content: 'soft', megapixels: 24 },
    { content: 'soft', megapixels: 24, sampling: '4:2:0' },
    { content: 'soft', megapixels: 12, sampling: '4:2:0', bits: 10 },
    { content: 'noise', megapixels: 4, quality: 80 },
    { content: 'noise', megapixels: 4, quality: 10 },
    { content: 'noise', megapixels: 2, quality: 100, bits: 12 },
    { content: 'noise', megapixels: 2, quality: 100, alpha: true },
    { aspect: 85, megapixels: 8 },
    { content: 'soft', megapixels: 4, effort: 2, quality: 80 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters, 16_384)
    const image = await picture(parameters.content as Content, width, height, parameters.alpha ? 4 : 3)
    return image
      .avif({
        quality: Number(parameters.quality),
        effort: Number(parameters.effort),
        bitdepth: parameters.bits as 8 | 10 | 12,
        chromaSubsampling: parameters.sampling as string,
      })
      .toBuffer()
  },
}

/** One tile that a grid names again and again: a file of a KB. */
export const gridAvif: Kind = {
  format: 'avif',
  choices: {
    ...shapes,
    megapixels: [24, 12, 8, 4, 2],
    sampling: ['4:4:4', '4:2:0'],
    bits: [8, 10],
    content: contents,
    tile: [512, 64, 256],
  },
  corners: [
    {},
    { megapixels: 12, bits: 10 },
    { megapixels: 4, content: 'noise' },
    { megapixels: 1, tile: 64 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters)
    const side = Number(parameters.tile)
    const tile = await picture(parameters.content as Content, side, side)
    const file = await tile
      .avif({
        effort: 0,
        bitdepth: parameters.bits as 8 | 10,
        chromaSubsampling: parameters.sampling as string,
      })
      .toBuffer()
    const [across, down] = [Math.ceil(width / side), Math.ceil(height / side)]
    return across * down > MAX_TILES ? null : grid(file, side, across, down)
  },
}

/** An image whose data holds its frames again and again: all are decoded, the last one is shown. */
export const repeatedAvif: Kind = {
  format: 'avif',
  choices: {
    megapixels: [1, 0.001, 0.01, 0.1, 4],
    aspect: shapes.aspect,
    times: [20, 2, 100, 1000, 9000],
    content: contents,
  },
  corners: [
    {},
    { megapixels: 0.001, times: 9000 },
    { megapixels: 0.01, times: 1000 },
    { megapixels: 0.1, times: 100, content: 'noise' },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters, 16_384)
    const image = await picture(parameters.content as Content, width, height)
    return repeated(await image.avif({ effort: 0 }).toBuffer(), Number(parameters.times))
  },
}

/** @param file from sharp's encoder: its picture is one item */
export function repeated(file: Buffer, times: number): Buffer {
  const data = contentOf(file, 'mdat')
  const frames = data.subarray(firstFrame(data))
  const whole = Buffer.concat([data, ...Array<Buffer>(times - 1).fill(frames)])
  const meta = Buffer.from(boxOf(file, 'meta'))
  // The item's length is the last number of the box that locates it.
  const locations = meta.indexOf('iloc', 0, 'latin1') - 4
  const length = locations + meta.readUInt32BE(locations) - 4
  if (meta.readUInt32BE(length) !== data.length)
    throw new Error('the encoder locates its item in another way')
  meta.writeUInt32BE(whole.length, length)
  return Buffer.concat([boxOf(file, 'ftyp'), meta, box('mdat', whole)])
}

/** Where the first frame begins: behind a time mark and the sequence's header. */
function firstFrame(data: Buffer): number {
  const kind = (at: number) => (data[at]! >> 3) & 15
  let at = 0
  while (kind(at) === TEMPORAL_DELIMITER || kind(at) === SEQUENCE_HEADER) at += 2 + data[at + 1]!
  return at
}

/** A file whose picture is the square image of `file`, so many times across and down. */
function grid(file: Buffer, side: number, across: number, down: number): Buffer {
  const data = contentOf(file, 'mdat')
  const configuration = boxOf(file, 'av1C')
  const pixelDepth = boxOf(file, 'pixi')
  // Version, flags (sides of 32 bits), rows and columns less one, sides.
  const description = Buffer.from([0, 1, down - 1, across - 1, ...u32(across * side), ...u32(down * side)])
  const size = (width: number, height: number) => full('ispe', [...u32(width), ...u32(height)])
  const properties = box(
    'ipco',
    Buffer.concat([size(across * side, down * side), size(side, side), configuration, pixelDepth]),
  )
  const associations = full('ipma', [...u32(2), ...u16(1), 2, 1, 4, ...u16(2), 3, 2, 0x80 | 3, 4])
  const item = (id: number, type: string) => full('infe', [...u16(id), 0, 0, ...Buffer.from(`${type}\0`)], 2)
  const tiles = Array.from({ length: across * down }, () => u16(2))
  const references = box('dimg', Buffer.concat([u16(1), u16(across * down), ...tiles]))
  const meta = (start: number) =>
    full('meta', [
      ...full('hdlr', [...u32(0), ...Buffer.from('pict'), ...Array<number>(13).fill(0)]),
      ...full('pitm', [...u16(1)]),
      ...full('iloc', [
        0x44,
        0,
        ...u16(2),
        ...location(1, start, description.length),
        ...location(2, start + description.length, data.length),
      ]),
      ...full('iinf', [...u16(2), ...item(1, 'grid'), ...item(2, 'av01')]),
      ...full('iref', [...references]),
      ...box('iprp', Buffer.concat([properties, associations])),
    ])
  const type = box('ftyp', Buffer.from('avif\0\0\0\0avifmif1miaf', 'latin1'))
  const start = type.length + meta(0).length + 8
  return Buffer.concat([type, meta(start), box('mdat', Buffer.concat([description, data]))])
}

function location(id: number, start: number, length: number): number[] {
  return [...u16(id), ...u16(0), ...u16(1), ...u32(start), ...u32(length)]
}

/** The first box of this name, wherever it is. */
function boxOf(file: Buffer, name: string): Buffer {
  const at = file.indexOf(name, 0, 'latin1') - 4
  return file.subarray(at, at + file.readUInt32BE(at))
}

function contentOf(file: Buffer, name: string): Buffer {
  return boxOf(file, name).subarray(8)
}

function box(name: string, content: Uint8Array): Buffer {
  return Buffer.concat([u32(content.length + 8), Buffer.from(name, 'latin1'), content])
}

/** A box with a version and no flags. */
function full(name: string, content: readonly number[], version = 0): Buffer {
  return box(name, Buffer.from([version, 0, 0, 0, ...content]))
}
