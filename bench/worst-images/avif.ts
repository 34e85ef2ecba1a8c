/** AVIFs from sharp's encoder, and grids of one of its images by hand. */
import { type Content, contents, picture } from './content.js'
import { type Kind, shapes, sides } from './kind.js'

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

/** One tile of 512 x 512 pixels that a grid names again and again: a file of a KB. */
export const gridAvif: Kind = {
  format: 'avif',
  choices: {
    ...shapes,
    megapixels: [24, 12, 8, 4, 2],
    sampling: ['4:4:4', '4:2:0'],
    bits: [8, 10],
    content: contents,
  },
  corners: [{}, { megapixels: 12, bits: 10 }, { megapixels: 4, content: 'noise' }],
  async make(parameters) {
    const { width, height } = sides(parameters)
    const tile = await picture(parameters.content as Content, 512, 512)
    const file = await tile
      .avif({
        effort: 0,
        bitdepth: parameters.bits as 8 | 10,
        chromaSubsampling: parameters.sampling as string,
      })
      .toBuffer()
    const [across, down] = [Math.ceil(width / 512), Math.ceil(height / 512)]
    return across > 256 || down > 256 ? null : grid(file, across, down)
  },
}

/** A file whose picture is the image of `file`, so many times across and down. */
function grid(file: Buffer, across: number, down: number): Buffer {
  const data = contentOf(file, 'mdat')
  const configuration = boxOf(file, 'av1C')
  const pixelDepth = boxOf(file, 'pixi')
  // Version, flags (sides of 32 bits), rows and columns less one, sides.
  const description = Buffer.from([0, 1, down - 1, across - 1, ...u32(across * 512), ...u32(down * 512)])
  const size = (width: number, height: number) => full('ispe', [...u32(width), ...u32(height)])
  const properties = box(
    'ipco',
    Buffer.concat([size(across * 512, down * 512), size(512, 512), configuration, pixelDepth]),
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

function u16(value: number): Buffer {
  return Buffer.from([(value >> 8) & 255, value & 255])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
