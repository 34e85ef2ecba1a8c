/**
 * What decoding an image takes at most, by its header: bytes of memory and milliseconds of CPU time.
 *
 * Memory counts what libvips, the codecs under it, the add-on and pixels.ts hold at once, without the encoded bytes. CPU
 * time is a bound on the machines that it was measured on: two cores of an AMD EPYC without AVX-512 (2026-11-27), and of
 * a faster Xeon (2026-11-28, docs/security.md); PNG's and AVIF's are the Xeon's. On slower machines images take longer.
 * AVIF's decoding is ended at the limit (apart/), so that no photograph need be refused.
 *
 * The coefficients come from `npm run worst-images`, which searches for images that take more than is said here and
 * fails where it finds one.
 */
import type { InputSpec } from '../manifest/manifest.js'
import type {
  AvifHeader,
  GifHeader,
  ImageHeader,
  JpegHeader,
  PngHeader,
  TiffHeader,
  WebpHeader,
} from './headers/types.js'

export interface DecodeCost {
  /** Memory, at its peak. */
  bytes: number
  /** CPU time, ms. */
  cpuMs: number
}

const MIB = 2 ** 20
/** libvips' threads and buffers that do not grow with the image, and what allocators round up. */
const BASE_BYTES = 6 * MIB
const BASE_MS = 40
/**
 * libvips resizes while it reads: a pipeline holds so many lines of the image at most, and never more than so many
 * times all of them.
 */
const PIPELINE_LINES = 2000
const PIPELINE_IMAGES = 2
/** glibc keeps a block up to this size for the next one, where it could have given it back. */
const KEPT_BLOCK_BYTES = 32 * MIB

/** Nanoseconds for a pixel or a byte, as the names say. */
const ns = {
  /** Resizing, and colours into RGB: for each byte of decoded samples. */
  pipelineByte: 1.2,
  /** A colour profile: for each sample. */
  profileSample: 6,
  /** CMYK, which always goes through a profile. */
  cmykPixel: 52,
  /** Dropping alpha, which makes a second pipeline: for each byte of decoded samples. */
  alphaByte: 1,
}

/**
 * @param header what the image says of itself
 * @param input what it is resized to
 * @param addonFirst whether the add-on decodes it, and libvips where that does not succeed
 */
export function decodeCost(header: ImageHeader, input: InputSpec, addonFirst = false): DecodeCost {
  const libvips = libvipsCost(header, input)
  if (!addonFirst || header.type !== 'jpeg') return libvips
  const addon = addonCost(header)
  return { bytes: Math.max(libvips.bytes, addon.bytes), cpuMs: libvips.cpuMs + addon.cpuMs }
}

/**
 * The add-on has the whole image, as it is stored and as RGB, and a copy of the file; of a progressive one also all
 * coefficients, twice.
 */
function addonCost(header: JpegHeader): DecodeCost {
  const pixels = header.width * header.height
  const { bytes, samples, progressive } = header
  const scanNs = progressive ? header.scannedSamples * 2 + header.refinedCoefficients * 4 : 0
  const ns = scanNs + bytes * (progressive ? 60 : 20) + samples * 6 + pixels * 4
  return {
    bytes: BASE_BYTES + bytes + pixels * 3 + samples * (progressive ? 5.2 : 1.1),
    cpuMs: Math.ceil(ns / 1e6),
  }
}

function libvipsCost(header: ImageHeader, input: InputSpec): DecodeCost {
  const codec = codecCost(header, input)
  // Without alpha, the image is made whole once, as RGB of 8 bits.
  const pixels = header.width * header.height
  const profile = profileCost(header)
  // A file that is corrected first (corrected.ts) is copied.
  const copy = header.type === 'jpeg' || header.type === 'avif' ? header.bytes : 0
  const bytes = BASE_BYTES + copy + profile.bytes + codec.bytes + (header.alpha ? pixels * 3 : 0)
  return { bytes: Math.ceil(bytes), cpuMs: Math.ceil(BASE_MS + profile.cpuMs + codec.cpuMs) }
}

/** Making a table of a colour profile; applying it to pixels is `ns.profileSample`. */
function profileCost({ profileBytes }: ImageHeader): DecodeCost {
  if (profileBytes === 0) return { bytes: 0, cpuMs: 0 }
  return { bytes: profileBytes * 12, cpuMs: 25 + (profileBytes * 45) / 1e6 }
}

function codecCost(header: ImageHeader, input: InputSpec): DecodeCost {
  switch (header.type) {
    case 'jpeg':
      return jpegCost(header, input)
    case 'png':
      return pngCost(header)
    case 'webp':
      return webpCost(header)
    case 'gif':
      return gifCost(header)
    case 'avif':
      return avifCost(header)
    case 'tiff':
      return tiffCost(header)
  }
}

/** Resizing, colours and alpha. @param shrink by which the codec itself makes the image smaller */
function pipelineCost(header: ImageHeader, profile: boolean, shrink = 1): DecodeCost {
  const [width, height] = [Math.ceil(header.width / shrink), Math.ceil(header.height / shrink)]
  const samples = width * height * header.channels
  const lineBytes = width * header.channels * header.depth
  const sampleNs =
    header.depth * (ns.pipelineByte + (header.alpha ? ns.alphaByte : 0)) + (profile ? ns.profileSample : 0)
  return {
    bytes: lineBytes * Math.min(PIPELINE_LINES, PIPELINE_IMAGES * height),
    cpuMs: (samples * sampleNs) / 1e6,
  }
}

