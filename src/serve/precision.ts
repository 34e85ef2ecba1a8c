/** What the trunk computes with: float32, or less where the family has such graphs. */
import type { ServeConfig } from '../config/config.js'
import type { Family } from '../family/family.js'
import { findGraph, type Precision } from '../manifest/graphs.js'
import { MAX_LOSS_POINTS, worstLoss } from '../manifest/int8-loss.js'

export interface ChosenPrecision {
  precision: Precision
  /** Why `auto` chose it, for the log. */
  reason?: string
}

/** @throws Error with the remedy where a precision was asked for by name and cannot be had */
export function choosePrecision(
  { precision, bank, bankDtype, device }: Pick<ServeConfig, 'precision' | 'bank' | 'bankDtype' | 'device'>,
  { dir, manifest }: Pick<Family, 'dir' | 'manifest'>,
): ChosenPrecision {
  if (precision === 'fp32') return { precision }
  if (precision === 'fp16') {
    if (findGraph(manifest, { serves: 'any', bank: bankDtype, precision })) return { precision }
    throw new Error(
      `--precision fp16: the family in ${dir} has no graphs in half precision. Make them (facet family halve), or leave the option out.`,
    )
  }
  const needed = bank === 'shared' ? (['any', 'one'] as const) : (['any'] as const)
  const has = needed.every((serves) => findGraph(manifest, { serves, bank: bankDtype, precision: 'int8' }))
  if (precision === 'int8') {
    if (has) return { precision }
    throw new Error(
      `--precision int8: the family in ${dir} has no graphs in 8 bits. Make them (facet family quantize), or leave the option out.`,
    )
  }
  const stay = (reason: string): ChosenPrecision => ({ precision: 'fp32', reason })
  if (device.kind !== 'cpu') return stay('graphs in 8 bits run on the cpu alone')
  if (!has) return stay('the family has no graphs in 8 bits')
  const loss = manifest.int8 && worstLoss(manifest.int8)
  if (!loss) return stay('the graphs in 8 bits were not measured on every domain that they were made for')
  const found = `${loss.domain} loses most, ${loss.points.toFixed(2)} points of accuracy`
  if (loss.points > MAX_LOSS_POINTS) return stay(`in 8 bits ${found}; ${MAX_LOSS_POINTS} is allowed`)
  return { precision: 'int8', reason: `in 8 bits ${found}, ${MAX_LOSS_POINTS} is allowed` }
}
