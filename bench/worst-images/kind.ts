/** What the search varies: a format's parameters, and a file made of them. */
import type { ImageType } from '../../src/image/headers/sniff.js'

export type Parameters = Readonly<Record<string, string | number | boolean>>

/** One way of making files of a format. */
export interface Kind {
  format: ImageType
  /** The values that each parameter may take. */
  choices: Readonly<Record<string, readonly (string | number | boolean)[]>>
  /** Where the search begins, as changes of the first choice of each parameter. */
  corners: readonly Parameters[]
  /** The file; null where these parameters make none. */
  make(parameters: Parameters): Promise<Buffer | null>
}

/** The sizes and shapes that every kind is tried in. */
export const shapes = {
  /** In megapixels, below --max-image-pixels and what that may shrink to. */
  megapixels: [50, 36, 24, 16, 12, 8, 4, 2, 1, 0.1],
  /** Width over height. */
  aspect: [1, 1.5, 0.05, 20, 85, 900],
} as const

/** Sides of a shape, none beyond `longest`. */
export function sides(
  { megapixels, aspect }: Parameters,
  longest = 65_535,
): { width: number; height: number } {
  const pixels = Number(megapixels) * 1e6
  const width = Math.min(longest, Math.max(1, Math.round(Math.sqrt(pixels * Number(aspect)))))
  return { width, height: Math.min(longest, Math.max(1, Math.floor(pixels / width))) }
}

/** All parameters of an image: those given, and of the others the first choice. */
export function parametersOf({ choices }: Kind, given: Parameters): Parameters {
  const first = Object.entries(choices).map(([name, values]) => [name, values[0]!])
  return { ...Object.fromEntries(first), ...given }
}
