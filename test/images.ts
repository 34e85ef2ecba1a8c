/** What the tests of images share: fixtures, what they are decoded to, and how answers are compared. */
import { readFileSync } from 'node:fs'
import { settings } from '../src/config/settings.js'
import { FacetError } from '../src/errors.js'
import type { InputSpec } from '../src/manifest/manifest.js'
import { loadNative, type NativeAddon } from '../src/native/addon.js'

export const fixtures = new URL('./fixtures/', import.meta.url)

/** Pixels of 64 x 64, as small as tells pictures apart. */
export const input: InputSpec = {
  height: 64,
  width: 64,
  resize: 72,
  kernel: 'linear',
  mean: [0, 0, 0],
  std: [1, 1, 1],
}

/** As the shipped family is served, and with the limits that are the service's unless told. */
export const servedInput: InputSpec = { ...input, height: 224, width: 224, resize: 256 }
export const servedLimits = {
  maxPixels: settings.maxImagePixels.default,
  memory: settings.decodeMemory.default,
}

/** The add-on, where it is built from these sources. */
export const addon: NativeAddon | undefined = built()

function built(): NativeAddon | undefined {
  try {
    return loadNative()
  } catch {
    return undefined
  }
}

/** The decoder of JPEGs under test: that of the add-on with `FACET_RUNTIME=native`, otherwise libvips. */
export const decodeJpeg = process.env.FACET_RUNTIME === 'native' ? loadNative().decodeJpeg : undefined

/** The bytes of a fixture that make_images.py or make_formats.py made. */
export function fixture(name: string, folder: 'images' | 'refused-images' = 'images'): Buffer {
  return readFileSync(new URL(`${folder}/${name}`, fixtures))
}

/** Of two pictures of one size: the mean difference of a sample, and the largest. */
export function compare(found: Uint8Array, wanted: Uint8Array): { mean: number; max: number } {
  if (found.length !== wanted.length) throw new Error(`${found.length} bytes, wanted ${wanted.length}`)
  let [sum, max] = [0, 0]
  for (let i = 0; i < found.length; i++) {
    const difference = Math.abs(found[i]! - wanted[i]!)
    sum += difference
    max = Math.max(max, difference)
  }
  return { mean: sum / found.length, max }
}

/** The refusal with which something ends; null where it succeeds. */
export async function refusal(attempt: Promise<unknown>): Promise<FacetError | null> {
  try {
    await attempt
    return null
  } catch (error) {
    if (error instanceof FacetError) return error
    throw error
  }
}