/**
 * How many times smaller libjpeg decodes an image at least: in powers of two, by half of what it is resized by
 * (pixels.ts).
 */
function shrinkOnLoad({ width, height }: ImageHeader, input: InputSpec): number {
  const shrink = Math.min(width, height) / input.resize
  return [8, 4, 2].find((factor) => shrink > 2 * factor + 1) ?? 1
}

function jpegCost(header: JpegHeader, input: InputSpec): DecodeCost {
  const shrink = shrinkOnLoad(header, input)
  const pipeline = pipelineCost(header, true, shrink)
  const cmyk = header.channels === 4 ? (header.width * header.height * ns.cmykPixel) / shrink ** 2 : 0
  // More scans than one are kept as coefficients of two bytes; all scans go through them.
  const coefficients = header.scans > 1 || header.progressive ? header.samples : 0
  const scanNs = header.scannedSamples * 0.9 + header.refinedCoefficients * 1.9
  const entropyNs = header.bytes * (header.arithmetic ? 80 : header.progressive ? 46 : 14)
  const transformNs = header.samples * (shrink === 1 ? 4 : 2)
  return {
    bytes: pipeline.bytes + coefficients * 2.1,
    cpuMs: pipeline.cpuMs + (scanNs + entropyNs + transformNs + cmyk) / 1e6,
  }
}

function pngCost(header: PngHeader): DecodeCost {
  const pixels = header.width * header.height
  const raw = pixels * header.channels * header.depth
  const pipeline = pipelineCost(header, header.profileBytes > 0)
  const inflateNs = raw * 3 + header.bytes * 22 + header.textBytes * 420
  return {
    // An interlaced image is read whole before the first line leaves.
    bytes:
      pipeline.bytes + (header.interlaced ? raw * 1.05 : 0) + Math.min(header.textBytes * 1100, 64 * MIB),
    cpuMs:
      pipeline.cpuMs +
      (inflateNs + (header.interlaced ? raw * 1.9 + pixels * 9 : 0) + (header.palette ? pixels * 3 : 0)) /
        1e6,
  }
}

function webpCost(header: WebpHeader): DecodeCost {
  const pixels = header.width * header.height
  // Decoded at its full size, and kept whole.
  const pipeline = pipelineCost(header, header.profileBytes > 0)
  const canvas = header.animated ? 14 : header.alpha || !header.lossless ? 8 : 4.2
  const codecNs =
    pixels * (header.lossless ? 22 : header.alpha ? 32 : 21) + header.bytes * (header.lossless ? 15 : 110)
  return {
    bytes:
      pipeline.bytes +
      pixels * (canvas + (header.lossless ? 4.2 : 0.1)) +
      Math.min(pixels * 3, KEPT_BLOCK_BYTES) +
      header.bytes * 2 +
      header.frames * 400,
    cpuMs: pipeline.cpuMs + codecNs / 1e6,
  }
}

/** What a GIF takes beside its pixels: wide ones were found to take up to 4 MiB more than the rest says. */
const GIF_BYTES = 6 * MIB

function gifCost(header: GifHeader): DecodeCost {
  const pixels = header.width * header.height
  const pipeline = pipelineCost(header, false)
  return {
    bytes: pipeline.bytes + GIF_BYTES + pixels * 5.2 + header.frames * 400,
    cpuMs: pipeline.cpuMs + (pixels * 16 + header.bytes * 22 + header.frames * 3000) / 1e6,
  }
}

function avifCost(header: AvifHeader): DecodeCost {
  const pixels = header.width * header.height
  const pipeline = pipelineCost(header, header.profileBytes > 0)
  const perPixel = (header.codedPixels * 30 + header.codedSamples * 18) * (header.depth === 2 ? 1.4 : 1)
  return {
    bytes: pipeline.bytes + header.codedSamples * 2.7 * header.depth + pixels * 11.2 + header.bytes * 2,
    cpuMs: pipeline.cpuMs + (perPixel + header.codedBytes * 165) / 1e6,
  }
}

/** libvips reads strips of more rows than this line by line. */
const WHOLE_STRIP_ROWS = 128
/** Photometric interpretation of CMYK. */
const SEPARATED = 5
/** Compressions of fax machines. */
const CCITT: readonly number[] = [2, 3, 4]

function tiffCost(header: TiffHeader): DecodeCost {
  const { block, blocks, depth, planar, tiled } = header
  const pixels = header.width * header.height
  const pipeline = pipelineCost(header, header.profileBytes > 0)
  const rows = tiled || planar ? block.height : Math.min(block.height, WHOLE_STRIP_ROWS)
  const rowBytes = block.width * Math.ceil(header.width / block.width) * header.samplesPerPixel * depth
  const stored = blocks * block.width * block.height * (planar ? 1 : header.samplesPerPixel) * depth
  const cmyk = header.photometric === SEPARATED ? pixels * ns.cmykPixel : 0
  const byteNs = CCITT.includes(header.compression) ? 10 : 3.5
  const codecNs = stored * byteNs + header.bytes * 12 + blocks * 2000 + header.pages * 110_000
  return {
    bytes: pipeline.bytes + rows * rowBytes * 2,
    cpuMs: pipeline.cpuMs + (codecNs + cmyk) / 1e6,
  }
}
