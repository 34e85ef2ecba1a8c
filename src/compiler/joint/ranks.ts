/** How many rows each slot's basis has. */
import { BackboneError } from '../../onnx/onnx.js'

/** What one slot could have. */
export interface Spectrum {
  /** What each further row of the basis saves of the error, falling: as many numbers as the largest rank. */
  energies: readonly number[]
  /** Parameters of one row: of the basis itself, and of all domains' `up`. */
  cost: number
  /** Bytes of one row in one domain's adapter, in float32. */
  bytes: number
}

/**
 * What was asked for: a share of each slot's rank, the same for all; as many parameters, allotted by what they save; the
 * least rank that keeps a share of a slot's energy; or an adapter of so many bytes in float32, allotted.
 */
export type Want =
  | { kind: 'uniform'; share: number }
  | { kind: 'allotted'; share: number }
  | { kind: 'energy'; kept: number }
  | { kind: 'bytes'; bytes: number }

/** The rank of each slot, 1 at least. */
export function ranksFor(spectra: readonly Spectrum[], want: Want): number[] {
  const even = (share: number) =>
    spectra.map(({ energies }) => Math.max(1, Math.round(share * energies.length)))
  if (want.kind === 'uniform') return even(want.share)
  if (want.kind === 'energy') return spectra.map(({ energies }) => leastRank(energies, want.kept))
  if (want.kind === 'bytes') return allot(spectra, want.bytes, ({ bytes }) => bytes)
  const budget = even(want.share).reduce((sum, rank, at) => sum + rank * spectra[at]!.cost, 0)
  return allot(spectra, budget, ({ cost }) => cost)
}

function leastRank(energies: readonly number[], kept: number): number {
  const all = energies.reduce((sum, energy) => sum + energy, 0)
  let sum = 0
  for (const [at, energy] of energies.entries()) {
    sum += energy
    if (sum >= kept * all) return at + 1
  }
  return Math.max(1, energies.length)
}

/**
 * Rows are bought by what they save for their price, as long as they fit.
 * @throws BackboneError where not even one row a slot does
 */
function allot(spectra: readonly Spectrum[], budget: number, priceOf: (of: Spectrum) => number): number[] {
  const ranks = spectra.map(() => 1)
  let left = budget - spectra.reduce((sum, spectrum) => sum + priceOf(spectrum), 0)
  if (left < 0)
    throw new BackboneError(
      `${budget} bytes (--bytes) are less than one row of every slot takes: ${budget - left}. Give at least so many.`,
    )
  const rows = spectra.flatMap((spectrum, slot) =>
    spectrum.energies
      .slice(1)
      .map((energy) => ({ slot, gain: energy / priceOf(spectrum), price: priceOf(spectrum) })),
  )
  for (const { slot, gain, price } of rows.sort((a, b) => b.gain - a.gain)) {
    if (price > left || gain === 0) continue
    left -= price
    ranks[slot]!++
  }
  return ranks
}
