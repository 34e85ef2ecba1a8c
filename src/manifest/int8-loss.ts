/** What the graphs in 8 bits lose, as it was measured when they were made. */
import type { Int8Record } from './manifest.js'

/** The most that a domain may lose for its family to be served in 8 bits without being told so; points of accuracy. */
export const MAX_LOSS_POINTS = 0.5

/**
 * The domain that loses most, and how many points of accuracy; less than 0 where all gain. Undefined where a domain that
 * the graphs were made for was not measured.
 */
export function worstLoss({
  calibration,
  accuracy,
}: Int8Record): { domain: string; points: number } | undefined {
  const measured = new Set(accuracy.map(({ domain }) => domain))
  if (!calibration.every(({ domain }) => measured.has(domain))) return undefined
  const losses = accuracy.map(({ domain, images, fp32, int8 }) => ({
    domain,
    points: (100 * (fp32 - int8)) / images,
  }))
  return losses.reduce((worst, loss) => (loss.points > worst.points ? loss : worst))
}
