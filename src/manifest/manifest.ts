/**
 * What a family is: the manifest `family.json`, its types and nothing else.
 *
 * Knows neither ONNX nor HTTP. Reading and validating lives in `schema.ts`, the fingerprint in
 * `fingerprint.ts`, the graph files in `graphs.ts`, the place of each tensor in the bank in `layout.ts`, what
 * differs between kinds of slot in `kinds/`.
 */
import type { Design, Slot } from './kinds/slot.js'

export { type Design, designs, type Kind, type Slot } from './kinds/slot.js'

/** Resampling kernels, by sharp's names. */
export const kernels = ['nearest', 'linear', 'cubic', 'mitchell', 'lanczos2', 'lanczos3'] as const
export type Kernel = (typeof kernels)[number]

/** From a decoded image to the trunk's input pixels. */
export interface InputSpec {
  /** Pixels the trunk takes. */
  height: number
  width: number
  /** The shorter side is resized to this many pixels, then the centre is cropped. */
  resize: number
  /** Resampling kernel, by sharp's name. */
  kernel: Kernel
  /** Default mean and standard deviation per RGB channel, on the 0-1 scale. */
  mean: [number, number, number]
  std: [number, number, number]
}

/**
 * What a graph serves: batches of any domains, each sample with its own bank row, or batches of one domain.
 */
export type Serves = 'any' | 'one'

/** Element type of the bank that a graph reads. */
export type BankType = 'f32' | 'f16'

export interface GraphVariant {
  serves: Serves
  bank: BankType
  /**
   * Element type in which the frozen weights are stored, `f32`, `f16` or `int8`, and what a graph needs beside ONNX
   * (`graphs.ts`). Manifests without a list do not say.
   */
  weights?: string
  /** Name of the file beside the manifest. Files may share weights in further files. */
  file: string
}

/** What a file must be. */
export interface FileEntry {
  sha256: string
  bytes: number
}

/** One domain's held-out images on the graphs in float32 and in 8 bits: how many each classifies correctly. */
export interface Int8Accuracy {
  domain: string
  images: number
  fp32: number
  int8: number
  /** Images to which the two give different classes. */
  differ: number
}

/** How the graphs in 8 bits were made, and what was measured then. */
export interface Int8Record {
  /** Images of each domain from which the ranges of the activations were taken. */
  calibration: { domain: string; images: number }[]
  /** Empty where nothing was measured. */
  accuracy: Int8Accuracy[]
  created: string
  tool: string
}

/** How a compressed family was made, and of which family. */
export interface CompressedRecord {
  /** Name and fingerprint of the family that was compressed. */
  family: string
  fingerprint: string
  /** SHA-256 (hex) of the bases in slot order. */
  bases: string
  /** Domains whose packs chose the bases. */
  packs: string[]
  /** Images of each domain by which they were chosen; 0 where the matrices alone did. */
  images: number
  created: string
  tool: string
}

/** `family.json`. */
export interface FamilyManifest {
  format: 'facet-family/1'
  name: string
  /** SHA-256 (hex) of what a pack's meaning depends on. */
  fingerprint: string
  design: Design
  input: InputSpec
  /** Length F of the feature vector. */
  features: number
  /** In forward order. */
  slots: Slot[]
  /** Parameter counts: frozen trunk weights; one full adapter; the base's head (0 without). */
  parameters: { trunk: number; adapter: number; head: number }
  /** SHA-256 (hex) of the source backbone's frozen weights in slot order, and of the features' name where that was given. */
  weights: string
  /** The trunk's graph files (`graphs.ts`); absent in manifests written before there was a choice. */
  graphs?: GraphVariant[]
  /** Of the graphs in 8 bits (`facet family quantize`); absent in families without. */
  int8?: Int8Record
  /** Of a compressed family (`facet compress`); absent in others. */
  compressed?: CompressedRecord
  /** Files beside the manifest: the graphs, their weights, and `base.safetensors`. */
  files: Record<string, FileEntry>
  provenance: { source: string; created: string; tool: string; description?: string }
  license: string
}

/** Beside the manifest of a compressed family: the bases, and what makes `up` of a matrix. */
export const BASES_FILE = 'bases.safetensors'

/** The family's own domain. Its adapter reproduces the backbone. It is in bank row 0 and never changes. */
export const BASE_DOMAIN = 'base'
