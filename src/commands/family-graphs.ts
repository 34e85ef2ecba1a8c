/**
 * `facet family check` runs all graphs of a family on the same images and compares what they compute: the graph for one
 * domain and the one for any, with either type of bank, in float32, in half precision and in 8 bits.
 */
import { Command } from 'commander'
import type { EngineOptions } from '../engine/engine.js'
import type { Family } from '../family/family.js'
import { FamilyError } from '../manifest/family-error.js'
import { findGraph, type Precision } from '../manifest/graphs.js'
import type { BankType } from '../manifest/manifest.js'
import { end, readNamedFamily } from './ends.js'
import { familyFeatures } from './family-features.js'

/**
 * Largest allowed difference between what two graphs give for the same images, as a share of all features (square root
 * of the sum of squares over that of the reference). In float32 only the order of sums differs; an f16 bank rounds
 * adapters; half precision rounds everything to 11 bits, 8 bits round activations and weights.
 */
const MAX_DIFFERENCE: Record<Precision, Record<BankType, number>> = {
  fp32: { f32: 1e-4, f16: 1e-2 },
  fp16: { f32: 5e-2, f16: 5e-2 },
  int8: { f32: 0.2, f16: 0.2 },
}

/** Images that are compared. */
const IMAGES = 4

export interface GraphCheck {
  precision: Precision
  bank: BankType
  /** The largest, of both graphs. */
  difference: number
}

export function checkCommand(): Command {
  return new Command('check')
    .description('verify the files of a family, and that all its graphs compute the same')
    .argument('<dir>', 'folder of the family')
    .action(async (dir: string, _flags: unknown, command: Command) => {
      try {
        const family = await readNamedFamily('The family', dir)
        const lines = (await checkGraphs(family)).map(describeCheck)
        command.configureOutput().writeOut?.(`${['files     as the manifest says', ...lines].join('\n')}\n`)
      } catch (error) {
        end(command, error)
      }
    })
}

export function describeCheck({ precision, bank, difference }: GraphCheck): string {
  const allowed = MAX_DIFFERENCE[precision][bank]
  return `checked   ${precision}, ${bank} bank: features differ from fp32 by ${difference.toExponential(1)} of their size (${allowed} is allowed)`
}

/**
 * Runs every graph of the family on the base, against the graph for any domains in float32.
 * @throws FamilyError where one computes something else, or cannot be run
 */
export async function checkGraphs(
  family: Family,
  createWorker?: EngineOptions['createWorker'],
): Promise<GraphCheck[]> {
  const { height, width } = family.manifest.input
  const pixels = smoothPixels(IMAGES, height, width)
  const checks: GraphCheck[] = []
  let reference: Float32Array | undefined
  for (const precision of ['fp32', 'fp16', 'int8'] as const) {
    for (const bank of ['f32', 'f16'] as const) {
      const serving = precision === 'fp16' ? (['any'] as const) : (['any', 'one'] as const)
      const needs = serving.map((serves) => ({ serves, bank, precision }))
      if (!needs.every((need) => findGraph(family.manifest, need))) continue
      const how = { bankDtype: bank, precision, ...(createWorker && { createWorker }) }
      const found = await familyFeatures(family, pixels, IMAGES, how).catch((error: Error) => {
        throw new FamilyError(`The family in ${family.dir}`, [
          `its ${precision} graphs with an ${bank} bank cannot be run: ${error.message}`,
        ])
      })
      reference ??= found.mixed[0]!
      const all = [found.alone, ...found.mixed].map((features) => relativeError(features, reference!))
      checks.push({ precision, bank, difference: Math.max(...all) })
    }
  }
  const wrong = checks.filter(
    ({ precision, bank, difference }) => !(difference <= MAX_DIFFERENCE[precision][bank]),
  )
  if (wrong.length === 0) return checks
  throw new FamilyError(`The family in ${family.dir}`, wrong.map(describeCheck))
}

function relativeError(found: Float32Array, expected: Float32Array): number {
  let [error, size] = [0, Number.MIN_VALUE]
  expected.forEach((value, at) => {
    error += (found[at]! - value) ** 2
    size += value ** 2
  })
  return Math.sqrt(error / size)
}

/**
 * Pseudo-random images, the same every time, with as little detail as photographs have: 8 bits are made for what images
 * look like, and noise is nothing like it.
 */
function smoothPixels(images: number, height: number, width: number): Uint8Array {
  const cells = 6
  let state = 0x9e3779b9
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 24
  }
  const pixels = new Uint8Array(images * height * width * 3)
  for (let image = 0; image < images; image++) {
    const grid = Uint8Array.from({ length: 3 * (cells + 1) ** 2 }, next)
    const corner = (y: number, x: number, channel: number) => grid[(y * (cells + 1) + x) * 3 + channel]!
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [v, u] = [(y * cells) / height, (x * cells) / width]
        const [top, left] = [Math.floor(v), Math.floor(u)]
        const [down, right] = [v - top, u - left]
        for (let channel = 0; channel < 3; channel++) {
          const upper = corner(top, left, channel) * (1 - right) + corner(top, left + 1, channel) * right
          const lower =
            corner(top + 1, left, channel) * (1 - right) + corner(top + 1, left + 1, channel) * right
          pixels[((image * height + y) * width + x) * 3 + channel] = upper * (1 - down) + lower * down
        }
      }
    }
  }
  return pixels
}
