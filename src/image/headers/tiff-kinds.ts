/**
 * Which TIFFs are read, by what their samples are. TIFF can hold any numbers; libvips takes floats, signed and
 * 32-bit integers too, and makes pictures of them that are black or wrong.
 */
import { unsupported } from './failures.js'

/** What the tags of a page say of its samples. */
export interface Samples {
  bits: number
  /** 1 is unsigned; the format of the first sample that has another, if one has. */
  sampleFormat: number
  samplesPerPixel: number
  /** Samples of a pixel that are no colours, as alpha. */
  extraSamples: number
  /** -1 where the file does not say. */
  photometric: number
  compression: number
  planar: boolean
  tiled: boolean
  /** 1 is CMYK, for images of inks. */
  inkSet: number
}

const sampleFormats: Readonly<Record<number, string>> = {
  1: 'unsigned integers',
  2: 'signed integers',
  3: 'floating-point numbers',
  4: 'values of no stated type',
  5: 'complex integers',
  6: 'complex numbers',
}

interface Colours {
  name: string
  /** Bands of colour, where it is read. */
  bands?: number
  /** Bits a sample that are read. */
  bits?: readonly number[]
}

/** Photometric interpretations. */
const colourSpaces: Readonly<Record<number, Colours>> = {
  0: { name: 'grey', bands: 1, bits: [1, 2, 4, 8, 16] },
  1: { name: 'grey', bands: 1, bits: [1, 2, 4, 8, 16] },
  2: { name: 'RGB', bands: 3, bits: [8, 16] },
  3: { name: 'palette', bands: 1, bits: [1, 2, 4, 8] },
  4: { name: 'mask' },
  5: { name: 'CMYK', bands: 4, bits: [8, 16] },
  6: { name: 'YCbCr', bands: 3, bits: [8] },
  8: { name: 'CIE Lab' },
  9: { name: 'ICC Lab' },
  10: { name: 'ITU Lab' },
  32803: { name: 'colour filter array' },
  32844: { name: 'LogL' },
  32845: { name: 'LogLuv' },
  34892: { name: 'linear raw' },
}
const YCBCR = 6
const CMYK = 5

const compressions: Readonly<Record<number, string>> = {
  1: 'none',
  2: 'CCITT',
  3: 'CCITT',
  4: 'CCITT',
  5: 'LZW',
  7: 'JPEG',
  8: 'deflate',
  32773: 'PackBits',
  32946: 'deflate',
  50001: 'WebP',
}
const JPEG = 7
/** Those that are not read and have a name. */
const otherCompressions: Readonly<Record<number, string>> = {
  6: 'old-style JPEG',
  34712: 'JPEG 2000',
  34887: 'LERC',
  34925: 'LZMA',
  34933: 'PNG',
  34934: 'JPEG XR',
  50000: 'Zstandard',
  50002: 'JPEG XL',
}

const READ =
  'unsigned integers of 8 or 16 bits are read, with 1 (grey) or 3 (RGB) bands of colour, with or without alpha; ' +
  'besides, grey of 1, 2 and 4 bits, palettes of up to 8 bits and CMYK'

/** @throws FacetError `undecodable_image` that names what was found and what is read */
export function checkSamples(samples: Samples): void {
  const { bits, samplesPerPixel, extraSamples, compression } = samples
  const space = colourSpaces[samples.photometric]
  const colourBands = samplesPerPixel - extraSamples
  const mayHaveAlpha = bits >= 8 && space?.name !== 'palette'
  const read =
    samples.sampleFormat === 1 &&
    space?.bits?.includes(bits) === true &&
    colourBands === space.bands &&
    extraSamples <= (mayHaveAlpha ? 1 : 0) &&
    (samples.photometric !== CMYK || samples.inkSet === 1)
  if (!read) throw unsupported('tiff', `${inWords(samples, space)}; ${READ}`)
  if (compressions[compression] === undefined) {
    const name = otherCompressions[compression] ?? `of number ${compression}`
    throw unsupported('tiff', `has a compression that is not read (${name}); ${compressionsRead()} are`)
  }
  if (samples.photometric === YCBCR && compression !== JPEG)
    throw unsupported('tiff', 'has YCbCr colours, which are read only where they are compressed as JPEG')
  if (samples.planar && samples.tiled)
    throw unsupported(
      'tiff',
      'has its bands apart and in tiles; bands apart are read in strips, tiles with all bands',
    )
}

function inWords(
  { bits, sampleFormat, samplesPerPixel, extraSamples, photometric }: Samples,
  space?: Colours,
): string {
  const format = sampleFormats[sampleFormat] ?? `values of format ${sampleFormat}`
  const colours =
    space?.name ?? (photometric === -1 ? 'colours not stated' : `colours of kind ${photometric}`)
  const bands = `${samplesPerPixel} ${samplesPerPixel === 1 ? 'band' : 'bands'}`
  const extra = extraSamples > 0 ? `, ${extraSamples} of them extra` : ''
  return `has samples that are ${format} of ${bits} ${bits === 1 ? 'bit' : 'bits'} (${colours}, ${bands}${extra})`
}

function compressionsRead(): string {
  return [...new Set(Object.values(compressions))].join(', ')
}
