/** Bodies that attackers send: images that cost much to decode, JSON and packs that cost much to read. */
import { crc32, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { repeated } from '../worst-images/avif.js'
import { rgbProfile, withProfile } from '../worst-images/profile.js'

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')

/** A progressive JPEG of noise, 4000 x 3000: what a phone sends, at its worst. */
export function largeJpeg(): Promise<Buffer> {
  return sharp(noise(4000, 3000)).resize(4000, 3000).jpeg({ progressive: true, quality: 70 }).toBuffer()
}

/** A progressive JPEG that repeats its last scan, so that the decoder goes over all of its pixels again and again. */
export async function jpegOfManyScans(width: number, height: number, scans: number): Promise<Buffer> {
  const flat = { create: { width, height, channels: 3, background: 'grey' } } as const
  const bytes = await sharp(flat).jpeg({ progressive: true }).toBuffer()
  const last = bytes.lastIndexOf(Buffer.from([0xff, 0xda]))
  const end = bytes.lastIndexOf(Buffer.from([0xff, 0xd9]))
  const scan = bytes.subarray(last, end)
  return Buffer.concat([bytes.subarray(0, end), ...Array<Buffer>(scans).fill(scan), bytes.subarray(end)])
}

/** A PNG of 16-bit RGBA zeros: few bytes sent, eight bytes a pixel to decode. */
export function widePng(width: number, height: number, interlaced = false): Buffer {
  const head = Buffer.alloc(13)
  head.writeUInt32BE(width, 0)
  head.writeUInt32BE(height, 4)
  head.set([16, 6, 0, 0, interlaced ? 1 : 0], 8)
  // Of the seven passes of Adam7 the rows differ in length; zeros of the plain length cover all of them.
  const raw = Buffer.alloc((1 + 8 * width) * height + (interlaced ? 4 * height : 0))
  const data = deflateSync(raw, { level: 1 })
  return Buffer.concat([SIGNATURE, pngChunk('IHDR', head), pngChunk('IDAT', data), pngChunk('IEND')])
}

/** An AVIF of one colour: a few hundred bytes. */
export function flatAvif(width: number, height: number): Promise<Buffer> {
  const flat = { create: { width, height, channels: 3, background: 'navy' } } as const
  return sharp(flat).avif({ effort: 0 }).toBuffer()
}

/** An AVIF of a KB whose data holds its frame so many times: all are decoded, one is shown. */
export async function avifOfManyFrames(width: number, height: number, times: number): Promise<Buffer> {
  return repeated(await flatAvif(width, height), times)
}

/** A small JPEG with a colour profile of 74 KB that takes minutes to convert. */
export async function jpegOfSlowProfile(): Promise<Buffer> {
  const flat = { create: { width: 64, height: 64, channels: 3, background: 'grey' } } as const
  return withProfile(await sharp(flat).jpeg().toBuffer(), rgbProfile('steps', 33))
}

/** JSON of so many empty objects where base64 is meant. */
export function jsonOfObjects(count: number): Buffer {
  return Buffer.from(`{"images":[${'{},'.repeat(count)}{}]}`)
}

/** A safetensors file whose header names so many tensors, none of them the family's. */
export function packOfManyTensors(count: number): Buffer {
  const entries = Array.from(
    { length: count },
    (_, n) => `"x${n}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`,
  )
  const header = Buffer.from(`{${entries.join(',')}}`)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header])
}

function pngChunk(type: string, data: Uint8Array = new Uint8Array()): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  check.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, check])
}

function noise(width: number, height: number) {
  return {
    create: {
      ...{ width: width / 8, height: height / 8, channels: 3 as const, background: 'black' },
      noise: { type: 'gaussian' as const, mean: 128, sigma: 40 },
    },
  }
}
