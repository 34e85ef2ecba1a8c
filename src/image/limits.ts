/** Which images are accepted: by their sides, and by what decoding them takes. */
import type { DecodeCost } from './cost.js'
import { formatName, tooLarge } from './headers/failures.js'
import type { ImageHeader } from './headers/types.js'

export interface ImageLimits {
  /** Most pixels (width x height) of an image as it is stored. */
  maxPixels: number
  /** Most bytes that decoding may take; unbounded unless told. */
  memory?: number
  /** Most CPU time that decoding may take, ms; `MAX_CPU_MS` unless told. */
  cpuMs?: number
}

/** The longest side, in pixels. It is that of JPEG. */
export const MAX_SIDE = 65_535
/** The longer side over the shorter one. The square crop of a longer image would show next to nothing of it. */
export const MAX_ASPECT = 1000
/** CPU time that one image may take to decode, ms, on the machine that cost.ts is calibrated on. */
export const MAX_CPU_MS = 2000
/** An image is given up after this time, whatever its request's deadline, ms. */
export const MAX_DECODE_MS = 10_000
/** CPU time for which a decode may go on after its request's deadline, ms. */
const MAX_ONE_STEP_MS = 500

/** @throws FacetError `image_too_large` */
export function checkSize({ width, height }: ImageHeader, { maxPixels }: ImageLimits): void {
  const size = `The image has ${width} x ${height} pixels`
  if (width * height > maxPixels)
    throw tooLarge(`${size}; at most ${maxPixels} in all are accepted (--max-image-pixels).`)
  if (Math.max(width, height) > MAX_SIDE)
    throw tooLarge(`${size}; a side of at most ${MAX_SIDE} is accepted.`)
  if (Math.max(width, height) > MAX_ASPECT * Math.min(width, height))
    throw tooLarge(`${size}; its longer side may be at most ${MAX_ASPECT} times its shorter one.`)
}

/**
 * Whether decoding may go on for long after the request's deadline. libvips stops at it where it works line by line; a
 * codec that decodes an image in one step does not, and takes what was reckoned. AVIF may take more than that: AV1 has
 * many tools, and a stream may be made of the slow ones.
 */
export function mayOutlive(header: ImageHeader, { cpuMs }: DecodeCost): boolean {
  return header.type === 'avif' || (isOneStep(header) && cpuMs > MAX_ONE_STEP_MS)
}

function isOneStep(header: ImageHeader): boolean {
  switch (header.type) {
    case 'jpeg':
      return header.progressive || header.scans > 1
    case 'png':
      return header.interlaced
    case 'tiff':
      return false
    default:
      return true
  }
}

/** @throws FacetError `image_too_large` */
export function checkCost(header: ImageHeader, { bytes, cpuMs }: DecodeCost, limits: ImageLimits): void {
  if (bytes > (limits.memory ?? Number.POSITIVE_INFINITY)) {
    const [need, most] = [bytes, limits.memory!].map((size) => `${(size / 2 ** 20).toFixed(0)} MiB`)
    throw tooLarge(
      `${inWords(header)} takes up to ${need} of memory to decode; at most ${most} are given (--decode-memory).`,
    )
  }
  const most = limits.cpuMs ?? MAX_CPU_MS
  if (cpuMs > most)
    throw tooLarge(
      `${inWords(header)} takes up to ${(cpuMs / 1000).toFixed(1)} s to decode; at most ${most / 1000} s are given.`,
    )
}

/** What of the header decides over the cost. */
function inWords(header: ImageHeader): string {
  const size = `of ${header.width} x ${header.height} pixels`
  return `The ${formatName(header.type)} image ${size}${detail(header)}`
}

function detail(header: ImageHeader): string {
  switch (header.type) {
    case 'jpeg':
      return header.scans > 1 ? `, stored in ${header.scans} scans,` : ''
    case 'png':
      return ` (${header.channels} channels of ${header.bits} bits${header.interlaced ? ', interlaced' : ''})`
    case 'webp':
      return ` (${header.lossless ? 'lossless' : 'lossy'}${header.alpha ? ', with alpha' : ''})`
    case 'gif':
      return ''
    case 'avif':
      return ` (${header.bits} bits${header.alpha ? ', with alpha' : ''}${header.tiles > 1 ? `, ${header.tiles} tiles` : ''})`
    case 'tiff':
      return ` (${header.channels} channels of ${header.bits} bits, in ${header.blocks} strips or tiles)`
  }
}
