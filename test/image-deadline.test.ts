/** An image that libvips decodes line by line is given up at its deadline, and the thread that decoded it is free. */
import { constants, deflateRawSync, deflateSync } from 'node:zlib'
import t from 'tap'
import { openImage } from '../src/image/decode.js'
import { fixture, input, refusal } from './images.js'
import { drawPng } from './png.js'

const UNBOUNDED = { maxPixels: 1e9, memory: Number.POSITIVE_INFINITY, cpuMs: Number.POSITIVE_INFINITY }

/** A PNG of zeros in RGBA of 16 bits, by repeating the deflated form of a few lines: nothing of its size is ever made. */
function black(width: number, height: number, linesAtOnce: number): Buffer {
  const zeros = Buffer.alloc((8 * width + 1) * linesAtOnce)
  const part = deflateRawSync(zeros, { finishFlush: constants.Z_FULL_FLUSH })
  const times = height / linesAtOnce
  const checksum = Buffer.alloc(4)
  // Adler-32 of so many zeros.
  checksum.writeUInt32BE((((zeros.length * times) % 65_521) * 65_536 + 1) >>> 0)
  const head = deflateSync(Buffer.alloc(0)).subarray(0, 2)
  const last = Buffer.from([0x03, 0x00])
  return drawPng(
    width,
    height,
    Buffer.concat([head, ...Array<Buffer>(times).fill(part), last, checksum]),
    [16, 6],
  )
}

t.test('a PNG of 1950 megapixels, 16 GB, is given up after a second', async (t) => {
  const endless = await openImage(black(30_000, 65_000, 100), input, { ...UNBOUNDED, maxPixels: 1e10 })
  t.match(await refusal(endless.decode({ timeoutMs: 1000 })), { code: 'deadline_exceeded', status: 504 })
  const next = await openImage(fixture('colour.jpg'), input, UNBOUNDED)
  t.equal((await next.decode({ timeoutMs: 1000 })).length, 64 * 64 * 3)
})

t.test('the same kind of image is decoded where it fits', async (t) => {
  const small = await openImage(black(1000, 500, 100), input, UNBOUNDED)
  t.ok((await small.decode()).every((value) => value === 0))
})
