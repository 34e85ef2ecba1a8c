/** What an image's own bytes say about it before any pixel is decoded. */

interface Common {
  /** Sides as stored, before any turning, in pixels; both at least 1. */
  width: number
  height: number
  /** Samples a pixel after decoding, alpha included: a palette counts as RGB. */
  channels: number
  /** Bytes a sample after decoding. */
  depth: 1 | 2
  /** Bits a sample as stored. */
  bits: number
  alpha: boolean
  /** Bytes of its colour profile, at most; 0 without one. */
  profileBytes: number
  /** Bytes of the whole file. */
  bytes: number
  /**
   * Nothing in the header turns the image, makes it transparent, or is deeper than 8 bits. Such an image needs
   * no second look by libvips. Only JPEGs and PNGs are told to be plain.
   */
  plain: boolean
}

/** Bytes to write at a place of the file. */
export interface Correction {
  at: number
  bytes: readonly number[]
}

export interface JpegHeader extends Common {
  type: 'jpeg'
  /** What libvips refuses the file for although it changes no pixel. */
  corrections: readonly Correction[]
  progressive: boolean
  arithmetic: boolean
  /**
   * Its components are grey, or luma and two of chroma that are halved along each axis at most, and say so without doubt;
   * there are no restart markers, and nothing between its segments. Decoders agree on what it means.
   */
  usual: boolean
  /** Where the coded data of its first scan begins. */
  scanStart: number
  /** Passes over (parts of) the image; 1 for a baseline image with one scan of all components. */
  scans: number
  /** Samples of all components as stored: chroma is often subsampled. */
  samples: number
  /** Samples that all scans pass over, together. */
  scannedSamples: number
  /** Coefficients that scans look at one by one, because they refine what earlier scans said of them. */
  refinedCoefficients: number
}

export interface PngHeader extends Common {
  type: 'png'
  interlaced: boolean
  palette: boolean
  /** Bytes of chunks that libpng inflates beside the image: texts and the colour profile. */
  textBytes: number
}

/** Of an animation, the canvas and its first frame. */
export interface WebpHeader extends Common {
  type: 'webp'
  lossless: boolean
  animated: boolean
  frames: number
}

export interface GifHeader extends Common {
  type: 'gif'
  frames: number
}

export interface AvifHeader extends Common {
  type: 'avif'
  /** What libvips refuses the file for although it changes no pixel. */
  corrections: readonly Correction[]
  /** AV1 images that make the picture: more than one where it is a grid. */
  tiles: number
  /** Pixels of all AV1 frames that are decoded: tiles, layers and alpha. */
  codedPixels: number
  /** Samples of the same, luma and colour. */
  codedSamples: number
  /** Bytes of AV1 that are decoded; a tile that is shown twice counts twice. */
  codedBytes: number
}

export interface TiffHeader extends Common {
  type: 'tiff'
  /** The values of the tags of these names: https://www.awaresystems.be/imaging/tiff/tifftags.html */
  compression: number
  photometric: number
  planar: boolean
  /** Samples a pixel as stored. */
  samplesPerPixel: number
  tiled: boolean
  /** A strip or a tile. */
  block: { width: number; height: number }
  /** Strips or tiles, of all planes. */
  blocks: number
  pages: number
}

export type ImageHeader = JpegHeader | PngHeader | WebpHeader | GifHeader | AvifHeader | TiffHeader
