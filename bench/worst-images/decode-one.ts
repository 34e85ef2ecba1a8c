/**
 * `node decode-one.js FILE [beyond]`: decodes one image in this process, by the add-on too where it is built, whatever it costs with `beyond`, and prints, as one JSON line, what that took.
 *
 * Memory is the peak of resident memory above what the process had when libvips was loaded and had decoded a small
 * image. CPU time is that of the decoding alone, in all threads.
 */
import { readFileSync } from 'node:fs'
import sharp from 'sharp'
import { FacetError } from '../../src/errors.js'
import { openImage } from '../../src/image/decode.js'
import { addon, servedInput, servedLimits } from '../../test/images.js'

/** What came of one image. */
export interface Outcome {
  /** Bytes and milliseconds that decoding was reckoned to take. */
  estimate: { bytes: number; cpuMs: number } | null
  /** The same as measured; null where it was refused by its header. */
  measured: { bytes: number; cpuMs: number } | null
  /** Why it was refused, or not decoded. */
  error: { code: string; message: string } | null
}

const limits =
  process.argv[3] === 'beyond'
    ? { maxPixels: 1e9, memory: Number.POSITIVE_INFINITY, cpuMs: Number.POSITIVE_INFINITY }
    : servedLimits
const file = readFileSync(process.argv[2]!)
const small = await sharp({ create: { width: 300, height: 300, channels: 3, background: 'red' } })
  .jpeg()
  .toBuffer()
const decodeJpeg = addon?.decodeJpeg
await (await openImage(small, servedInput, limits, { decodeJpeg })).decode()

const outcome: Outcome = { estimate: null, measured: null, error: null }
const idle = memory('VmRSS')
const before = process.cpuUsage()
try {
  const image = await openImage(file, servedInput, limits, { decodeJpeg })
  outcome.estimate = image.cost
  try {
    await image.decode()
  } finally {
    const { user, system } = process.cpuUsage(before)
    outcome.measured = {
      bytes: Math.max(0, memory('VmHWM') - idle),
      cpuMs: Math.round((user + system) / 1000),
    }
  }
} catch (error) {
  if (!(error instanceof FacetError)) throw error
  outcome.error = { code: error.code, message: error.message }
}
console.log(JSON.stringify(outcome))

/** Bytes, now (`VmRSS`) or at the peak (`VmHWM`). */
function memory(field: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'latin1'))
  return Number(line![1]) * 1024
}
