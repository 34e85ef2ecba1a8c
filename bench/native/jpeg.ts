/**
 * `npm run bench:jpeg`: CPU time of a baseline JPEG by the add-on's decoder and by libvips, in all threads, hot, for sizes from which
 * `MAX_PIXELS` of src/image/jpeg-decoder.ts is taken. Both decode, resize and cut the same file in turn;
 * of the rounds the least counts. The last line is JSON.
 */
import { readFileSync } from 'node:fs'
import sharp from 'sharp'
import type { InputSpec } from '../../src/manifest/manifest.js'
import { openImage } from '../../src/image/decode.js'
import type { JpegHeader } from '../../src/image/headers/types.js'
import { decodeOrdinary } from '../../src/image/jpeg-decoder.js'
import { decodePixels } from '../../src/image/pixels.js'
import { loadNative } from '../../src/native/addon.js'
import { input, servedInput } from '../../test/images.js'
import { Random } from '../../test/random.js'
import { command } from '../command.js'
import { machine } from '../machine.js'

command('bench:jpeg', 'CPU time of a JPEG by the add-on and by libvips.').parse()

const SHORTER_SIDES = [200, 300, 400, 500, 700, 1000, 1400, 2000]
const ROUNDS = 7
/** Pixels that are decoded in a round, so that each takes some milliseconds. */
const PIXELS_A_ROUND = 3_000_000
const LIMITS = { maxPixels: 1e9 }
const { decodeJpeg } = loadNative()
const random = new Random(7)
const rows = []

console.log('| JPEG | input | bytes | add-on, ms | libvips, ms | ratio |')
console.log('|---|---|---|---|---|---|')
for (const spec of [input, servedInput])
  for (const side of SHORTER_SIDES) {
    const bytes = await photograph(side)
    const [addon, libvips] = await timed(bytes, spec)
    const [width, height] = [Math.round((side * 4) / 3), side]
    rows.push({ width, height, resize: spec.resize, bytes: bytes.length, addon, libvips })
    const figures = [addon.toFixed(2), libvips.toFixed(2), (addon / libvips).toFixed(2)]
    console.log(`| ${width} x ${height} | ${spec.resize} | ${bytes.length} | ${figures.join(' | ')} |`)
  }
console.log(JSON.stringify({ ...machine(), rows }))

/** A picture of the samples with a photograph's grain, without which it would compress too well. */
async function photograph(side: number): Promise<Buffer> {
  const size = { width: Math.round((side * 4) / 3), height: side }
  const sample = readFileSync('samples/dtd10/cobwebbed.jpg')
  const pixels = await sharp(sample)
    .resize({ ...size, fit: 'fill', kernel: 'cubic' })
    .raw()
    .toBuffer()
  const grain = random.bytes(pixels.length)
  for (let at = 0; at < pixels.length; at++)
    pixels[at] = Math.min(255, Math.max(0, pixels[at]! + (grain[at]! >> 4) - 8))
  const raw = { raw: { ...size, channels: 3 } } as const
  return sharp(pixels, raw).jpeg({ quality: 88 }).toBuffer()
}

/** Milliseconds of CPU time an image, of the add-on and of libvips. */
async function timed(bytes: Uint8Array, spec: InputSpec): Promise<[number, number]> {
  const header = (await openImage(bytes, spec, LIMITS)).header as JpegHeader
  const ways = [
    () => decodeOrdinary(decodeJpeg, bytes, header, spec, 10_000),
    () => decodePixels(bytes, header, spec, {}),
  ]
  const times = Math.max(2, Math.ceil(PIXELS_A_ROUND / (header.width * header.height)))
  const least = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY] as [number, number]
  for (let round = 0; round < ROUNDS; round++)
    for (const [way, decode] of ways.entries()) {
      const before = process.cpuUsage()
      for (let time = 0; time < times; time++)
        if ((await decode()) === undefined) throw new Error('the add-on does not read it')
      const { user, system } = process.cpuUsage(before)
      least[way] = Math.min(least[way]!, (user + system) / 1000 / times)
    }
  return least
}
